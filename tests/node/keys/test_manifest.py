"""The manifest: one spelling, and no state in which two keys of a kind are active, or none."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import Refusal
from node.errors import KeyStateInvalid, KeyStoreInvalid
from node.keys.manifest import TRANSITIONS, Manifest, State, founded, parse_manifest
from node.model.keys import Kind, Mode, Step
from tests.support.statements import member_id

MEMBER = member_id(7)
_digests = st.binary(min_size=32, max_size=32)
_times = st.integers(0, 253_402_300_799_999)


def _walk(seed: int, kinds: list[Kind]) -> list[Manifest]:
    """Manifests that a store can come to, one after another."""
    draw = random.Random(seed)
    manifest = founded(MEMBER, [(kind, draw.randbytes(32)) for kind in kinds], draw.randrange(10**12))
    seen = [manifest]
    for _ in range(40):
        now = draw.randrange(10**12)
        rotation = manifest.rotation
        step = draw.randrange(6)
        try:
            if step == 0:
                manifest = manifest.begun(draw.choice(list(Kind)), draw.choice(list(Mode)), now)
            elif step == 1:
                manifest = manifest.prepared(draw.randbytes(32), now)
            elif step == 2:
                manifest = (
                    manifest.committing() if rotation and rotation.step is Step.PREPARED else manifest.activated(now)
                )
            elif step == 3:
                manifest = manifest.activated(now) if draw.randrange(2) else manifest.undone()
            elif step == 4:
                one = draw.choice(manifest.keys)
                manifest = manifest.moved(one.kind, one.number, draw.choice(list(State)), now)
            else:
                manifest = manifest.adopted({draw.choice(kinds): draw.randbytes(32)}, now)
        except (KeyStoreInvalid, KeyStateInvalid):
            continue
        seen.append(manifest)
    return seen


@given(st.integers(0, 2**32), st.lists(st.sampled_from(Kind), min_size=1, unique=True))
def test_whatever_is_done_to_a_store_one_key_of_each_kind_is_active_and_the_text_reads_back(
    seed: int, kinds: list[Kind]
) -> None:
    for manifest in _walk(seed, sorted(kinds, key=list(Kind).index)):
        assert set(manifest.kinds) == set(kinds)
        for kind in kinds:
            assert sum(one.state is State.ACTIVE for one in manifest.of(kind)) == 1
            numbers = [one.number for one in manifest.of(kind)]
            assert numbers == list(range(1, len(numbers) + 1))
        assert (manifest.next() is not None) == (
            manifest.rotation is not None and manifest.rotation.step in {Step.PREPARED, Step.COMMITTING}
        )
        assert parse_manifest(manifest.to_text()) == manifest


@given(st.integers(0, 2**32), st.data())
def test_a_text_that_was_changed_is_refused_or_another_manifest(seed: int, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(_walk(seed, list(Kind)))).to_text()
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.sampled_from(["", "\n", " ", "0", "a", "é", text[at] * 2])) + text[at + 1 :]
    try:
        read = parse_manifest(changed)
    except KeyStoreInvalid:
        return
    assert read.to_text() == changed


@given(_digests, _times)
def test_a_rotation_goes_its_steps_in_order_and_each_but_the_next_is_refused(digest: bytes, now: int) -> None:
    start = founded(MEMBER, [(kind, digest) for kind in Kind], now)
    for early in (lambda: start.prepared(digest, now), start.committing, lambda: start.activated(now), start.undone):
        with pytest.raises(KeyStoreInvalid):
            early()
    begun = start.begun(Kind.TLS, Mode.HOLD, now)
    for wrong in (begun.committing, lambda: begun.activated(now), lambda: begun.begun(Kind.TLS, Mode.HOLD, now)):
        with pytest.raises(KeyStoreInvalid):
            wrong()
    prepared = begun.prepared(digest, now)
    assert prepared.undone() == start == begun.undone()
    with pytest.raises(KeyStoreInvalid):
        prepared.activated(now)
    done = prepared.committing().activated(now)
    assert done.rotation is None
    assert (done.active(Kind.TLS).number, done.record(Kind.TLS, 1).state) == (2, State.RETIRING)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("to", list(State))
def test_a_key_goes_from_state_to_state_as_the_table_says(state: State, to: State) -> None:
    digest = bytes(32)
    manifest = founded(MEMBER, [(Kind.SIGNING, digest)], 0).begun(Kind.SIGNING, Mode.THROUGH, 0).prepared(digest, 0)
    manifest = manifest.committing().activated(0)
    for passed in {State.RETIRING: [], State.RETIRED: [State.RETIRED], State.COMPROMISED: [State.COMPROMISED]}.get(
        state, []
    ):
        manifest = manifest.moved(Kind.SIGNING, 1, passed, 0)
    if state in {State.NEXT, State.ACTIVE}:
        return  # those change with a rotation alone
    if to in TRANSITIONS[state]:
        assert manifest.moved(Kind.SIGNING, 1, to, 5).record(Kind.SIGNING, 1).state is to
    else:
        with pytest.raises(Refusal):
            manifest.moved(Kind.SIGNING, 1, to, 5)


def test_a_time_that_can_be_read_and_not_written_is_refused() -> None:
    text = founded(MEMBER, [(Kind.TLS, bytes(32))], 0).to_text()
    assert "1970-" in text
    with pytest.raises(KeyStoreInvalid):
        parse_manifest(text.replace("1970-", "0970-"))
