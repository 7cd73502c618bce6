"""A root, an authority under it and a member's pair, made afresh with the engine that this machine has."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from crypto.certificates.certificate import Certificate
from crypto.certificates.extensions import AUTHORITY, ENCRYPTION, SIGNING
from crypto.certificates.issuing import Content, issue, member_name
from crypto.certificates.names import Name
from crypto.certificates.revocation import ListContent, RevocationList, Revoked, issue_revocation_list
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey
from tests.crypto.engines_at_hand import fastest_engine

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
AT = datetime(2026, 11, 24, tzinfo=UTC)
END = datetime(2055, 1, 1, tzinfo=UTC)  # beyond UTCTime
MEMBER = "11370700MB2345678X"


@dataclass(frozen=True)
class Held:
    """A certificate and who can sign with its key."""

    certificate: Certificate
    signer: HeldKey
    key: SM2PrivateKey


def held(content: Content, issuer: Held | None = None) -> Held:
    """Make a key and its certificate; the key in `content` is replaced."""
    key = SM2PrivateKey.generate(os.urandom)
    signer = HeldKey(fastest_engine(), key)
    content = replace(content, public_key=key.public_key)
    if issuer is None:
        return Held(issue(content, signer), signer, key)
    return Held(issue(content, issuer.signer, issuer.certificate), signer, key)


_ANY = SM2PrivateKey(1).public_key
ROOT = Content(Name.of(("C", "CN"), ("CN", "鸢链根证书")), _ANY, 1, BEGIN, END, AUTHORITY, is_authority=True)
UNDER = replace(ROOT, subject=Name.of(("C", "CN"), ("CN", "鸢链二级")), serial=2, path_length=0)
SIGNER = Content(member_name(MEMBER, f"{MEMBER} signing", "潍坊市民政局"), _ANY, 3, BEGIN, END, SIGNING)
READER = replace(SIGNER, serial=4, key_usage=ENCRYPTION)


def listed(issuer: Held, *revoked: Revoked, number: int = 1, made: datetime = AT) -> RevocationList:
    """A list that is in force for ten days."""
    content = ListContent(number, made, made + timedelta(days=10), revoked)
    return issue_revocation_list(content, issuer.signer, issuer.certificate)
