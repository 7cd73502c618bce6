"""The trust file: it reads back, and whatever it does not say in its own words is refused, not passed over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.trail import GrantFacts
from audit.verifier import KnownKey, Malformed, Trust, read_trust
from audit.verify import trust_text
from tests.audit.evidence_files import World, opened_world
from tests.audit.test_verifier_files import HASHES, MEMBERS, NUMBERS, many


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened_world(tmp_path_factory.mktemp("world")) as held:
        yield held


@settings(deadline=None)
@given(
    st.builds(
        Trust,
        st.dictionaries(
            MEMBERS,
            many(st.builds(KnownKey, st.binary(min_size=65, max_size=65), NUMBERS, st.none() | NUMBERS)),
            max_size=3,
        ),
        st.frozensets(HASHES, max_size=3),
        st.frozensets(st.binary(min_size=20, max_size=20), max_size=3),
        st.frozensets(MEMBERS, min_size=3, max_size=4),
        st.integers(0, 3),
    )
)
def test_a_trust_file_reads_back_as_it_was_written(trust: Trust) -> None:
    assert read_trust(trust_text(trust)) == trust


def test_a_trust_file_without_witnesses_wants_none(world: World) -> None:
    document = json.loads(trust_text(world.trust()))
    del document["witnesses"]
    assert read_trust(json.dumps(document)) == world.trust(witnesses=frozenset(), cosignatures_needed=0)


def test_what_the_chain_has_of_grants_stands_beside_it_and_is_not_the_verifiers(world: World) -> None:
    facts = GrantFacts("9b" * 32, world.owner.name, world.requester.name, "11" * 32)
    assert "9b" * 32 in trust_text(world.trust(), [facts])
    assert read_trust(trust_text(world.trust(), [facts])) == world.trust()


KEY = {"key": "04" + "11" * 64, "since": 5, "compromised_since": None}
MEMBER = "11370700004258746X"


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": None},
        {"blocs": []},
        {"Witnesses": {"members": [MEMBER], "needed": 1}},
        {"witness": {"members": [MEMBER], "needed": 1}},
        {"witnesses": {"members": [MEMBER], "needed": 2}},
        {"witnesses": {"members": [MEMBER], "needed": -1}},
        {"witnesses": {"members": [MEMBER], "needed": True}},
        {"witnesses": {"members": [MEMBER], "needed": 1.0}},
        {"witnesses": {"members": [MEMBER], "needed": float("inf")}},
        {"witnesses": {"members": [MEMBER], "needed": None}},
        {"witnesses": {"members": MEMBER, "needed": 1}},
        {"witnesses": {"members": [[MEMBER]], "needed": 1}},
        {"witnesses": {"members": [MEMBER]}},
        {"witnesses": {"members": [MEMBER], "needed": 1, "of": 3}},
        {"witnesses": []},
        {"blocks": ["AA" * 32]},
        {"blocks": ["aa" * 31]},
        {"blocks": "aa" * 32},
        {"blocks": [5]},
        {"blocks": None},
        {"contracts": ["aa" * 32]},
        {"keys": {"somebody": [KEY]}},
        {"keys": {MEMBER: KEY}},
        {"keys": {MEMBER: [KEY["key"]]}},
        {"keys": {MEMBER: [{**KEY, "since": -1}]}},
        {"keys": {MEMBER: [{**KEY, "since": 1e400}]}},
        {"keys": {MEMBER: [{**KEY, "since": float("nan")}]}},
        {"keys": {MEMBER: [{**KEY, "since": 2**63}]}},
        {"keys": {MEMBER: [{**KEY, "compromised_since": False}]}},
        {"keys": {MEMBER: [{**KEY, "compromised_since": "-"}]}},
        {"keys": {MEMBER: [{**KEY, "compromised": 7}]}},
        {"keys": {MEMBER: [{"key": KEY["key"], "since": 5}]}},
        {"keys": {MEMBER: [{**KEY, "key": list("04" + "11" * 64)}]}},
        {"keys": []},
    ],
)
def test_a_trust_file_with_anything_unknown_or_of_another_kind_is_refused(change: dict[str, Any]) -> None:
    """A word that was misspelt would otherwise ask for less than the auditor meant."""
    good: dict[str, Any] = {"version": 1, "keys": {MEMBER: [KEY]}, "blocks": ["aa" * 32], "contracts": [], "grants": {}}
    assert read_trust(json.dumps(good)).blocks == frozenset({b"\xaa" * 32})
    with pytest.raises(Malformed):
        read_trust(json.dumps(good | change))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "5",
        '{"version": 1}',
        "[" * 200_000,
        '{"version": 1, "keys": {}, "blocks": [], "contracts": [], "version": 1}',
        '{"version": 1, "keys": {}, "blocks": [], "contracts": [], "contracts": ["' + "aa" * 20 + '"]}',
        '{"version": 1, "keys": {}, "blocks": [], "contracts": []} x',
        '\ufeff{"version": 1, "keys": {}, "blocks": [], "contracts": []}',
        '{"version": ' + "1" * 10_000 + ', "keys": {}, "blocks": [], "contracts": []}',
    ],
)
def test_what_is_no_trust_file_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="trust file"):
        read_trust(text)
