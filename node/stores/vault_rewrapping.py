"""Bringing the keys of everything that a requester received under another encryption key of its own.

Each file is read, opened, wrapped anew, opened again, and written whole in place of the one before; if a fetch wrote another meanwhile, that one stays.
So a kill leaves each file under one key or the other, and the same call again passes over those that name the new key.

What opens under no key stays as it is and is named in the report. It may be evidence: keys that a provider released and that never opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from audit.errors import StoreDamaged
from crypto.errors import CryptoError
from node.errors import InternalError
from node.stores.kept_keys import KeptKeys

UNOPENED_SHOWN = 16

Convert = Callable[[bytes, bytes], bytes]  # (context, wrapped or plain) → plain or wrapped
ContextOf = Callable[[bytes, int], bytes]  # (grant id, sequence) → what the keys of the delivery are bound to
Progress = Callable[[int, int], None]  # (files gone through, files there are)


class KeysOfGrant(Protocol):
    """What a vault gives to be re-wrapped (`node.stores.vault.DiskVault`)."""

    def kept_keys(self, sequence: int) -> KeptKeys | None:
        """The keys kept of a delivery. Raises StoreDamaged."""

    def replace_keys(self, sequence: int, before: KeptKeys, after: KeptKeys) -> bool:
        """Put others in their place, durably, if they are still these. Raises DiskFull."""


Place = tuple[bytes, int]  # grant id, sequence


@dataclass(frozen=True)
class KeyChange:
    """To which key, and how.

    Attributes:
        recipient: SM3 of the new public key, 32 bytes.
        open: opens what is wrapped in a context, under whichever key it is. Raises CryptoError.
        seal: wraps in a context to the new key. What it gives must be opened by `open`.
        context_of: the context of a delivery's keys.
    """

    recipient: bytes
    open: Convert
    seal: Convert
    context_of: ContextOf


@dataclass(frozen=True)
class VaultRewrapReport:
    """What was done, or would be.

    Attributes:
        files: kept keys gone through.
        rewrapped: those that were not under the new key by name.
        unopened_count: those that stay because nothing opens them, or that are damaged.
        unopened: the first sixteen: grant, sequence, why.
    """

    files: int
    rewrapped: int
    unopened_count: int
    unopened: tuple[tuple[bytes, int, str], ...]


def rewrap_vaults(
    places: list[Place], vault_of: Callable[[bytes], KeysOfGrant], change: KeyChange, progress: Progress, *, write: bool
) -> VaultRewrapReport:
    """Bring kept keys under another key; without `write`, do everything but that. Raises DiskFull; what was written before stays."""
    rewrapped = 0
    unopened: list[tuple[bytes, int, str]] = []
    for done, (grant_id, sequence) in enumerate(places, 1):
        try:
            vault = vault_of(grant_id)
            before = vault.kept_keys(sequence)
            if before is not None and before.recipient != change.recipient:
                after = _anew(before, change, change.context_of(grant_id, sequence))
                rewrapped += vault.replace_keys(sequence, before, after) if write else 1
        except (CryptoError, StoreDamaged) as why:
            unopened.append((grant_id, sequence, str(why)))
        progress(done, len(places))
    return VaultRewrapReport(len(places), rewrapped, len(unopened), tuple(unopened[:UNOPENED_SHOWN]))


def count_opened(
    places: Iterator[Place], vault_of: Callable[[bytes], KeysOfGrant], opens: Convert, context_of: ContextOf
) -> int:
    """How many kept keys `opens` opens, by trying each. Raises StoreDamaged for a file that is not as it was written."""
    count = 0
    for grant_id, sequence in places:
        kept = vault_of(grant_id).kept_keys(sequence)
        if kept is None:
            continue
        try:
            opens(context_of(grant_id, sequence), kept.wrapped)
        except CryptoError:
            continue
        count += 1
    return count


def _anew(before: KeptKeys, change: KeyChange, context: bytes) -> KeptKeys:
    secrets = change.open(context, before.wrapped)
    wrapped = change.seal(context, secrets)
    # What is written over cannot be had again, so the new one is opened first.
    if change.open(context, wrapped) != secrets:
        raise InternalError("what was wrapped anew does not open; it was not written")
    return before.wrapped_anew(wrapped, change.recipient)
