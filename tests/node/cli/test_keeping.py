"""`kiteline audit check`, `backup`, `restore` and `archive` on a log's directory: no node, no configuration, no passphrase. What people read, what
scripts get, and how each ends.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from audit.keeping.stored import epoch_files
from crypto.engine import load_engine
from crypto.sm2 import SM2PrivateKey
from node.cli.output import Exit
from tests.audit.conftest import MEMBER, ORIGIN
from tests.audit.keeping.kept_log import KeptLog, build, copy_of, edit, flipped, rows_of, text_entry
from tests.node.cli.desk import Finished, kiteline, kiteline_on_a_terminal

ENTRIES, EPOCH_LEAVES, TILE = 650, 200, 256
LONG_AGO_MS = 1_500_000_000_000  # July 2017: older than entries are kept at least, whenever the tests are run
COLUMNS = 100


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> KeptLog:
    """A log of three full epochs and one that grows; nobody changes it."""
    home = tmp_path_factory.mktemp("keeping") / "node"
    entries = [text_entry(number, LONG_AGO_MS + number * 1_000) for number in range(ENTRIES)]
    batches = [entries[at : at + 50] for at in range(0, ENTRIES, 50)]
    key = SM2PrivateKey.generate(os.urandom)
    return build(home, load_engine(), key, batches=batches, epoch_leaves=EPOCH_LEAVES, anchored=(300,))


@pytest.fixture
def kept(made: KeptLog, tmp_path: Path) -> KeptLog:
    """A copy, to do with what one likes."""
    return copy_of(made, tmp_path / "node")


@pytest.fixture
def trust(made: KeptLog, tmp_path: Path) -> Path:
    return _trust(tmp_path / "trust.json", made.key)


def _trust(file: Path, key: SM2PrivateKey, compromised_since: int | None = None) -> Path:
    known = [{"key": key.public_key.to_bytes().hex(), "since": 0, "compromised_since": compromised_since}]
    file.write_text(json.dumps({"version": 1, "keys": {MEMBER: known}, "blocks": [], "contracts": []}))
    return file


def _of(kept: KeptLog, trust: Path | None = None) -> list[str]:
    """The options that name a log and what is known of it."""
    known = [] if trust is None else ["--trust", str(trust)]
    return ["--log", str(kept.path), "--head", str(kept.head), *known]


def _document(*arguments: object, code: Exit = Exit.DONE) -> dict[str, Any]:
    """What a script gets; nothing is said beside it."""
    finished = kiteline("audit", *map(str, arguments), "--json")
    assert (finished.code, finished.errors) == (code, ""), finished
    return finished.document


def _refusal(*arguments: object, code: Exit) -> dict[str, str]:
    error: dict[str, str] = _document(*arguments, code=code)["error"]
    assert error["message"]
    assert error["remedy"]
    return error


def _read(*arguments: object, code: Exit = Exit.DONE) -> str:
    """What a person reads, who has 100 columns."""
    finished: Finished = kiteline_on_a_terminal("audit", *map(str, arguments), columns=COLUMNS)
    assert finished.code == code, finished.text
    # What a progress bar drew before it was drawn again stands before the last carriage return.
    lines = [line.rpartition("\r")[2].rstrip() for line in finished.text.split("\n")]
    assert max(map(len, lines)) <= COLUMNS
    return "\n".join(lines)


def _tamper(path: Path, number: int = 1) -> int:
    """One bit of the last entry of an epoch's first segment changed; gives which entry that is."""
    file = epoch_files(path)[number]
    key, value = rows_of(file, b"segments")[0]
    edit(file, b"segments", key, lambda held: flipped(held, len(held) - 1, 0))
    return int.from_bytes(key, "big") + int.from_bytes(value[:4], "big") - 1


def _state(path: Path) -> dict[str, bytes]:
    """Every file but those that say who is there."""
    files = [one for one in path.rglob("*") if one.is_file() and one.name not in {"lock", "lock.mdb", "archive.lock"}]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


# Check.


def test_a_check_that_holds_says_what_was_compared(made: KeptLog, trust: Path) -> None:
    size, root = made.anchors[0]
    options = [*_of(made, trust), "--anchor", f"{size}:{root.hex()}"]
    assert _document("check", *options) == {
        "log": str(made.path),
        "origin": ORIGIN,
        "entries": ENTRIES,
        "root": made.anchors[-1][1].hex(),
        "rehashed": [0, ENTRIES],
        "signed_head": ENTRIES,
        "signature_verified": True,
        "anchors": 1,
        "archived": [],
        "findings": [],
        "holds": True,
    }
    text = _read("check", *options)
    for line in (
        f"origin       {ORIGIN}",
        "entries      650",
        f"root         {made.anchors[-1][1].hex()}",
        "re-hashed    entries 0 to 649",
        "signed head  650 entries, signature verified",
        "anchors      1 compared",
        "index        not compared",
        "archived     none",
        "everything that was compared holds",
    ):
        assert f"\n{line}\n" in text, text


def test_a_check_says_what_it_could_not_compare(made: KeptLog) -> None:
    document = _document("check", "--log", made.path)
    assert (document["signed_head"], document["signature_verified"], document["holds"]) == (None, False, True)
    text = _read("check", "--log", made.path)
    assert "signed head  none was given" in text
    assert "no anchor was compared" in text
    assert "no signed head was compared: give --head" in text
    assert "signature not verified" in _read("check", *_of(made))
    assert "give --trust" in _read("check", *_of(made))


def test_a_key_that_was_declared_compromised_verifies_no_head(made: KeptLog, tmp_path: Path) -> None:
    trust = _trust(tmp_path / "trust.json", made.key, compromised_since=1)
    assert _document("check", *_of(made, trust))["signature_verified"] is False


def test_a_check_of_an_interval_widens_it_to_whole_tiles(made: KeptLog, trust: Path) -> None:
    document = _document("check", *_of(made, trust), "--first", 300, "--count", 10)
    assert document["rehashed"] == [TILE, 2 * TILE]
    assert "re-hashed    entries 256 to 511" in _read("check", *_of(made, trust), "--first", 300, "--count", 10)


def test_a_check_names_the_entry_that_does_not_hold_and_what_to_do(kept: KeptLog, trust: Path) -> None:
    entry = _tamper(kept.path)
    document = _document("check", *_of(kept, trust), code=Exit.DOES_NOT_HOLD)
    assert document["holds"] is False
    (finding,) = document["findings"]
    assert (finding["class"], finding["place"]["epoch"]) == ("segment", 1)
    assert finding["place"]["leaves"] == [entry, entry + 1]
    assert finding["place"]["file"] == str(kept.files[1])
    text = _read("check", *_of(kept, trust), code=Exit.DOES_NOT_HOLD)
    assert f"entry {entry}" in text
    assert "1 finding. What to do next:" in text
    assert "kiteline audit restore DIR" in text
    assert "everything that was compared holds" not in text


def test_a_check_with_another_members_key_or_another_anchor_does_not_hold(made: KeptLog, tmp_path: Path) -> None:
    other = _trust(tmp_path / "other.json", SM2PrivateKey.generate(os.urandom))
    document = _document("check", *_of(made, other), code=Exit.DOES_NOT_HOLD)
    assert [finding["class"] for finding in document["findings"]] == ["checkpoint"]
    wrong = f"300:{made.anchors[-1][1].hex()}"
    document = _document("check", *_of(made), "--anchor", wrong, code=Exit.DOES_NOT_HOLD)
    assert [finding["class"] for finding in document["findings"]] == ["anchor"]
    assert document["findings"][0]["place"]["leaves"][1] == 300


def test_a_check_of_nothing_is_refused(tmp_path: Path) -> None:
    assert _refusal("check", "--log", tmp_path, code=Exit.REFUSED)["reason"] == "STORE_ABSENT"
    assert "STORE_ABSENT" in _read("check", "--log", tmp_path, code=Exit.REFUSED)


# Backup and restore.


def test_a_backup_copies_full_epochs_once_and_is_restored(made: KeptLog, trust: Path, tmp_path: Path) -> None:
    backup, restored = tmp_path / "backup", tmp_path / "restored"
    known = {"entries": ENTRIES, "signed_head": ENTRIES}
    assert _document("backup", backup, *_of(made, trust)) == {
        **known,
        "directory": str(backup),
        "copied_epochs": [0, 1, 2, 3],
        "kept_epochs": [],
    }
    assert _document("backup", backup, *_of(made, trust))["kept_epochs"] == [0, 1, 2]
    text = _read("backup", backup, *_of(made, trust))
    assert "epochs copied  1 (number 3)" in text
    assert "epochs kept    3 (numbers 0–2)" in text
    assert "verified; to look at it again" in text
    assert _document("restore", backup, "--log", restored, "--trust", trust) == {
        **known,
        "directory": str(restored),
        "copied_epochs": [0, 1, 2, 3],
        "kept_epochs": [],
        "anchored_entries": None,
    }
    # The head lies with the backup, and with what was restored from it.
    document = _document("check", "--log", backup, "--trust", trust)
    assert (document["root"], document["signature_verified"]) == (made.anchors[-1][1].hex(), True)
    assert _document("check", "--log", restored, "--head", made.head)["root"] == document["root"]


def test_a_restored_log_is_shown_to_a_person(made: KeptLog, tmp_path: Path) -> None:
    backup, restored = tmp_path / "backup", tmp_path / "restored"
    _document("backup", backup, *_of(made))
    text = _read("restore", backup, "--log", restored)
    assert "signed head    650 entries" in text
    assert "on the chain   not known here" in text
    assert "give --trust" in text


def test_a_log_that_does_not_hold_is_not_backed_up(kept: KeptLog, trust: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    _document("backup", backup, *_of(kept, trust))
    before = _state(backup)
    _tamper(kept.path, 3)
    error = _refusal("backup", backup, *_of(kept, trust), code=Exit.DOES_NOT_HOLD)
    assert error["reason"] == "COPY_INVALID"
    assert _state(backup) == before
    assert "COPY_INVALID" in _read("backup", backup, *_of(kept, trust), code=Exit.DOES_NOT_HOLD)


def test_a_backup_that_does_not_hold_is_not_restored(made: KeptLog, tmp_path: Path) -> None:
    backup, restored = tmp_path / "backup", tmp_path / "restored"
    _document("backup", backup, *_of(made))
    _tamper(backup)
    assert _refusal("restore", backup, "--log", restored, code=Exit.DOES_NOT_HOLD)["reason"] == "COPY_INVALID"
    assert not restored.exists()


def test_what_cannot_be_restored_or_backed_up_is_refused(kept: KeptLog, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    _document("backup", backup, *_of(kept))
    before = _state(kept.home)
    assert _refusal("restore", backup, "--log", kept.path, code=Exit.REFUSED)["reason"] == "STORE_EXISTS"
    assert "STORE_EXISTS" in _read("restore", backup, "--log", kept.path, code=Exit.REFUSED)
    assert (
        _refusal("restore", tmp_path / "none", "--log", tmp_path / "x", code=Exit.REFUSED)["reason"] == "STORE_ABSENT"
    )
    assert _state(kept.home) == before
    for file in kept.files:
        edit(file, b"head", b"head", lambda held: (2).to_bytes(2, "big") + held[2:])
    assert _refusal("backup", tmp_path / "y", *_of(kept), code=Exit.REFUSED)["reason"] == "STORE_VERSION"
    assert not (tmp_path / "y").exists()


# Archive.


def test_old_epochs_are_archived_and_put_back(kept: KeptLog, trust: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    before = _state(kept.path)
    document = _document("archive", archive, "--epoch", 1, *_of(kept, trust))
    file = archive / "epochs" / "0001" / "data.mdb"
    assert document == {"epochs": [{"epoch": 1, "entries": [200, 400], "file": str(file)}]}
    assert file.read_bytes() == before["epochs/0001/data.mdb"]
    text = _read("archive", archive, *_of(kept, trust))
    assert "gives the space back when it is restarted" in text
    assert [line.split()[:3] for line in text.split("\n") if line.lstrip().startswith(("0 ", "1 ", "2 "))] == [
        ["0", "0", "199"],
        ["2", "400", "599"],
    ]
    assert _document("archive", archive, *_of(kept, trust)) == {"epochs": []}
    assert "nothing to do" in _read("archive", archive, *_of(kept, trust))
    checked = _document("check", *_of(kept, trust))
    assert (checked["holds"], [one[:2] for one in checked["archived"]]) == (True, [[0, 200], [200, 400], [400, 600]])
    assert "archived     entries 0 to 199, entries 200 to 399, entries 400 to 599" in _read("check", *_of(kept, trust))
    for number in range(3):
        _document("archive", archive, "--epoch", number, "--restore", *_of(kept, trust))
    assert _state(kept.path) == before


def test_what_may_not_be_archived_is_refused(kept: KeptLog, tmp_path: Path) -> None:
    before, archive = _state(kept.home), tmp_path / "archive"
    for options, says in (
        (["--epoch", 3], "not full"),
        (["--epoch", 9], "no epoch 9"),
        (["--epoch", 1, "--restore"], "not archived"),
        (["--epoch", 1, "--retention-days", 36_500], "kept for 36500 days"),
        (["--retention-days", 183], "184 days at least"),
    ):
        error = _refusal("archive", archive, *options, *_of(kept), code=Exit.REFUSED)
        assert error["reason"] == "ARCHIVE_REFUSED"
        assert says in error["message"]
    assert _state(kept.home) == before
    _tamper(kept.path)
    error = _refusal("archive", archive, "--epoch", 1, *_of(kept), code=Exit.DOES_NOT_HOLD)
    assert error["reason"] == "COPY_INVALID"


# Wrong usage.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "--anchor", "5:zz"), "an anchor is SIZE:ROOT"),
        (("check", "--anchor", f"-1:{'0' * 64}"), "an anchor is SIZE:ROOT"),
        (("check", "--first", "-1"), "greater than or equal to 0"),
        (("check", "--quickly"), "No such option: --quickly"),
        (("backup",), "Missing argument 'to'"),
        (("restore",), "Missing argument 'origin'"),
        (("archive",), "Missing argument 'directory'"),
        (("archive", "elsewhere", "--restore"), "give --epoch"),
        (("mirror", "--to", "elsewhere"), "Missing option '--member'"),
    ],
)
def test_wrong_usage(made: KeptLog, arguments: tuple[str, ...], message: str) -> None:
    log = ["--log", str(made.path)] if arguments[0] != "mirror" else []
    error = _refusal(*arguments, *log, code=Exit.USAGE)
    assert error["reason"] == "WRONG_USAGE"
    assert message in error["message"]
