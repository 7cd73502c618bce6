"""What a check of a log's files finds: which part of what is stored, where it lies, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Part(StrEnum):
    """The classes of stored bytes. They never change."""

    SEGMENT = "segment"  # entries
    TILE = "tile"
    HEAD = "head"  # of an epoch, and what its file needs to be read at all
    CHECKPOINT = "checkpoint"
    ANCHOR = "anchor"
    INDEX = "index"


@dataclass(frozen=True)
class Place:
    """Where it lies; what does not apply is None.

    Attributes:
        epoch: number of the epoch.
        key: key of the row; of a segment, the index of its first leaf.
        leaves: the leaves hit, from the first to the one before the second number.
        tile: (tile level, index).
        node: (level, index) of a node of the tree.
        term: key of a row of the index, for people.
        file: the file.
        page: number of LMDB's page in it.
    """

    epoch: int | None = None
    key: int | None = None
    leaves: tuple[int, int] | None = None
    tile: tuple[int, int] | None = None
    node: tuple[int, int] | None = None
    term: str | None = None
    file: Path | None = None
    page: int | None = None

    def __str__(self) -> str:
        named: dict[str, object] = {
            "epoch": self.epoch,
            "tile": self.tile and "{}/{}".format(*self.tile),
            "node": self.node and "{}/{}".format(*self.node),
            "segment": self.key,
            **self._entries(),
            "term": self.term,
            "page": self.page,
            "file": self.file,
        }
        return ", ".join(f"{name} {value}" for name, value in named.items() if value is not None)

    def _entries(self) -> dict[str, object]:
        """The leaves as people count them: both ends belong to it."""
        if self.leaves is None:
            return {}
        first, last = self.leaves[0], self.leaves[1] - 1
        return {"entry": first} if first >= last else {"entries": f"{first} to {last}"}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    part: Part
    says: str
    place: Place

    def document(self) -> dict[str, object]:
        """For scripts."""
        place = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in vars(self.place).items()
            if value is not None
        }
        return {"class": self.part.value, "says": self.says, "place": place}
