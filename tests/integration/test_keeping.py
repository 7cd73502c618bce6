"""Keeping a log that a node writes to meanwhile, between real nodes: an auditor's mirror, and what the provider can do with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.local_consortium import AUDIT, CIVIL_AFFAIRS, HEALTH, CommandFailed, LocalConsortium

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def trust(consortium: LocalConsortium, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the auditor's own node knows of keys."""
    file = tmp_path_factory.mktemp("trust") / "trust.json"
    consortium.kiteline(AUDIT, "chain", "trust", "--to", str(file))
    return file


def test_an_auditor_mirrors_a_log_and_it_is_restored_from_there(
    consortium: LocalConsortium, dataset: str, trust: Path, tmp_path: Path
) -> None:
    """The provider goes on writing. What is put back from the mirror is the log up to where the mirror has it, and it is checked with the auditor's keys."""
    mirror, restored = tmp_path / "mirror", tmp_path / "restored"
    follow = ("audit", "mirror", "--member", CIVIL_AFFAIRS.member_id, "--to", str(mirror), "--once")
    first = consortium.kiteline(AUDIT, *follow)
    again = consortium.kiteline(AUDIT, *follow)
    # Each look is an entry of the log that is followed.
    assert again["entries"] > first["entries"] > 0
    assert again["signed_head"] == again["entries"]
    checked = consortium.kiteline(None, "audit", "check", "--log", str(mirror), "--trust", str(trust))
    assert (checked["holds"], checked["signature_verified"]) == (True, True)
    assert (checked["entries"], checked["signed_head"]) == (again["entries"], again["entries"])
    consortium.kiteline(CIVIL_AFFAIRS, "chain", "anchor")
    own = consortium.kiteline(CIVIL_AFFAIRS, "audit", "check")
    assert own["holds"]
    assert own["anchors"] > 0
    assert own["entries"] >= checked["entries"]
    consortium.kiteline(None, "audit", "restore", str(mirror), "--log", str(restored), "--trust", str(trust))
    head = str(mirror / "checkpoint")
    kept = consortium.kiteline(None, "audit", "check", "--log", str(restored), "--head", head, "--trust", str(trust))
    assert (kept["root"], kept["holds"]) == (checked["root"], True)


def test_who_is_no_auditor_gets_no_mirror(consortium: LocalConsortium, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    with pytest.raises(CommandFailed) as refused:
        consortium.kiteline(
            HEALTH, "audit", "mirror", "--member", CIVIL_AFFAIRS.member_id, "--to", str(mirror), "--once"
        )
    assert (refused.value.code, refused.value.reason) == (1, "NOT_AN_AUDITOR")
    assert not mirror.exists()


def test_a_log_is_backed_up_beside_its_node(
    consortium: LocalConsortium, dataset: str, trust: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    copied = consortium.kiteline(CIVIL_AFFAIRS, "audit", "backup", str(backup))
    assert copied["copied_epochs"] == [0]
    checked = consortium.kiteline(None, "audit", "check", "--log", str(backup), "--trust", str(trust))
    assert (checked["holds"], checked["signature_verified"]) == (True, True)
    assert (checked["entries"], checked["signed_head"]) == (copied["entries"], copied["signed_head"])
