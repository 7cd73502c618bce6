"""The files of a validator that joins an existing state directory, or leaves it.

STATE/validators.joining/5     while it is made; renamed into place whole
STATE/removed/5-0x…            what is left of validator 5 after its removal: its keys, its blocks, its log
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from node.engine.description import MAX_VALIDATORS, EngineDescription
from node.engine.founding import (
    HOMES,
    Ports,
    numbers,
    open_validator,
    prepare,
    read_founders,
    write_files,
    write_keys,
)
from node.errors import ConfigurationInvalid, FileUnusable

JOINING, REMOVED = "validators.joining", "removed"


def join(
    engine: EngineDescription, program: Path, state: Path, passphrase: str, *, random: Callable[[int], bytes]
) -> int:
    """Make the directory of one more validator: its keys, the network's files with the founders' genesis, the engine's store.

    Args:
        engine: what kind of network.
        program: the engine's program.
        state: a directory with validators.
        passphrase: opens their keys, and encrypts the new one's.
        random: gives so many random bytes.

    Returns:
        Its number, the lowest that is free.

    Raises:
        KeyInvalid, KeyFileExposed: the passphrase is not that of the others.
        ConfigurationInvalid: there are as many as one machine runs.
        ChainProgramFailed, FileUnusable: it cannot be made.
    """
    present = numbers(state)
    number = min(set(range(1, MAX_VALIDATORS + 1)) - set(present), default=0)
    if not number:
        raise ConfigurationInvalid(f"{state} has {len(present)} validators, as many as one machine runs")
    open_validator(engine, state / HOMES / str(present[0]), passphrase, Ports(1, 1))
    joining = state / JOINING
    try:
        shutil.rmtree(joining, ignore_errors=True)  # of a command that was cut short
        home = joining / str(number)
        write_keys(engine, home, passphrase, random)
        # Its peers and its ports are filled in when it is started.
        validator = open_validator(engine, home, passphrase, Ports(1, 1))
        write_files(engine, [validator], read_founders(state / HOMES))
        prepare(engine, program, validator, [validator])
        home.rename(state / HOMES / str(number))
        joining.rmdir()
    except OSError as cause:
        raise FileUnusable(f"{state} cannot be written: {cause.strerror}", path=state) from cause
    return number


def leave(state: Path, number: int, account: str) -> Path:
    """Move what is left of a removed validator out of the way. Gives where to. Raises FileUnusable."""
    removed = state / REMOVED / f"{number}-{account}"
    try:
        removed.parent.mkdir(exist_ok=True)
        (state / HOMES / str(number)).rename(removed)
    except OSError as cause:
        raise FileUnusable(f"{state} cannot be written: {cause.strerror}", path=state) from cause
    return removed
