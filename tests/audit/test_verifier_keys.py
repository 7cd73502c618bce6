"""Keys: in force, compromised, unknown to the auditor, two of one id; and what counts as a cosignature."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from audit.cosignature import cosign, with_lines
from audit.verifier import AUDITOR, COSIGNATURE_LABEL, FILE, Evidence, KeyStatement, KnownKey, Trust, key_id, verify
from crypto.notes import Note, NoteSignature, parse_note
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey
from tests.audit.evidence_files import BLOCK_TIME, CITY, SINCE, Department, World, opened_world
from tests.audit.test_verifier_links import (
    ANCHOR,
    BLOCK,
    INDEX,
    NO_CHECKPOINT,
    SIZE,
    check,
    in_proof,
    links,
    true,
)

# Two private keys whose public keys have one id under the owner's name: a search over 111,671 keys found them in five seconds.
TWINS = (31_975, 111_671)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened_world(tmp_path_factory.mktemp("world")) as held:
        yield held


def known(world: World, who: Department, **changes: Any) -> Trust:  # noqa: ANN401 - any field of a key
    """An auditor who knows something else about one key."""
    keys = {**world.trust().keys, who.name: (replace(KnownKey(who.public, SINCE), **changes),)}
    return world.trust(keys=keys)


def stated(world: World, who: Department, **changes: Any) -> tuple[KeyStatement, ...]:  # noqa: ANN401 - likewise
    """Everyone's key, and something else about one."""
    return tuple(replace(one.stated(), **(changes if one == who else {})) for one in world.everyone)


ROLES = {"owner": 0, "requester": 1, "witness": 3}


# Dates.


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("compromised", "holds"),
    [
        (BLOCK_TIME - 1, False),
        (BLOCK_TIME, False),
        (BLOCK_TIME + 20, True),
        (2**63 - 1, True),
        (0, False),
        (None, True),
    ],
)
def test_a_key_holds_for_what_a_block_had_before_it_was_compromised(
    world: World,
    role: str,
    compromised: int | None,
    holds: bool,  # noqa: FBT001 - a case
) -> None:
    who = world.everyone[ROLES[role]]
    broken, says = (set(), "") if holds else ({"keys"}, f"a key of {who.name} that signed")
    check(true(world), known(world, who, compromised_since=compromised), broken, says)
    # The file's own word counts where the auditor has none, and where it is the worse for the file.
    content = in_proof(true(world), keys=stated(world, who, compromised_since=compromised))
    check(content, Trust(), set() if role == "witness" else broken, says)
    check(content, world.trust(), broken, says)


def test_the_earliest_date_of_a_compromise_counts(world: World) -> None:
    content = in_proof(true(world), keys=stated(world, world.owner, compromised_since=BLOCK_TIME + 20))
    check(content, known(world, world.owner, compromised_since=BLOCK_TIME - 5), {"keys"}, "was compromised by then")
    content = in_proof(true(world), keys=stated(world, world.owner, compromised_since=BLOCK_TIME - 5))
    check(content, known(world, world.owner, compromised_since=BLOCK_TIME + 20), {"keys"}, "was compromised by then")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("since", "holds"), [(BLOCK_TIME, True), (BLOCK_TIME + 1, False), (0, True), (2**63 - 1, False)]
)
def test_a_key_that_a_block_had_something_of_before_it_was_in_force_does_not_hold(
    world: World,
    role: str,
    since: int,
    holds: bool,  # noqa: FBT001 - a case
) -> None:
    who = world.everyone[ROLES[role]]
    broken, says = (set(), "") if holds else ({"keys"}, f"a key of {who.name} that signed")
    check(true(world), known(world, who, since=since), broken, says)
    content = in_proof(true(world), keys=stated(world, who, since=since))
    check(content, Trust(), set() if role == "witness" else broken, says)
    # When a key came into force the auditor knows better than the file.
    check(content, world.trust(), set(), "")


def test_a_head_that_no_block_has_is_not_dated_by_an_older_one(world: World) -> None:
    """Otherwise a thief could sign heads for ever: he would only have to let them go on from one that was anchored before the theft."""
    note = world.cosigned(world.head(SIZE), *world.witnesses)
    content = world.evidence(INDEX, SIZE, world.proof(note, world.anchored(world.head(8), 8, head=SIZE)))
    check(content, world.trust(), set(), "")
    check(
        content,
        known(world, world.owner, compromised_since=BLOCK_TIME + 20),
        {"keys"},
        "that signed the checkpoint was compromised by then",
    )
    # What the older head covers is dated by it all the same.
    check(content, known(world, world.requester, compromised_since=BLOCK_TIME + 20), set(), "")


def test_a_key_that_came_after_an_older_anchor_may_sign_the_head(world: World) -> None:
    """The owner changed its key after the older head was anchored."""
    fresh = replace(world.owner, key=world.stranger.key)
    text = parse_note(world.head(SIZE)).text
    note = world.cosigned(world.note(text, fresh), *world.witnesses)
    content = world.evidence(INDEX, SIZE, world.proof(note, world.anchored(world.head(8), 8, head=SIZE)))
    keys = (KnownKey(world.owner.public, SINCE), KnownKey(fresh.public, BLOCK_TIME + 5))
    check(content, world.trust(keys={**world.trust().keys, world.owner.name: keys}), set(), "")
    check(content, world.trust(), NO_CHECKPOINT, f"no key that the auditor knows of {world.owner.name} has signed")


def test_the_earliest_block_dates_what_is_in_the_log(world: World) -> None:
    content = true(world)
    county, city = content.proof.anchored
    trust = known(world, world.requester, compromised_since=BLOCK_TIME + 5)  # between the county's block and the city's
    check(content, trust, set(), "")
    check(in_proof(content, anchored=(city, county)), trust, set(), "")
    check(in_proof(content, anchored=(city,)), trust, {"keys"}, "the statement in entry 5 was compromised by then")
    # A block that does not hold dates nothing.
    wrong = replace(county, chain=replace(county.chain, block_number=5))
    check(in_proof(content, anchored=(wrong, city)), trust, {BLOCK, "keys"}, "was compromised by then")
    wrong = replace(county, chain=replace(county.chain, receipt_index=0))
    check(in_proof(content, anchored=(wrong, city)), trust, {ANCHOR, "keys"}, "was compromised by then")


def test_a_key_kept_over_two_epochs_is_compromised_if_it_is_in_either(world: World) -> None:
    """Whatever the order: a second, unblemished statement of the same key washes nothing off."""
    one = world.requester.stated(epoch=1, compromised_since=BLOCK_TIME - 5)
    two = world.requester.stated(epoch=2, since=BLOCK_TIME - 50)
    others = tuple(key for key in true(world).proof.keys if key.member != world.requester.name)
    for pair in ((one, two), (two, one)):
        check(in_proof(true(world), keys=(*pair, *others)), Trust(), {"keys"}, "was compromised by then")
    pair_known = (KnownKey(world.requester.public, SINCE), KnownKey(world.requester.public, SINCE, BLOCK_TIME - 5))
    for keys in (pair_known, pair_known[::-1]):
        trust = world.trust(keys={**world.trust().keys, world.requester.name: keys})
        check(true(world), trust, {"keys"}, "was compromised by then")


def test_what_is_not_proven_to_be_in_the_log_is_dated_by_no_block_of_its_heads(world: World) -> None:
    """A thief shows a statement with today's stolen key beside a head of last year."""
    entry = true(world).entry.replace(b"RECEIPT_RECEIVED", b"RECEIPT_INVENTED")
    content = replace(true(world), entry=entry)
    check(content, world.trust(), {"inclusion"}, "the path does not lead to that head")
    trust = known(world, world.requester, compromised_since=BLOCK_TIME + 20)
    check(content, trust, {"inclusion", "keys"}, "the statement in entry 5 was compromised by then")


def test_cosignatures_are_wanted_though_no_witness_is_named(world: World) -> None:
    check(true(world), world.trust(witnesses=frozenset()), {"cosignatures"}, "0 witnesses cosigned, 2 are needed")


def test_a_note_that_two_networks_have_is_dated_by_the_earlier_block(world: World) -> None:
    note = true(world).proof.checkpoint
    both = (
        world.anchored(note, SIZE, time=BLOCK_TIME),
        world.anchored(note, SIZE, network=CITY, time=BLOCK_TIME + 40),
    )
    trust = known(world, world.owner, compromised_since=BLOCK_TIME + 5)
    for anchors in (both, both[::-1]):
        content = in_proof(true(world), anchored=anchors)
        check(content, replace(trust, blocks=frozenset(world.blocks)), set(), "")
    content = in_proof(true(world), anchored=both[1:])
    check(content, replace(trust, blocks=frozenset(world.blocks)), {"keys"}, "was compromised by then")


# Whose keys count.


@pytest.mark.parametrize("role", ROLES)
def test_of_a_member_whom_the_auditor_knows_no_other_key_counts(world: World, role: str) -> None:
    """Though the file states the key and everything is signed with it."""
    who = world.everyone[ROLES[role]]
    keys = {**world.trust().keys, who.name: (KnownKey(world.stranger.public, SINCE),)}
    broken = {"owner": NO_CHECKPOINT | {"keys"}, "requester": {"statement"}, "witness": {"cosignatures"}}[role]
    says = "1 witnesses cosigned, 2 are needed" if role == "witness" else f"no key that the auditor knows of {who.name}"
    check(true(world), world.trust(keys=keys), broken - {"keys"}, says)


def test_a_forger_who_states_his_own_key_under_the_owners_name_proves_nothing_to_who_knows_the_owner(
    world: World,
) -> None:
    thief = replace(world.owner, key=world.stranger.key)
    text = parse_note(world.head(SIZE)).text
    note = world.cosigned(world.note(text, thief), *world.witnesses)
    keys = (thief.stated(), *(one.stated() for one in world.everyone[1:]))
    content = world.evidence(INDEX, SIZE, world.proof(note, world.anchored(note, SIZE), keys=keys))
    check(content, world.trust(), NO_CHECKPOINT, f"no key that the auditor knows of {world.owner.name} has signed")
    found = links(content, Trust())
    assert all(link.holds for link in found.values())
    assert {found[name].rests_on for name in ("checkpoint", "statement", ANCHOR, BLOCK, "keys")} == {FILE}


def test_the_auditors_keys_serve_where_the_file_states_none(world: World) -> None:
    content = in_proof(true(world), keys=())
    check(content, world.trust(), set(), "")
    check(content, Trust(), NO_CHECKPOINT | {"statement", "keys"}, "no key that the file states of")
    assert links(content, Trust())["keys"].says == "no key has signed anything here"


def test_keys_that_nobody_used_change_nothing(world: World) -> None:
    extra = [world.stranger.stated(epoch=epoch, compromised_since=1) for epoch in range(2, 40)]
    content = in_proof(true(world), keys=(*true(world).proof.keys, *extra))
    check(content, Trust(), set(), "")
    check(content, world.trust(), set(), "")


def test_a_key_that_is_on_no_curve_does_not_hold_and_ends_nothing(world: World) -> None:
    broken = replace(world.owner.stated(), key=b"\4" + b"\1" * 64)
    others = true(world).proof.keys[1:]
    check(in_proof(true(world), keys=(broken, *others)), Trust(), NO_CHECKPOINT, "no key that the file states of")


# Key ids.


def test_two_keys_of_one_id_spoil_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whoever is admitted can make such keys. Were a line of either refused, a member could make every file about it unverifiable."""
    first, second = map(SM2PrivateKey, TWINS)
    with opened_world(tmp_path_factory.mktemp("twins"), first) as world:
        mine = world.owner
        twin = replace(mine, key=second)
        assert key_id(mine.name, mine.public) == key_id(twin.name, twin.public)
        for order in ((mine, twin), (twin, mine)):
            keys = (*(one.stated(epoch=at) for at, one in enumerate(order)), *true(world).proof.keys[1:])
            content = in_proof(true(world), keys=keys)
            check(content, Trust(), set(), "")
            trust = world.trust(
                keys={**world.trust().keys, mine.name: tuple(KnownKey(one.public, SINCE) for one in order)}
            )
            check(content, trust, set(), "")
        # The key that signed is the one whose dates count.
        for who, broken in ((mine, {"keys"}), (twin, set[str]())):
            dates = [KnownKey(one.public, SINCE, BLOCK_TIME - 5 if one == who else None) for one in (mine, twin)]
            check(true(world), world.trust(keys={**world.trust().keys, mine.name: tuple(dates)}), broken, "compromised")
        # A key has signed nothing because its twin did.
        only = world.trust(keys={**world.trust().keys, mine.name: (KnownKey(twin.public, SINCE),)})
        check(true(world), only, NO_CHECKPOINT, f"the signature of {mine.name} under the checkpoint is wrong")


def test_a_line_with_another_members_name_over_the_same_id_is_nobodys(world: World) -> None:
    note = parse_note(world.head(SIZE))
    (line,) = note.signatures
    named = Note(note.text, (replace(line, name=world.stranger.name),)).to_bytes()
    content = world.evidence(INDEX, SIZE, world.proof(named, world.anchored(named, SIZE)))
    check(
        content, Trust(), NO_CHECKPOINT, f"no key that the file states of {world.owner.name} has signed the checkpoint"
    )


# Cosignatures.


def witnessed(world: World, *lines: NoteSignature) -> Evidence:
    """The entry under a head with these lines, which the county has."""
    note = with_lines(world.head(SIZE), lines) if lines else world.head(SIZE)
    return world.evidence(INDEX, SIZE, world.proof(note, world.anchored(note, SIZE)))


def line_of(world: World, who: Department, time: int = BLOCK_TIME - 30, text: str | None = None) -> NoteSignature:
    return cosign(text or parse_note(world.head(SIZE)).text, who.name, HeldKey(world.signer, who.key), time)


def test_as_many_witnesses_as_are_needed_are_enough(world: World) -> None:
    one, two = world.witnesses
    lines = [line_of(world, one), line_of(world, two), line_of(world, world.stranger)]
    for count in range(4):
        content = witnessed(world, *lines[:count])
        for needed in range(3):
            says = f"{min(count, 2)} witnesses cosigned, {needed} are needed"
            broken = {"cosignatures"} if needed > min(count, 2) else set[str]()
            check(content, world.trust(cosignatures_needed=needed), broken, says)
    nobody = links(witnessed(world), world.trust(cosignatures_needed=0))["cosignatures"]
    assert (nobody.says, nobody.holds) == ("cosigned by nobody; 0 are needed", True)


def test_a_cosignature_holds_for_its_time_its_text_and_its_label_alone(world: World) -> None:
    who, other = world.witnesses
    good, second = line_of(world, who), line_of(world, other)
    (ordinary,) = world.signer.sm2_sign_many(who.key, [parse_note(world.head(SIZE)).text.encode()])
    wrong = [
        replace(good, signature=struct.pack(">Q", BLOCK_TIME) + good.signature[8:]),
        replace(good, signature=struct.pack(">Q", BLOCK_TIME - 30) + ordinary),
        replace(good, signature=good.signature[:8] + second.signature[8:]),
        replace(good, signature=good.signature[:8]),
        replace(good, signature=good.signature[:5]),
        replace(good, signature=good.signature + b"\0"),
        line_of(world, who, text=parse_note(world.head(SIZE - 1)).text),
    ]
    for line in wrong:
        check(witnessed(world, line, second), world.trust(), {"cosignatures"}, f"the signature of {who.name} under")
    check(witnessed(world, good, second), world.trust(), set(), "")


def test_what_is_no_cosignature_of_a_witness_does_not_count(world: World) -> None:
    one, two = world.witnesses
    second = line_of(world, two)
    says = "1 witnesses cosigned, 2 are needed"
    elsewhere = [
        line_of(world, world.stranger),  # no witness
        replace(line_of(world, world.stranger), name=one.name),  # under a witness's name
        replace(line_of(world, one), name=world.stranger.name),
        cosign(
            parse_note(world.head(SIZE)).text, one.name, HeldKey(world.signer, world.stranger.key), 5
        ),  # with another key
    ]
    for line in elsewhere:
        check(witnessed(world, line, second), world.trust(), {"cosignatures"}, says)
    # The ordinary signature of a witness says that the witness states it, not that it has checked it.
    note = world.signed_again(with_lines(world.head(SIZE), [second]), one)
    content = world.evidence(INDEX, SIZE, world.proof(note, world.anchored(note, SIZE)))
    check(content, world.trust(), {"cosignatures"}, says)


def test_a_cosignature_of_the_owner_is_no_signature_of_its_checkpoint(world: World) -> None:
    text = parse_note(world.head(SIZE)).text
    note = Note(text, (line_of(world, world.owner),)).to_bytes()
    content = world.evidence(INDEX, SIZE, world.proof(note, world.anchored(note, SIZE)))
    check(
        content, Trust(), NO_CHECKPOINT, f"no key that the file states of {world.owner.name} has signed the checkpoint"
    )


def test_nobody_is_a_witness_of_its_own_log(world: World) -> None:
    one, _ = world.witnesses
    members = frozenset({world.owner.name, one.name})
    content = witnessed(world, line_of(world, world.owner), line_of(world, one))
    check(content, world.trust(witnesses=members), {"cosignatures"}, "1 witnesses cosigned, 2 are needed")


def test_two_keys_of_one_witness_are_one_witness(world: World) -> None:
    one, two = world.witnesses
    other = replace(one, key=world.stranger.key)
    keys = {**world.trust().keys, one.name: (KnownKey(one.public, SINCE), KnownKey(other.public, SINCE))}
    content = witnessed(world, line_of(world, one), line_of(world, other))
    check(content, world.trust(keys=keys), {"cosignatures"}, "1 witnesses cosigned, 2 are needed")
    content = witnessed(world, line_of(world, one), line_of(world, other), line_of(world, two))
    check(content, world.trust(keys=keys), set(), "")


def test_the_labels_part_signatures_from_cosignatures(world: World) -> None:
    one = world.witnesses[0]
    assert line_of(world, one).key_id == key_id(one.name, one.public, COSIGNATURE_LABEL) != key_id(one.name, one.public)
    assert links(true(world), world.trust())["cosignatures"].rests_on == AUDITOR
    assert verify(true(world).to_bytes(), world.trust()).links[-1].says == (
        "4 keys signed; each had come into force, and none was declared compromised by then"
    )
