"""The walk of docs/auditor.md: from files on a disk, on a machine with no network, to a finding that a browser shows."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.local_consortium import AUDIT, CIVIL_AFFAIRS, HEALTH, LocalConsortium
from tests.support.documents import acts, filled, run
from tests.support.offline import colours, opened, without_network

GUIDE = Path(__file__).resolve().parent.parent.parent / "docs" / "auditor.md"
EXCHANGE = [
    "REQUEST_SENT",
    "REQUEST_RECEIVED",
    "DECISION_MADE",
    "ORDER_RECEIVED",
    "DELIVERY_SENT",
    "RECEIPT_RECEIVED",
    "KEYS_RELEASED",
    "KEYS_RECEIVED",
]

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def grant(consortium: LocalConsortium, dataset: str) -> str:
    """A grant under which everything was fetched, and both logs anchored since."""
    asked = consortium.kiteline(HEALTH, "request", dataset, "--purpose", "an auditor's walk")
    consortium.kiteline(CIVIL_AFFAIRS, "decide", asked["grant"], "--approve")
    consortium.kiteline(HEALTH, "fetch", asked["grant"])
    for member in (CIVIL_AFFAIRS, HEALTH):
        consortium.kiteline(member, "chain", "anchor")
    return str(asked["grant"])


@pytest.fixture(scope="module")
def disk(consortium: LocalConsortium, grant: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the guide's first block makes."""
    directory = tmp_path_factory.mktemp("disk")
    known = {"GRANT": grant, "MEMBER": CIVIL_AFFAIRS.member_id}
    for line, actor in acts(GUIDE, 0, {"the auditor": AUDIT}, AUDIT):
        run(filled(line, known), directory, consortium.environment | {"KITELINE_CONFIG": str(consortium.config(actor))})
    yield directory
    shutil.rmtree(directory)


def _find(directory: Path, code: int) -> dict[str, Any]:
    """The guide's second block, without a network, a node, a configuration or a passphrase."""
    verify, report = (line for line, _ in acts(GUIDE, 1, {}, None))
    without = without_network()
    run(verify, directory, {}, within=without)
    run(report, directory, {}, within=without, code=code)
    document: dict[str, Any] = json.loads((directory / "finding.json").read_text(encoding="utf-8"))
    return document


def test_a_whole_exchange_is_found_to_hold(disk: Path, grant: str, tmp_path: Path) -> None:
    document = _find(disk, 0)
    assert document["holds"] is True
    assert document["findings"] == []
    chapter = next(one for one in document["grants"] if one["grant"] == grant)
    assert chapter["findings"] == []
    assert chapter["compared_with_chain"]
    steps = {step["event"]: step for step in chapter["steps"]}
    assert set(EXCHANGE) <= set(steps)
    # Each statement, who signed it, and what proves it.
    signers = {"RECEIPT_RECEIVED": HEALTH, "DELIVERY_SENT": CIVIL_AFFAIRS, "DECISION_MADE": CIVIL_AFFAIRS}
    for event, member in signers.items():
        assert steps[event]["signed_by"] == [member.member_id]
        assert (disk / "handed-over" / steps[event]["proven_by"]).exists()
        assert steps[event]["fault"] is None
    shown, picture, said = opened(disk / "finding.html", tmp_path)
    assert said == ""
    assert "Everything that was handed over holds" in shown
    assert CIVIL_AFFAIRS.name in shown
    for event in EXCHANGE:
        assert f"<b>{event}</b>" in shown
    assert "does not hold" not in shown
    assert colours(picture) > 100
    # One file: it names no other, and runs nothing.
    assert not re.search(
        r"<script|<link|<img|<iframe|\ssrc=|\shref=|url\(|@import|://", (disk / "finding.html").read_text("utf-8")
    )


def test_what_does_not_hold_is_named(disk: Path, grant: str, tmp_path: Path) -> None:
    """A file cut short, one with a flipped bit, and an entry that one side does not hand over."""
    copy = tmp_path / "disk"
    shutil.copytree(disk, copy)
    held = (
        json.loads((disk / "finding.json").read_text(encoding="utf-8"))
        if (disk / "finding.json").exists()
        else _find(disk, 0)
    )
    chapter = next(one for one in held["grants"] if one["grant"] == grant)
    files = {step["event"]: f"{step['member']}-{step['index']:08}.evidence" for step in chapter["steps"]}
    (copy / "handed-over" / "log.range").unlink()
    cut, flipped, left_out = (
        copy / "handed-over" / files[event] for event in ("ORDER_RECEIVED", "RECEIPT_RECEIVED", "KEYS_RELEASED")
    )
    cut.write_bytes(cut.read_bytes()[:-1])
    lines = flipped.read_text("ascii").splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("path "))
    lines[at] = lines[at][:10] + ("A" if lines[at][10] != "A" else "B") + lines[at][11:]
    flipped.write_text("\n".join(lines) + "\n", "ascii")
    left_out.unlink()
    report = next(line for line, _ in acts(GUIDE, 1, {}, None) if " report " in line)
    said = run(report, copy, {}, within=without_network(), code=4)
    document = json.loads((copy / "finding.json").read_text(encoding="utf-8"))
    assert document["holds"] is False
    whole = [finding["says"] for finding in document["findings"]]
    assert any(cut.name in says and "cut short" in says for says in whole)
    assert any(flipped.name in says and "does not lead to that head" in says for says in whole)
    (chapter,) = (one for one in document["grants"] if one["grant"] == grant)
    kinds = {finding["kind"] for finding in chapter["findings"]}
    assert {"NOT_PROVEN", "OTHER_SIDE_SILENT"} <= kinds
    assert "OTHER_SIDE_SILENT" in said
    shown, _, _ = opened(copy / "finding.html", tmp_path)
    assert "Something does not hold" in shown
    assert "KEYS_RELEASED of that note" in shown
    assert len(re.findall(r'<details class="bad-case" open', shown)) >= 3


def test_without_what_the_auditor_knows_nothing_is_found_to_hold(disk: Path, tmp_path: Path) -> None:
    run(
        f"kiteline audit report handed-over --document {tmp_path / 'finding.json'}",
        disk,
        {},
        within=without_network(),
        code=4,
    )
    document = json.loads((tmp_path / "finding.json").read_text(encoding="utf-8"))
    assert not any(file["proven"] for file in document["files"])
    assert all("anybody can write such a file" in finding["says"] for finding in document["findings"])
