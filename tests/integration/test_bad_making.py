"""Commands that make something, and are refused: one reason each, and nothing is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.local_consortium import CIVIL_AFFAIRS, NETWORK, LocalConsortium
from tests.integration.conftest import MUSEUM
from tests.support.commands import run

pytestmark = pytest.mark.process


def test_init_makes_nothing_of_what_it_refuses(consortium: LocalConsortium, tmp_path: Path) -> None:
    good = {
        "--member-id": MUSEUM.member_id,
        "--name": MUSEUM.name,
        "--listen": "127.0.0.1:7001",
        "--roles": "department",
        "--network": str(consortium.directory / "network.toml"),
        "--contracts": str(consortium.directory / "contracts.toml"),
    }
    cases = [
        ({"--member-id": "113707000042591275"}, "CREDIT_CODE_INVALID"),
        ({"--listen": "127.0.0.1"}, "CONFIGURATION_INVALID"),
    ]
    for bad, reason in cases:
        home = tmp_path / "home"
        ended = run(consortium, "init", str(home), *(part for pair in (good | bad).items() for part in pair))
        assert (ended.code, ended.reasons) == (1, [reason]), ended.printed
        assert not home.exists()
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "letter").write_bytes(b"somebody's")
    ended = run(consortium, "init", str(kept), *(part for pair in good.items() for part in pair))
    assert (ended.code, ended.reasons) == (1, ["CONFIGURATION_INVALID"])
    assert [path.name for path in kept.iterdir()] == ["letter"]


def test_the_chains_commands_refuse_what_is_there_or_is_no_file_of_theirs(
    consortium: LocalConsortium, tmp_path: Path
) -> None:
    config = str(consortium.config(CIVIL_AFFAIRS))
    contracts = (consortium.directory / "contracts.toml").read_bytes()
    founder = str(consortium.home(CIVIL_AFFAIRS) / "admission.json")
    no_admission = tmp_path / "admission.json"
    no_admission.write_text('{"version": 2}', encoding="ascii")
    up = ["chain", "up", "--network", str(NETWORK), "--state", str(tmp_path / "chain")]
    cases = [
        (["chain", "deploy", "--founder", founder, "--config", config], "CONFIGURATION_INVALID"),
        (["chain", "admit", str(no_admission), "--config", config], "CONFIGURATION_INVALID"),
        ([*up, "--port", str(consortium.chain_port)], "PORT_TAKEN"),
    ]
    for command, reason in cases:
        ended = run(consortium, *command)
        assert (ended.code, ended.reasons) == (1, [reason]), ended.printed
    assert (consortium.directory / "contracts.toml").read_bytes() == contracts
