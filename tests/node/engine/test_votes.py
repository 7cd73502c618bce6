"""How validators vote is data, read strictly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from node.engine.description import load_engine
from node.engine.votes import ProgramCall, Quorum, RPCCall, accounts_in
from node.errors import ConfigurationInvalid

ONE, OTHER = "0x" + "ab" * 20, "0x" + "0c" * 20
VALID = """
chain_id = 7
[engine]
program = "engine"
validators = 3
arguments = []
[engine.votes]
quorum = "two-thirds"
list = ["attach", "{home}/ipc"]
add = { method = "vote", params = ["{candidate}", true] }
remove = ["attach", "propose('{candidate}')", "{account}"]
"""


def written(directory: Path, text: str) -> Path:
    """A network file with this text."""
    path = directory / "network.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_vote_is_a_run_of_the_program_or_a_call_of_the_json_rpc(tmp_path: Path) -> None:
    votes = load_engine(written(tmp_path, VALID)).votes
    assert votes is not None
    assert (votes.quorum, votes.close) == (Quorum.TWO_THIRDS, None)
    assert votes.listing == ProgramCall(("attach", "{home}/ipc"))
    assert votes.add == RPCCall("vote", ("{candidate}", True))


@pytest.mark.parametrize(
    ("was", "becomes", "named"),
    [
        ('"two-thirds"', '"all"', "quorum must be one of more-than-half, two-thirds"),
        ('list = ["attach", "{home}/ipc"]', "", "list is missing"),
        ('"{home}/ipc"', '"{candidate}"', "list has the unknown placeholder {candidate}"),
        ('"{account}"', '"{password_file}"', "remove has the unknown placeholder {password_file}"),
        ('["{candidate}", true]', '["{candidates}", true]', "params has the unknown placeholder {candidates}"),
        ('["{candidate}", true]', "[1]", "params must be a list of texts, true and false"),
        ('method = "vote", ', "", "method is missing"),
        ('method = "vote", ', 'method = "vote", id = 1, ', "id is not a known setting"),
        ("quorum", "close = 1\nquorum", "close must be a list of texts"),
        ("quorum", "end = []\nquorum", "end is not a known setting"),
    ],
)
def test_a_wrong_vote_is_refused_by_the_settings_name(tmp_path: Path, was: str, becomes: str, named: str) -> None:
    assert was in VALID
    with pytest.raises(ConfigurationInvalid, match=re.escape(named)):
        load_engine(written(tmp_path, VALID.replace(was, becomes, 1)))


def test_an_engine_of_one_process_has_no_votes(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="votes is not a known setting"):
        load_engine(written(tmp_path, VALID.replace("validators = 3\n", "")))


@pytest.mark.parametrize(
    ("quorum", "of"),
    [(Quorum.MORE_THAN_HALF, [1, 2, 2, 3, 3, 4, 4]), (Quorum.TWO_THIRDS, [1, 2, 2, 3, 4, 4, 5])],
    ids=lambda value: value.value if isinstance(value, Quorum) else "",
)
def test_a_quorum_of_one_to_seven_validators(quorum: Quorum, of: list[int]) -> None:
    assert [quorum.of(validators) for validators in range(1, 8)] == of


def test_accounts_are_found_in_whatever_form_an_engine_prints_them() -> None:
    printed = f'["{ONE.upper().replace("X", "x")}",\n "{OTHER}"] block 0x{"1" * 64} {ONE}0 {"a" * 40}'
    assert accounts_in(printed) == {ONE, OTHER}
    assert accounts_in("undefined") == frozenset()
