"""The file in which a requester keeps the wrapped keys of one delivery: as they were released, or wrapped anew to another key of its own.

    as released   = 0x01 ‖ wrapped keys
    wrapped anew  = 0x02 ‖ SM3 of the keys as released, 32 ‖ SM3 of the public key that they are wrapped to now, 32
                    ‖ SM3 of what follows, 32 ‖ wrapped keys

The release note commits to the keys as they were released. Their digest is kept, so that the note still holds against the file; the last digest is
the file's own, so that damage on this disk is never taken for the provider's fault.
"""

from __future__ import annotations

from dataclasses import dataclass

from crypto.errors import EncodingInvalid
from crypto.sm3 import sm3

_AS_RELEASED = b"\x01"
_WRAPPED_ANEW = b"\x02"
_DIGEST_SIZE = 32  # bytes
_HEAD_SIZE = 1 + 3 * _DIGEST_SIZE


@dataclass(frozen=True)
class KeptKeys:
    """Wrapped keys of a delivery.

    Attributes:
        wrapped: as `crypto.wrap` writes them.
        released_digest: SM3 of the keys as they were released.
        recipient: SM3 of the public key that they were wrapped to anew; None where they are as released, which names no key.
    """

    wrapped: bytes
    released_digest: bytes
    recipient: bytes | None

    @classmethod
    def as_released(cls, wrapped: bytes) -> KeptKeys:
        """Keys as they came."""
        return cls(wrapped, sm3(wrapped), None)

    @classmethod
    def from_bytes(cls, content: bytes) -> KeptKeys:
        """Read a file. Raises EncodingInvalid unless it is one that `to_bytes` writes."""
        if content.startswith(_AS_RELEASED):
            return cls.as_released(content[1:])
        if not content.startswith(_WRAPPED_ANEW) or len(content) < _HEAD_SIZE:
            raise EncodingInvalid("kept keys of an unknown version, or truncated")
        released, recipient, own = (content[at : at + _DIGEST_SIZE] for at in range(1, _HEAD_SIZE, _DIGEST_SIZE))
        if sm3(content[_HEAD_SIZE:]) != own:
            raise EncodingInvalid("kept keys that are not as they were written")
        return cls(content[_HEAD_SIZE:], released, recipient)

    def to_bytes(self) -> bytes:
        """The file's content."""
        if self.recipient is None:
            return _AS_RELEASED + self.wrapped
        return _WRAPPED_ANEW + self.released_digest + self.recipient + sm3(self.wrapped) + self.wrapped

    def wrapped_anew(self, wrapped: bytes, recipient: bytes) -> KeptKeys:
        """The same keys, wrapped to another public key, whose SM3 is given."""
        return KeptKeys(wrapped, self.released_digest, recipient)
