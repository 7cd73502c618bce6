"""The Prometheus page: what it names, when it reads, and that it goes away with the node."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass

import pytest

from node.app.metrics import Metrics, Watched
from node.errors import PortTaken
from scripts.processes import free_port


@dataclass
class Figures:
    """What a node would say; a test changes it."""

    log: int = 12
    anchored: int = 10
    block: int = 7
    reachable: bool = True
    pending: int = 1

    @property
    def watched(self) -> Watched:
        """As the page reads it."""
        return Watched(
            log_size=lambda: self.log,
            anchored_size=lambda: self.anchored,
            unanchored_seconds=lambda: 40,
            certificate_seconds=lambda: 86_400,
            cosignatures=lambda: 1,
            cosignatures_needed=lambda: 2,
            block_number=lambda: self.block,
            chain_reachable=lambda: self.reachable,
            pending_transactions=lambda: self.pending,
            payable_transactions=lambda: 900.0,
        )


def _page(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


def test_gauges_are_read_when_the_page_is_asked_for_and_calls_are_counted() -> None:
    figures, port = Figures(), free_port()
    metrics = Metrics(figures.watched)
    stop = metrics.serve(f"127.0.0.1:{port}")
    try:
        page = _page(port)
        assert page["kiteline_log_entries"] == 12
        assert page["kiteline_log_anchored_entries"] == 10
        assert page["kiteline_log_unanchored_seconds"] == 40
        assert page["kiteline_certificate_valid_seconds"] == 86_400
        assert page["kiteline_log_cosignatures"] == 1
        assert page["kiteline_log_cosignatures_needed"] == 2
        assert page["kiteline_chain_block"] == 7
        assert page["kiteline_chain_payable"] == 900
        assert page["kiteline_chain_reachable"] == 1
        assert page["kiteline_chain_pending"] == 1
        figures.log, figures.reachable = 13, False
        metrics.call_ended("/a.B/C", "OK", 0.003)
        metrics.call_ended("/a.B/C", "UNAVAILABLE", 61.0)
        page = _page(port)
        assert page["kiteline_log_entries"] == 13
        assert page["kiteline_chain_reachable"] == 0
        assert page['kiteline_calls_total{code="OK",method="/a.B/C"}'] == 1
        assert page['kiteline_calls_total{code="UNAVAILABLE",method="/a.B/C"}'] == 1
        assert page['kiteline_call_seconds_bucket{le="0.005",method="/a.B/C"}'] == 1
        assert page['kiteline_call_seconds_bucket{le="60.0",method="/a.B/C"}'] == 1
        assert page['kiteline_call_seconds_count{method="/a.B/C"}'] == 2
    finally:
        stop()
    with pytest.raises(urllib.error.URLError):
        _page(port)


def test_a_taken_port_is_refused_in_words() -> None:
    port = free_port()
    stop = Metrics(Figures().watched).serve(f"127.0.0.1:{port}")
    try:
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}"):
            Metrics(Figures().watched).serve(f"127.0.0.1:{port}")
    finally:
        stop()


def test_two_nodes_of_one_process_do_not_share_figures() -> None:
    ports = [free_port(), free_port()]
    metrics = [Metrics(Figures(log=size).watched) for size in (1, 2)]
    stops = [one.serve(f"127.0.0.1:{port}") for one, port in zip(metrics, ports, strict=True)]
    try:
        assert [_page(port)["kiteline_log_entries"] for port in ports] == [1, 2]
    finally:
        for stop in stops:
            stop()
