"""The admission file (`admission.json`): a member's public side, handed to the consortium by whatever way offices use.

It holds nothing secret. Whoever admits the member compares its key digests with the officer by another way first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from crypto.credit_code import check_credit_code
from crypto.errors import CryptoError
from crypto.sm2 import SM2PublicKey
from node.chain.admission import Admission, KeySet
from node.errors import ConfigurationInvalid
from node.model.chain import Role

VERSION = 1
_ROLES = {"department": Role.DEPARTMENT, "authority": Role.AUTHORITY, "auditor": Role.AUDITOR}


def parse_roles(text: str) -> Role:
    """Roles written as names with commas between. Raises ConfigurationInvalid."""
    roles = Role(0)
    for name in text.split(","):
        if name not in _ROLES:
            raise ConfigurationInvalid(f"there is no role {name!r}; there are {', '.join(_ROLES)}", setting="roles")
        roles |= _ROLES[name]
    return roles


def admission_document(admission: Admission) -> dict[str, object]:
    """The file's content."""
    keys = admission.keys
    return {
        "version": VERSION,
        "member_id": admission.member_id,
        "name": admission.name,
        "roles": [name for name, role in _ROLES.items() if role in admission.roles],
        "signing_key": keys.signing_key.hex(),
        "encryption_key": keys.encryption_key.hex(),
        "account": keys.account,
        "certificate": keys.certificate.hex(),
        "endpoint": keys.endpoint,
    }


def read_admission(path: Path) -> Admission:
    """Read an admission file. Raises ConfigurationInvalid."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return _admission(document)
    except (OSError, ValueError, KeyError, TypeError, CryptoError) as cause:
        raise ConfigurationInvalid(f"{path} is no admission file of version {VERSION}") from cause


def _admission(document: Mapping[str, object]) -> Admission:
    if document["version"] != VERSION:
        raise ValueError("the version is another")
    roles = document["roles"]
    if not isinstance(roles, list):
        raise TypeError("roles is no list")
    texts = {name: document[name] for name in ("member_id", "name", "account", "endpoint")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise TypeError("a text is missing")
    points = [bytes.fromhex(str(document[name])) for name in ("signing_key", "encryption_key")]
    for point in points:
        SM2PublicKey.from_bytes(point)
    return Admission(
        member_id=check_credit_code(str(texts["member_id"])),
        name=str(texts["name"]),
        roles=parse_roles(",".join(map(str, roles))),
        keys=KeySet(
            signing_key=points[0],
            encryption_key=points[1],
            account=str(texts["account"]),
            certificate=bytes.fromhex(str(document["certificate"])),
            endpoint=str(texts["endpoint"]),
        ),
    )
