"""What an officer sees on a terminal, and what a script gets, from a real process against a node that serves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from audit.entry import Entry
from audit.trail import Logged, Trail
from crypto.packed import Packed
from node.cli.output import Exit
from node.errors import PeerUnavailable
from node.model.chain import DatasetOnChain, GrantOnChain, GrantState, SharingType
from node.model.events import Event
from node.model.grants import Terms
from node.model.lines import FieldDescription
from node.model.results import CatalogueEntry, FetchProgress, FetchSummary, GrantSummary
from node.model.statements import Description
from tests.node.cli.desk import Desk, desk
from tests.node.rpc.world import PROVIDER, REQUESTER, World

DATASET, GRANT, OTHER = bytes(range(32)), bytes(range(32, 64)), bytes(range(32, 63)) + b"\xff"
COLOUR = "\x1b["
ABOUT = Description(
    name="villages",
    dataset_id=DATASET,
    provider_id=PROVIDER,
    title="村和社区 [bold]",
    level=2,
    sharing_type=SharingType.CONDITIONAL,
    key_field="code",
    fields=(FieldDescription("code", ""), FieldDescription("name", "")),
    time_ms=0,
)
ON_CHAIN = DatasetOnChain(DATASET, PROVIDER, b"\x05" * 32, 2, SharingType.CONDITIONAL, size=620_573)


def _summary(grant_id: bytes, state: GrantState = GrantState.APPROVED) -> GrantSummary:
    grant = GrantOnChain(
        grant_id, DATASET, REQUESTER, PROVIDER, state, b"\x03" * 32, b"\x04" * 32, 1_798_000_000, quota=100
    )
    return GrantSummary(grant, None, Terms(("name",), 1_798_000_000, 100), 3, 2, is_expired=False, is_used_up=False)


def _stock(world: World) -> None:
    """A catalogue, two grants that begin alike, a finished fetch and a trail."""
    world.office.entries = [CatalogueEntry(ON_CHAIN, "潍坊市民政局", ABOUT)]
    world.office.summaries = [_summary(GRANT), _summary(OTHER, GrantState.REQUESTED)]
    summary = FetchSummary(b"\x08" * 16, 620_573, 9_000, 2_000, "/data/records.jsonl", b"\x09" * 32, 1, 10, "openssl")
    world.office.progress = [
        FetchProgress(10, 5, 620_573),
        FetchProgress(620_573, 620_573, 620_573),
        FetchProgress(620_573, 620_573, 620_573, summary),
    ]
    world.office.batches = [Packed.of([b'["1","\xe7\x94\xb2"]', b'["2","\xe4\xb9\x99"]'])]
    step = Logged(REQUESTER, 4, Entry(1_795_482_123_004, Event.ORDER_SENT, REQUESTER, "-"))
    world.office.found = Trail((step,), (), (REQUESTER,))


async def _both(at: Desk, *arguments: str) -> tuple[str, dict[str, object]]:
    """What a person reads on a colour terminal, and the document that a script gets; both end with 0."""
    shown, scripted = await at.run_on_a_terminal(*arguments), await at.run(*arguments, "--json")
    assert (shown.code, scripted.code) == (0, 0), shown.out + scripted.out + scripted.errors
    assert COLOUR in shown.out
    assert COLOUR not in scripted.out
    assert scripted.errors == "", "a script's standard error is for errors"
    return shown.text, scripted.document


async def test_lists_are_tables_for_people_and_documents_for_scripts(home: Path) -> None:
    async with desk(home) as at:
        _stock(at.world)
        text, document = await _both(at, "catalogue")
        assert document["entries"][0]["dataset"] == DATASET.hex()  # type: ignore[index]  # a JSON document
        for cell in (
            DATASET.hex()[:12],
            "villages",
            "村和社区 [bold]",
            "潍坊市民政局",
            "conditional",
            "620,573",
            "───",
        ):
            assert cell in text
        text, document = await _both(at, "grants")
        assert [grant["grant"] for grant in document["grants"]] == [GRANT.hex(), OTHER.hex()]  # type: ignore[attr-defined]  # likewise
        for cell in (GRANT.hex()[:12], REQUESTER, "approved", "requested", "3 of 100", "2026-12-23"):
            assert cell in text
        text, document = await _both(at, "trail", GRANT.hex())
        for cell in ("2026-11-24 01:02:03.004", REQUESTER, "ORDER_SENT", "every step is proven"):
            assert cell in text
        text, document = await _both(at, "status")
        for cell in (PROVIDER, "5 entries, 4 of them anchored", "reachable, id 1337"):
            assert cell in text
        assert document["chain_id"] == 1337


async def test_an_empty_list_says_what_to_do(home: Path) -> None:
    async with desk(home) as at:
        assert "kiteline request" in (await at.run_on_a_terminal("grants")).text
        assert "Nobody offers" in (await at.run_on_a_terminal("catalogue")).text
        assert (await at.run("grants", "--json")).document == {"grants": []}


async def test_long_work_shows_a_bar_on_a_terminal_and_nothing_to_scripts(home: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "villages.csv", tmp_path / "villages.parquet"
    source.write_text("code,name\n1,甲\n2,乙\n", encoding="utf-8")
    async with desk(home) as at:
        _stock(at.world)
        work = {
            ("publish", str(source), "--dataset", "villages"): "2/2",
            ("fetch", GRANT.hex()): "620573/620573",
            ("export", GRANT.hex(), "--to", str(target), "--force"): "2/2",
        }
        for arguments, done in work.items():
            text, _ = await _both(at, *arguments)
            assert "━━━" in text
            assert done in text
            # Caught apart, standard output is the document alone; the bar is on the terminal all the same.
            apart = await at.run_on_a_terminal(*arguments, "--json", json_to_a_pipe=True)
            assert isinstance(apart.document, dict)
            assert "━━━" in apart.errors


async def test_a_refusal_names_its_reason_and_what_to_do_and_takes_its_bar_away(home: Path) -> None:
    async with desk(home) as at:

        async def refuse(_grant_id: bytes) -> object:
            raise PeerUnavailable("no answer from the provider", peer=PROVIDER)
            yield

        at.world.office.fetch = refuse  # type: ignore[assignment,method-assign]  # the fault that this test is about
        shown = await at.run_on_a_terminal("fetch", GRANT.hex())
        assert shown.code == Exit.UNAVAILABLE
        assert "PEER_UNAVAILABLE no answer from the provider" in shown.text
        assert "goes on where its last receipt left it" in shown.text
        # The terminal is told to wipe the line that the bar stood on.
        assert "\x1b[2K" in shown.out.split("━")[-1]
        scripted = await at.run("fetch", GRANT.hex(), "--json")
        assert scripted.document["error"]["reason"] == "PEER_UNAVAILABLE"
        assert scripted.document["error"]["details"]["peer"] == PROVIDER


async def test_an_id_may_be_named_by_its_beginning_where_that_names_one_alone(home: Path) -> None:
    async with desk(home) as at:
        _stock(at.world)
        request = await at.run("request", DATASET.hex()[:8], "--purpose", "x", "--json")
        assert request.code == 0
        assert [wish.dataset_id for wish in at.world.office.wishes] == [DATASET]
        ambiguous = await at.run("decide", GRANT.hex()[:62], "--approve", "--json")
        assert ambiguous.code == Exit.REFUSED
        assert ambiguous.document["error"]["reason"] == "GRANT_UNKNOWN"
        assert OTHER.hex() in ambiguous.document["error"]["message"]
        assert at.world.office.decisions == []
        at.world.office.summaries = [_summary(GRANT)]
        decided = await at.run("decide", GRANT.hex()[:8], "--approve", "--json")
        assert decided.document["grant"] == GRANT.hex()
        assert [grant_id for grant_id, *_ in at.world.office.decisions] == [GRANT]
        unknown = await at.run("revoke", "f" * 8, "--reason", "x", "--json")
        assert unknown.document["error"]["reason"] == "GRANT_UNKNOWN"


@pytest.mark.parametrize("wrong", ["1234567", "g" * 64, "F" * 64, "0" * 65, ""])
async def test_what_is_no_id_is_wrong_usage_and_nothing_is_asked(home: Path, wrong: str) -> None:
    async with desk(home) as at:
        finished = await at.run("fetch", wrong, "--json")
        assert (finished.code, finished.document["error"]["reason"]) == (Exit.USAGE, "WRONG_USAGE")
        assert "64 lower-case hexadecimal digits" in finished.document["error"]["message"]
        assert at.world.calls == []


async def test_a_purge_asks_for_the_datasets_id_and_says_what_went_and_what_stays(home: Path) -> None:
    async with desk(home) as at:
        _stock(at.world)
        purge = ("purge", DATASET.hex()[:8], "--reason", "over")
        for typed in ("y\n", DATASET.hex()[:11] + "\n", OTHER.hex() + "\n", "\x04"):
            refused = await at.run_on_a_terminal(*purge, typed=typed)
            assert refused.code not in {0, Exit.DEFECT}
            assert at.world.office.purges == []
        # Nobody can be asked.
        for unasked in (purge, (*purge, "--json")):
            assert (await at.run(*unasked)).code == Exit.USAGE
        assert at.world.office.purges == []
        for typed in (DATASET.hex()[:12], DATASET.hex()):
            done = await at.run_on_a_terminal(*purge, typed=f"{typed}\n")
            assert done.code == 0
            text = " ".join(done.text.split())
            assert "It cannot be undone." in text
            assert "7 records with their keys, salts and key index: 4,096 bytes overwritten and deleted" in text
            assert "age them out" in text
        document = (await at.run(*purge, "--yes", "--json")).document
        assert (document["state"], document["records"], document["tombstone"]) == ("purged", 7, "tombstone")
        assert at.world.office.purges == [(DATASET, "over")] * 3
        at.world.office.entries = [replace(at.world.office.entries[0], is_purged=True)]
        assert "purged" in (await at.run_on_a_terminal("catalogue", columns=160)).text
        assert (await at.run("catalogue", "--json")).document["entries"][0]["state"] == "purged"


async def test_a_grant_is_shown_in_full_before_it_is_decided(home: Path) -> None:
    async with desk(home) as at:
        at.world.office.summaries = [_summary(GRANT)]
        text, document = await _both(at, "grants", GRANT.hex()[:8])
        assert len(document["grants"]) == 1  # type: ignore[arg-type]  # a JSON document
        for cell in (GRANT.hex(), DATASET.hex(), "3 of 100 used", "2026-12-23", "name"):
            assert cell in text
        missing = await at.run("grants", "f" * 64, "--json")
        assert missing.document["error"]["reason"] == "GRANT_UNKNOWN"


async def test_a_narrow_terminal_folds_text_and_keeps_ids_whole(home: Path) -> None:
    async with desk(home) as at:
        _stock(at.world)
        lines = (await at.run_on_a_terminal("grants", columns=80)).text.splitlines()
        assert any(GRANT.hex()[:12] in line for line in lines)
        assert max(map(len, lines)) <= 80


async def test_what_others_wrote_neither_colours_nor_moves_the_screen(home: Path) -> None:
    async with desk(home) as at:
        named = replace(ABOUT, title="[red]sale[/] \\[x]")
        at.world.office.entries = [CatalogueEntry(ON_CHAIN, "\x1b[31mBureau\x07", named)]
        text = (await at.run_on_a_terminal("catalogue")).out
        assert "[red]sale[/] \\[x]" in text
        assert "\x1b[31m" not in text
        assert "\x07" not in text


async def test_a_file_that_cannot_be_written_is_refused(home: Path, tmp_path: Path) -> None:
    async with desk(home) as at:
        _stock(at.world)
        missing = str(tmp_path / "missing" / "file.csv")
        for arguments in (
            ("evidence", "--member", PROVIDER, "--index", "0", "--to", missing),
            ("export", GRANT.hex(), "--to", missing),
        ):
            finished = await at.run(*arguments, "--json")
            assert (finished.code, finished.document["error"]["reason"]) == (Exit.REFUSED, "FILE_UNUSABLE")


async def test_an_export_overwrites_only_when_it_is_told_to(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "mine.jsonl"
    target.write_text("mine")
    async with desk(home) as at:
        _stock(at.world)
        refused = await at.run("export", GRANT.hex(), "--to", str(target), "--json")
        assert refused.document["error"]["reason"] == "FILE_EXISTS"
        assert target.read_text() == "mine"
        assert (await at.run("export", GRANT.hex(), "--to", str(target), "--force", "--json")).code == 0
        assert json.loads(target.read_text(encoding="utf-8").splitlines()[0]) == {"no": "1", "name": "甲"}
