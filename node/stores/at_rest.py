"""The keys under which this node keeps secrets on its own disk: numbered, so that one can take the place of another while both are there.

A wrapped value names the number of its key (`crypto.numbered_wrap`). New values are wrapped under the active key; old ones are read under
whichever they name, until `node.stores.datasets.DatasetDirectory.rewrap` has brought all of them under one. The order that loses nothing:

    1. put the new key beside the old one, active, into the holder
    2. rewrap(to=new), until under(old) is 0
    3. take the old key out of the holder, and destroy it

To go back before step 3, make the old key active and rewrap(to=old).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from audit.errors import StoreDamaged
from crypto.errors import EncodingInvalid
from crypto.numbered_wrap import MAX_NUMBER

AT_REST_KEY_SIZE = 16  # bytes


@dataclass(frozen=True, repr=False)
class AtRestKeys:
    """A set of keys that does not change. Its `repr` shows numbers alone.

    Attributes:
        active: number of the key under which new values are wrapped.
        keys: number, 1 to 2³² - 1, to key, 16 bytes; the active one among them.
    """

    active: int
    keys: Mapping[int, bytes]

    def __post_init__(self) -> None:
        if any(len(key) != AT_REST_KEY_SIZE for key in self.keys.values()):
            raise EncodingInvalid(f"a key at rest has {AT_REST_KEY_SIZE} bytes")
        if any(not 1 <= number <= MAX_NUMBER for number in self.keys):
            raise EncodingInvalid(f"the number of a key is 1 to {MAX_NUMBER}")
        if self.active not in self.keys:
            raise EncodingInvalid(f"the active key {self.active} is not among the keys {sorted(self.keys)}")
        object.__setattr__(self, "keys", MappingProxyType(dict(self.keys)))

    def __repr__(self) -> str:
        return f"AtRestKeys(active={self.active}, numbers={sorted(self.keys)})"

    def key(self, number: int) -> bytes:
        """One key. Raises StoreDamaged, with `number` in the details, where it is absent."""
        found = self.keys.get(number)
        if found is None:
            raise StoreDamaged(f"this node does not have the at-rest key {number}", number=number)
        return found


AtRest = Callable[[], AtRestKeys]  # the keys now


class AtRestHolder:
    """Where a running node looks its keys up. Whoever asks gets a whole set, the one before or after a replacement."""

    def __init__(self, keys: AtRestKeys) -> None:
        self._keys = keys

    def __call__(self) -> AtRestKeys:
        """The keys now."""
        return self._keys

    def replace(self, keys: AtRestKeys) -> None:
        """Have other keys from now on. Binding a name is atomic in Python, so no lock is needed."""
        self._keys = keys
