"""Each link of a chain, broken by itself, is refused for its own reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from crypto.certificates.certificate import Certificate
from crypto.certificates.chain import MAX_DEPTH, expires_in, validate
from crypto.certificates.extensions import ENCRYPTION, SIGNING, KeyUsage
from crypto.certificates.issuing import issue
from crypto.certificates.names import Name
from crypto.certificates.revocation import RevocationList, RevocationReason, Revoked
from crypto.errors import Refusal
from tests.crypto.certificates.authorities import AT, BEGIN, END, READER, ROOT, SIGNER, UNDER, Held, held, listed
from tests.crypto.engines_at_hand import fastest_engine

SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def root() -> Held:
    return held(ROOT)


@pytest.fixture(scope="module")
def under(root: Held) -> Held:
    return held(UNDER, root)


@pytest.fixture(scope="module")
def leaf(under: Held) -> Held:
    return held(SIGNER, under)


def judged(
    chain: Sequence[Held | Certificate],
    trusted: Sequence[Held],
    *,
    at: datetime = AT,
    usage: KeyUsage | None = SIGNING,
    crls: Sequence[RevocationList] | None = None,
) -> str:
    certificates = [one.certificate if isinstance(one, Held) else one for one in chain]
    anchors = [one.certificate for one in trusted]
    try:
        path = validate(fastest_engine(), certificates, anchors, at=at, usage=usage, crls=crls)
    except Refusal as refusal:
        return refusal.reason
    assert path[0] == certificates[0]
    assert path[-1] in anchors
    return "holds"


def test_a_chain_holds_whatever_the_order_of_its_helpers(root: Held, under: Held, leaf: Held) -> None:
    assert judged([leaf, under], [root]) == "holds"
    assert judged([leaf, root, under], [root]) == "holds"
    assert judged([leaf], [under]) == "holds"
    assert judged([leaf], [leaf]) == "holds"


def test_a_missing_link_is_named(root: Held, leaf: Held) -> None:
    with pytest.raises(Refusal) as refused:
        validate(fastest_engine(), [leaf.certificate], [root.certificate], at=AT)
    assert refused.value.reason == "CERTIFICATE_CHAIN_BROKEN"
    assert refused.value.details["wanted"] == "CN=鸢链二级,C=CN"
    assert judged([], [root]) == "CERTIFICATE_CHAIN_BROKEN"
    assert judged([leaf], []) == "CERTIFICATE_CHAIN_BROKEN"


def test_validity_includes_both_its_ends(root: Held, under: Held, leaf: Held) -> None:
    expected = {
        BEGIN - SECOND: "CERTIFICATE_NOT_YET_VALID",
        BEGIN: "holds",
        END: "holds",
        END + SECOND: "CERTIFICATE_EXPIRED",
    }
    for at, verdict in expected.items():
        assert judged([leaf, under], [root], at=at) == verdict
    assert expires_in(leaf.certificate, END - SECOND) == SECOND


@pytest.mark.parametrize("which", ["leaf", "under", "root"])
def test_each_links_own_validity_counts(which: str) -> None:
    def ends(link: str) -> datetime:
        return AT - SECOND if link == which else END

    root = held(replace(ROOT, not_after=ends("root")))
    under = held(replace(UNDER, not_after=ends("under")), root)
    leaf = held(replace(SIGNER, not_after=ends("leaf")), under)
    assert judged([leaf, under], [root]) == "CERTIFICATE_EXPIRED"
    assert judged([leaf, under], [root], at=AT - SECOND) == "holds"


def test_another_key_under_the_issuers_name_did_not_sign(root: Held, under: Held, leaf: Held) -> None:
    impostor = held(UNDER, root)
    assert judged([leaf, impostor], [root]) == "CERTIFICATE_CHAIN_BROKEN"  # its key id is another
    same_id = replace(impostor.certificate, extensions=under.certificate.extensions)
    assert judged([leaf, same_id], [root]) == "CERTIFICATE_INVALID"
    assert judged([leaf, same_id, under], [root]) == "holds"


def test_what_is_no_authority_issues_nothing(root: Held) -> None:
    no_authority = replace(UNDER, is_authority=False, path_length=None)
    for content in (no_authority, replace(UNDER, key_usage=KeyUsage.CRL_SIGN)):
        under = held(content, root)
        assert judged([held(SIGNER, under), under], [root]) == "CERTIFICATE_USAGE"


def test_a_path_is_no_longer_than_its_authorities_allow(root: Held, under: Held) -> None:
    third = held(replace(UNDER, subject=Name.of(("CN", "third")), path_length=None), under)
    assert judged([held(SIGNER, third), third, under], [root]) == "CERTIFICATE_USAGE"
    assert judged([held(SIGNER, third), third], [third]) == "holds"


def test_a_path_has_an_end() -> None:
    line = [held(ROOT)]
    for number in range(MAX_DEPTH):
        line.append(held(replace(ROOT, subject=Name.of(("CN", f"authority {number}"))), line[-1]))
    below = line[::-1]
    assert judged(below[-MAX_DEPTH:], [line[0]], usage=None) == "holds"
    assert judged(below, [line[0]], usage=None) == "CERTIFICATE_CHAIN_BROKEN"


def test_many_certificates_of_one_name_cost_a_bounded_number_of_signatures() -> None:
    name = Name.of(("CN", "same"))
    key = held(replace(ROOT, subject=name))
    twins = [
        issue(replace(ROOT, subject=name, serial=n, public_key=key.key.public_key), key.signer) for n in range(2, 40)
    ]
    assert judged([twins[0], *twins[1:]], [held(ROOT)], usage=None) == "CERTIFICATE_CHAIN_BROKEN"


def test_the_pair_is_told_apart(root: Held, under: Held, leaf: Held) -> None:
    reader = held(READER, under)
    assert judged([leaf, under], [root], usage=ENCRYPTION) == "CERTIFICATE_USAGE"
    assert judged([reader, under], [root], usage=SIGNING) == "CERTIFICATE_USAGE"
    assert judged([reader, under], [root], usage=ENCRYPTION) == "holds"


def test_a_critical_extension_that_nobody_knows_is_refused(root: Held, under: Held, leaf: Held) -> None:
    strange = replace(leaf.certificate, extensions=replace(leaf.certificate.extensions, unknown_critical=("1.2.3.4",)))
    assert judged([strange, under], [root]) == "CERTIFICATE_USAGE"


def test_revocation_counts_from_its_date_and_says_why(root: Held, under: Held, leaf: Held) -> None:
    why = RevocationReason.KEY_COMPROMISE
    lists = [listed(root), listed(under, Revoked(3, AT + SECOND, why))]
    assert judged([leaf, under], [root], crls=lists) == "holds"
    with pytest.raises(Refusal) as refused:
        validate(
            fastest_engine(), [leaf.certificate, under.certificate], [root.certificate], at=AT + SECOND, crls=lists
        )
    assert refused.value.reason == "CERTIFICATE_REVOKED"
    assert refused.value.details["revocation"] == "keyCompromise"
    revoked_authority = [listed(root, Revoked(2, AT)), listed(under)]
    assert judged([leaf, under], [root], crls=revoked_authority) == "CERTIFICATE_REVOKED"


def test_each_issuers_list_is_wanted_and_in_force(root: Held, under: Held, leaf: Held) -> None:
    chain = [leaf, under]
    assert judged(chain, [root], crls=[]) == "CRL_MISSING"
    assert judged(chain, [root], crls=[listed(under)]) == "CRL_MISSING"
    assert judged(chain, [root], crls=[listed(under), listed(root)]) == "holds"
    old = listed(under, made=AT - timedelta(days=10) - SECOND)
    assert judged(chain, [root], crls=[old, listed(root)]) == "CRL_EXPIRED"
    assert judged(chain, [root], crls=[old, listed(under, number=2), listed(root)]) == "holds"
    assert judged(chain, [root], crls=[listed(under, made=AT + SECOND), listed(root)]) == "CRL_NOT_YET_VALID"


def test_a_list_by_another_key_is_refused(root: Held, under: Held, leaf: Held) -> None:
    impostor = listed(held(UNDER, root))
    assert judged([leaf, under], [root], crls=[impostor, listed(root)]) == "CRL_MISSING"
    named = replace(impostor, authority_key_id=listed(under).authority_key_id)
    assert judged([leaf, under], [root], crls=[named, listed(root)]) == "CRL_INVALID"
