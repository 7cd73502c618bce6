"""The table `engine.votes` of a network file: how the validators themselves add one and remove one, as data.

    [engine.votes]
    quorum = "more-than-half"           # or "two-thirds": the part of the validators that must run for blocks to be made
    list = ["attach", "{home}/ipc"]     # the accounts of the present validators are in what it answers
    add = ["…", "{candidate}"]          # a vote for a new one
    remove = ["…", "{candidate}"]       # a vote against a present one
    close = ["…", "{candidate}"]        # ends the voter's own voting, when the change is made; may be left out

Each is asked beside a validator that runs: a list is a run of the engine's program, `{ method = "…", params = […] }` a call of the
validator's own JSON-RPC. `{candidate}` is the account that is voted on; the other placeholders are the voter's own, as in `settle`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from node.chain.toml_section import Section
from node.engine.placeholders import check_placeholders

CANDIDATE = "candidate"
_ADDRESS = re.compile(r"(?<![0-9a-fA-Fx])0x([0-9a-fA-F]{40})(?![0-9a-fA-F])")


class Quorum(Enum):
    """The part of the validators that must run for blocks to be made."""

    MORE_THAN_HALF = "more-than-half"
    TWO_THIRDS = "two-thirds"

    def of(self, validators: int) -> int:
        """So many of `validators`."""
        return validators // 2 + 1 if self is Quorum.MORE_THAN_HALF else -(-2 * validators // 3)


@dataclass(frozen=True)
class ProgramCall:
    """A run of the engine's program beside a validator."""

    arguments: tuple[str, ...]


@dataclass(frozen=True)
class RPCCall:
    """A call of a validator's JSON-RPC. `params`: texts with placeholders, or true and false."""

    method: str
    params: tuple[str | bool, ...]


Call = ProgramCall | RPCCall


@dataclass(frozen=True)
class Votes:
    """A validated table. `listing`: the key `list`; `close`: None where nothing has to be ended."""

    quorum: Quorum
    listing: Call
    add: Call
    remove: Call
    close: Call | None


def read_votes(section: Section, names: Collection[str]) -> Votes:
    """Read the table to its end. `names`: placeholders of the voter's own. Raises ConfigurationInvalid naming the setting."""
    quorum = Quorum(section.text("quorum", frozenset(quorum.value for quorum in Quorum)))
    about = {*names, CANDIDATE}
    votes = Votes(
        quorum,
        _call(section, "list", names),
        _call(section, "add", about),
        _call(section, "remove", about),
        _call(section, "close", about) if section.has("close") else None,
    )
    section.finish()
    return votes


def accounts_in(text: str) -> frozenset[str]:
    """Every account that a text names, 0x and 40 lower-case digits: an engine prints its validators in a form of its own."""
    return frozenset(f"0x{digits.lower()}" for digits in _ADDRESS.findall(text))


def _call(section: Section, key: str, names: Collection[str]) -> Call:
    if not section.is_table(key):
        words = section.words(key)
        check_placeholders(section, key, words, names)
        return ProgramCall(words)
    table = section.section(key)
    method, params = table.text("method"), table.texts_and_truths("params")
    check_placeholders(table, "params", [value for value in params if isinstance(value, str)], names)
    table.finish()
    return RPCCall(method, params)
