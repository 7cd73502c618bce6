"""The trust file: what an auditor knows from elsewhere, so that an evidence file's own word need not be taken.

{"version": 1, "keys": {"<member>": ["<public key, hex>"]}, "blocks": ["<hash, hex>"], "contracts": ["<address, hex>"]}
"""

from __future__ import annotations

import json
from pathlib import Path

from audit.errors import EvidenceMalformed
from audit.verify import TrustRoot

VERSION = 1


def trust_text(trust: TrustRoot) -> str:
    """The file's text, which `read_trust` reads back."""
    document = {
        "version": VERSION,
        "keys": {member: sorted(key.hex() for key in keys) for member, keys in sorted(trust.keys.items())},
        "blocks": sorted(digest.hex() for digest in trust.blocks),
        "contracts": sorted(address.hex() for address in trust.contracts),
    }
    return json.dumps(document, indent=1) + "\n"


def read_trust(path: Path) -> TrustRoot:
    """Read a trust file. Raises EvidenceMalformed."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["version"] != VERSION:
            raise EvidenceMalformed(f"{path} is a trust file of another version")
        return TrustRoot(
            keys={member: frozenset(map(bytes.fromhex, keys)) for member, keys in document["keys"].items()},
            blocks=frozenset(map(bytes.fromhex, document["blocks"])),
            contracts=frozenset(map(bytes.fromhex, document["contracts"])),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise EvidenceMalformed(f"{path} is no trust file") from cause
