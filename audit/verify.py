"""The way of the rest of Kiteline into `audit.verifier`: with the engine's signatures, and errors that carry their reason.

The verdicts are the verifier's own. Nothing is decided here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from audit import verifier
from audit.errors import EvidenceMalformed
from audit.trail import GrantFacts
from crypto.engine import Engine
from crypto.errors import KeyInvalid, SignatureInvalid
from crypto.sm2 import SM2PublicKey


def verify_evidence(engine: Engine, raw: bytes, trust: verifier.Trust) -> verifier.Report:
    """Judge every link of an evidence or a range file. Raises EvidenceMalformed if it is not in its one spelling."""
    try:
        return verifier.verify(raw, trust, signature_check(engine))
    except verifier.Malformed as cause:
        raise EvidenceMalformed(str(cause)) from cause


def signature_check(engine: Engine) -> verifier.SignatureCheck:
    """The engine's verification as the verifier asks for it."""

    def verifies(key: bytes, message: bytes, signature: bytes) -> bool:
        try:
            engine.sm2_verify_many([SM2PublicKey.from_bytes(key)], [message], [signature])
        except (SignatureInvalid, KeyInvalid):
            return False
        return True

    return verifies


def read_trust(path: Path) -> verifier.Trust:
    """Read a trust file. Raises EvidenceMalformed."""
    try:
        return verifier.read_trust(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, verifier.Malformed) as cause:
        raise EvidenceMalformed(f"{path}: {cause}") from cause


def trust_text(trust: verifier.Trust, grants: Iterable[GrantFacts] = (), names: Mapping[str, str] | None = None) -> str:
    """The text of a trust file. The verifier reads `trust` back, `audit.report` what the chain has of grants, and members' names."""
    keys = {
        member: [
            {"key": one.key.hex(), "since": one.since, "compromised_since": one.compromised_since} for one in known
        ]
        for member, known in sorted(trust.keys.items())
    }
    document = {
        "version": 1,
        "keys": keys,
        "blocks": sorted(digest.hex() for digest in trust.blocks),
        "contracts": sorted(address.hex() for address in trust.contracts),
        "names": dict(sorted((names or {}).items())),
        "grants": {facts.grant: {**vars(facts)} for facts in grants},
        "finality": {"members": sorted(trust.finality_members), "needed": trust.finality_needed},
        "validators": {
            str(chain): [
                {"since": one.since, "accounts": sorted(account.hex() for account in one.accounts)} for one in sets
            ]
            for chain, sets in sorted(trust.validators.items())
        },
        "witnesses": {"members": sorted(trust.witnesses), "needed": trust.cosignatures_needed},
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"
