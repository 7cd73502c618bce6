"""Figures of a running node for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from node.errors import PortTaken

# From the quickest query on a local line to a slow bulk call, in seconds.
_CALL_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


@dataclass(frozen=True)
class Watched:
    """What the gauges read when they are asked. Each returns at once."""

    log_size: Callable[[], int]
    anchored_size: Callable[[], int]
    unanchored_seconds: Callable[[], int]
    certificate_seconds: Callable[[], int]
    cosignatures: Callable[[], int]
    cosignatures_needed: Callable[[], int]
    block_number: Callable[[], int]
    chain_reachable: Callable[[], bool]
    pending_transactions: Callable[[], int]
    payable_transactions: Callable[[], float]


class Metrics:
    """A registry of its own, so that two nodes in one process do not share figures."""

    def __init__(self, watched: Watched) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self._calls = Counter("kiteline_calls", "gRPC calls that ended.", ["method", "code"], registry=registry)
        self._seconds = Histogram(
            "kiteline_call_seconds", "How long gRPC calls took.", ["method"], buckets=_CALL_BUCKETS, registry=registry
        )
        gauges: list[tuple[str, str, Callable[[], float]]] = [
            ("kiteline_log_entries", "Entries of the audit log.", watched.log_size),
            ("kiteline_log_anchored_entries", "Entries covered by an anchor on the chain.", watched.anchored_size),
            (
                "kiteline_log_unanchored_seconds",
                "How long the oldest entry that no anchor covers has waited.",
                watched.unanchored_seconds,
            ),
            (
                "kiteline_certificate_valid_seconds",
                "How long the certificate that the node shows is still valid.",
                watched.certificate_seconds,
            ),
            ("kiteline_log_cosignatures", "Witnesses that signed the head to be anchored last.", watched.cosignatures),
            (
                "kiteline_log_cosignatures_needed",
                "Witnesses without which no head is anchored.",
                watched.cosignatures_needed,
            ),
            ("kiteline_chain_block", "Newest block that the index has reached.", watched.block_number),
            ("kiteline_chain_reachable", "1 while the last poll reached the chain.", watched.chain_reachable),
            ("kiteline_chain_pending", "Transactions sent and not yet mined.", watched.pending_transactions),
            (
                "kiteline_chain_payable",
                "Transactions that the account can still pay for; +Inf where nothing is paid for.",
                watched.payable_transactions,
            ),
        ]
        for name, meaning, read in gauges:
            Gauge(name, meaning, registry=registry).set_function(read)

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """Count a gRPC call."""
        self._calls.labels(method, code).inc()
        self._seconds.labels(method).observe(seconds)

    def serve(self, address: str) -> Callable[[], None]:
        """Serve the page on host:port; gives the function that stops it. Raises PortTaken."""
        host, _, port = address.rpartition(":")
        try:
            server, thread = start_http_server(int(port), host, registry=self._registry)
        except OSError as cause:
            raise PortTaken(f"metrics cannot be served on {address}: {cause.strerror}", address=address) from cause

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop
