"""Make a node's directory: keys, configuration, and the empty log that `serve` will only ever open."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from audit.files import disk_errors
from audit.log import AuditLog
from crypto.engine import load_engine
from node.app.keys import key_set, opened_agent
from node.app.settings import FILE_NAME, Settings, dump, parse
from node.chain.admission import Admission, KeySet
from node.errors import ConfigurationInvalid
from node.exchange.context import audit_origin
from node.keys.material import Means
from node.keys.ring import KeyRing
from node.keys.store import CLIENT, SECURITY, KeyStore, create_program_certificate
from node.model.chain import Role
from node.model.keys import Kind


def initialise(  # noqa: PLR0913, PLR0917 - what a node is made of
    home: Path,
    settings: Settings,
    roles: Role,
    passphrase: bytes,
    random: Callable[[int], bytes],
    clock: Callable[[], int],
) -> Admission:
    """Create everything, or nothing; gives what the consortium needs to admit the member.

    Raises:
        ConfigurationInvalid: the directory is not empty or cannot be made, or a setting is one that `serve` would refuse.
        DiskFull: there is no room for it.
        KeyAgentUnavailable: the settings name a key agent, and it does not answer.
    """
    if home.exists() and any(home.iterdir()):
        raise ConfigurationInvalid(f"{home} is not empty; a node's directory is made once", directory=home)
    # What `serve` would refuse is refused now, before anything is made.
    text = dump(settings, home)
    parse(text, home / FILE_NAME)
    was_there = home.exists()
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings.data_directory.mkdir(mode=0o700)
    except OSError as cause:
        raise ConfigurationInvalid(f"{home} cannot be made: {cause.strerror}", directory=home) from cause
    try:
        with disk_errors(home):
            keys = _make(home, settings, text, passphrase, random, clock)
    except BaseException:
        # What is half-made is of no use, and would be in the way of the next attempt.
        for made in list(home.iterdir()) if was_there else [home]:
            shutil.rmtree(made) if made.is_dir() else made.unlink()
        raise
    return Admission(settings.member_id, settings.name, roles, keys)


def _make(  # noqa: PLR0913, PLR0917 - likewise
    home: Path,
    settings: Settings,
    text: str,
    passphrase: bytes,
    random: Callable[[int], bytes],
    clock: Callable[[], int],
) -> KeySet:
    """The public side of the keys."""
    engine = load_engine(settings.engine, random)
    means = Means(engine, passphrase, random, clock)
    # The agent first: it may not answer, or be another member's.
    with (
        opened_agent(settings) as agent,
        KeyStore.create(
            settings.keys_directory,
            settings.member_id,
            means,
            tuple(Kind) if agent is None else (Kind.TLS, Kind.AT_REST),
        ) as store,
    ):
        for name in (CLIENT, SECURITY):
            create_program_certificate(settings.keys_directory, name, settings.member_id, means)
        keys = key_set(KeyRing(store, agent), settings.advertise)
    AuditLog.create(
        settings.log_directory,
        audit_origin(settings.member_id),
        engine,
        map_bytes=settings.log_map_bytes,
    ).close()
    # Last, so that a directory with a configuration is a whole one.
    (home / FILE_NAME).write_text(text, encoding="utf-8")
    return keys
