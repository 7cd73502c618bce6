"""The finding over files: what is in it, what each defect of a file adds to it, and that the page shows what anybody wrote and does nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audit.errors import EvidenceMalformed
from audit.report import HandedOver, Known, make_report, read_directory, read_known
from audit.report_page import render
from audit.trail import GrantFacts
from audit.verifier import KnownKey, Trust
from audit.verify import trust_text
from crypto.engine import Engine
from tests.audit.evidence_files import BLOCK_TIME, GRANT, HEAD_MS, SINCE, World, opened_world

NOW = 1_795_500_000_000  # Unix ms
NOTHING_KNOWN = Known()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened_world(tmp_path_factory.mktemp("world")) as opened:
        opened.true_proof(19)  # so that its blocks are known
        yield opened


def _made(
    engine: Engine, world: World, *files: tuple[str, bytes], trust: Trust | None = None, known: Known = NOTHING_KNOWN
) -> dict[str, Any]:
    handed = [HandedOver(name, content) for name, content in files]
    document = make_report(engine, handed, world.trust() if trust is None else trust, known, NOW)
    json.dumps(document)  # it is one
    return document


def _kinds(document: dict[str, Any]) -> set[str]:
    return {
        one["kind"]
        for one in [*document["findings"], *(one for chapter in document["grants"] for one in chapter["findings"])]
    }


def test_each_statement_is_named_with_who_signed_it_and_what_proves_it(engine: Engine, world: World) -> None:
    files = [
        ("steps.range", world.true_range(0, 19).to_bytes()),
        ("receipt.evidence", world.true_evidence(5).to_bytes()),
    ]
    document = _made(engine, world, *files)
    assert [file["proven"] for file in document["files"]] == [True, True]
    (chapter,) = document["grants"]
    assert chapter["grant"] == GRANT
    steps = {step["index"]: step for step in chapter["steps"]}
    assert steps[5]["statement"] == "receipt"
    assert steps[5]["signed_by"] == [world.requester.name]
    assert steps[5]["proven_by"] in {"steps.range", "receipt.evidence"}
    assert steps[4]["signed_by"] == [world.owner.name]
    assert [step["index"] for step in document["others"]][:2] == [0, 9]


def test_nothing_is_proved_by_a_file_alone(engine: Engine, world: World) -> None:
    document = _made(engine, world, ("a.evidence", world.true_evidence(5).to_bytes()), trust=Trust())
    assert document["holds"] is False
    assert document["files"][0]["holds"] is True
    assert document["files"][0]["proven"] is False
    assert "NOT_PROVEN" in _kinds(document)


def test_a_malformed_file_is_named_and_the_others_are_judged(engine: Engine, world: World) -> None:
    whole = world.true_evidence(1).to_bytes()
    document = _made(engine, world, ("cut.evidence", whole[:-1]), ("whole.evidence", whole))
    assert [file["proven"] for file in document["files"]] == [False, True]
    assert document["findings"][0]["says"] == "cut.evidence: the file's last line is cut short"
    assert len(document["grants"][0]["steps"]) == 1


def test_a_compromised_key_is_judged_by_the_block_and_not_by_what_the_entry_says(engine: Engine, world: World) -> None:
    files = ("a.evidence", world.true_evidence(5).to_bytes())
    for since, is_compromised in ((BLOCK_TIME - 1, True), (BLOCK_TIME + 1, False)):
        keys = world.trust().keys | {world.requester.name: (KnownKey(world.requester.public, SINCE, since),)}
        document = _made(engine, world, files, trust=world.trust(keys=keys))
        # The entry's own time lies before either date.
        assert 1_000 * since > HEAD_MS
        assert ("KEY_COMPROMISED" in _kinds(document)) == is_compromised
        assert document["grants"][0]["steps"][0]["compromised"] == ([world.requester.name] if is_compromised else [])


def test_two_heads_of_one_size_are_a_fork(engine: Engine, world: World, tmp_path: Path) -> None:
    with opened_world(tmp_path, owner=world.owner.key) as other:
        other.entries[0] = other.entries[0].replace(b"NODE_STARTED", b"NODE_STOPPED")
        forked = _forked(other, tmp_path)
    files = [
        ("here.evidence", world.true_evidence(5).to_bytes()),
        ("there.evidence", forked.true_evidence(5).to_bytes()),
    ]
    trust = world.trust(blocks=frozenset(world.blocks | forked.blocks))
    document = _made(engine, world, *files, trust=trust)
    forked.log.close()
    assert "LOG_FORKED" in _kinds(document)
    (finding,) = (one for one in document["findings"] if one["kind"] == "LOG_FORKED")
    assert "here.evidence and there.evidence" in finding["says"]


def _forked(other: World, directory: Path) -> World:
    class Forked(World):
        """The same people and another first entry."""

        def steps(self, size: int) -> Iterator[Any]:
            first, *rest = super().steps(size)
            yield replace(first, event="NODE_STOPPED")
            yield from rest

    return Forked(directory / "forked", owner=other.owner.key)


def test_it_is_compared_with_the_chain_where_the_auditor_knows_it(engine: Engine, world: World) -> None:
    facts = GrantFacts(GRANT, world.owner.name, world.requester.name, "ab" * 32)
    known = Known({GRANT: facts}, {world.owner.name: "潍坊市民政局 <b>"})
    document = _made(engine, world, ("a.evidence", world.true_evidence(5).to_bytes()), known=known)
    assert document["grants"][0]["compared_with_chain"] is True
    assert "NOT_ON_CHAIN" in _kinds(document)
    assert f"潍坊市民政局 &lt;b&gt; <code>{world.owner.name}</code>" in render(document)


def test_what_a_trust_file_knows_besides_is_read_back(world: World, tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    facts, names = (
        GrantFacts(GRANT, world.owner.name, world.requester.name, "ab" * 32),
        {world.owner.name: "潍坊市民政局"},
    )
    path.write_text(trust_text(world.trust(), [facts], names), encoding="utf-8")
    assert read_known(path) == Known({GRANT: facts}, names)
    for wrong in ("[]", '{"grants": {"a": {"b": 1}}}', '{"names": 1}', "{"):
        path.write_text(wrong, encoding="utf-8")
        with pytest.raises(EvidenceMalformed):
            read_known(path)


def test_a_directory_is_read_by_name_and_one_without_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("b.evidence", "a.range", "inner/c.evidence", "trust.json"):
        (tmp_path / name).write_bytes(name.encode())
    assert [file.name for file in read_directory(tmp_path)] == ["a.range", "b.evidence", "inner/c.evidence"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvidenceMalformed):
        read_directory(tmp_path / "empty")


def test_the_page_shows_what_anybody_wrote_and_does_nothing(engine: Engine, world: World) -> None:
    names = {world.owner.name: "<script>alert(1)</script>\u202e"}
    files = [("<img src=x onerror=alert(1)>.evidence", b"no evidence"), ("a.range", world.true_range(0, 19).to_bytes())]
    page = render(_made(engine, world, *files, known=Known({}, names)))
    assert not re.search(r"<script|<img|<link|<iframe|\ssrc=[^x]|\shref=|url\(|@import|://", page)
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "\u202e" not in page
    assert page.count("<details") == page.count("</details>")
    assert page.count("<table") == page.count("</table>")
