"""The kinds of keys that a member has, and the steps of changing one, as statements and stores name them."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a key is for. The first four stand on the chain (contract Members)."""

    SIGNING = "signing"  # SM2: notes
    ENCRYPTION = "encryption"  # SM2: what others wrap for this member
    ACCOUNT = "account"  # secp256k1: transactions
    TLS = "tls"  # P-256, with its certificate: connections
    AT_REST = "at-rest"  # SM4: secrets on this node's disk


CHAIN_KINDS = (Kind.SIGNING, Kind.ENCRYPTION, Kind.ACCOUNT, Kind.TLS)


class Step(StrEnum):
    """How far a rotation has come. Up to PREPARED it can be undone; from COMMITTING on it goes on to its end, after any crash."""

    BEGUN = "begun"
    PREPARED = "prepared"
    COMMITTING = "committing"


class Mode(StrEnum):
    """How far a rotation goes by itself: to its end, to the commit point, or only through its rehearsal."""

    THROUGH = "through"
    HOLD = "hold"
    DRILL = "drill"
