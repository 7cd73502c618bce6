"""Private keys of curves that others compute with: numbers below the curve's order, 32 bytes big-endian."""

from __future__ import annotations

from collections.abc import Callable

SCALAR_SIZE = 32  # bytes
SECP256K1_ORDER = (
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # SEC 2, clause 2.4.1: of Ethereum's accounts
)


def fresh_scalar(random: Callable[[int], bytes], order: int) -> bytes:
    """A number from 1 to `order` - 1, uniform by rejection."""
    while True:
        secret = random(SCALAR_SIZE)
        if 0 < int.from_bytes(secret, "big") < order:
            return secret
