"""What a command that reads a log's files knows of the log from elsewhere: from the configuration, the node's index of the chain, a trust file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer

from audit.environment import open_environment
from audit.errors import StoreAbsent
from audit.keeping import MIN_RETENTION_DAYS
from audit.keeping.backup import CHECKPOINT
from audit.keeping.check import Expected
from audit.store import EPOCH_LEAVES, MAP_BYTES
from audit.verify import read_trust
from crypto.engine import Engine, load_engine
from crypto.notes import NoteKey
from crypto.sm2 import SM2PublicKey
from node.app.settings import Settings, load
from node.errors import ChainStoreUnusable, ConfigurationInvalid
from node.exchange.context import audit_origin

_DATABASES = 4  # of the index of the chain


@dataclass(frozen=True)
class ChainSays:
    """What the node's index of the chain says about a member and its audit log."""

    keys: tuple[NoteKey, ...] = ()
    anchors: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True)
class LogAt:
    """A log to be worked on. `missing`: why its anchors are not known, for people; empty where they are."""

    path: Path
    expected: Expected
    engine: Engine
    map_bytes: int = MAP_BYTES
    retention_days: int = MIN_RETENTION_DAYS
    missing: str = ""


def log_at(config: Path, log: Path | None, head: Path | None, trust: Path | None) -> LogAt:
    """The log of a configuration's node; or the one in a directory, of which the files given say what is known.

    Raises ConfigurationInvalid, EvidenceMalformed, EngineUnavailable.
    """
    keys = () if trust is None else _keys_of(trust)
    if log is not None:
        beside = log / CHECKPOINT
        found = head or (beside if beside.exists() else None)
        missing = "with --log, anchors are compared as --anchor gives them"
        return LogAt(log, Expected(checkpoint=found, keys=keys), load_engine(), missing=missing)
    settings = load(config)
    missing = ""
    try:
        says = chain_says(settings, settings.member_id)
    except (ChainStoreUnusable, ConfigurationInvalid, StoreAbsent) as why:
        says, missing = ChainSays(), f"the node's index of the chain is not at hand: {why}"
    expected = Expected(
        origin=audit_origin(settings.member_id),
        epoch_leaves=EPOCH_LEAVES,
        checkpoint=head or settings.head_file,
        keys=(*says.keys, *keys),
        anchors=says.anchors,
        index=settings.index_directory,
    )
    return LogAt(
        settings.log_directory,
        expected,
        load_engine(settings.engine),
        settings.log_map_bytes,
        settings.retention_days,
        missing,
    )


def chain_says(settings: Settings, member_id: str) -> ChainSays:
    """Read beside a node that may be running. Raises ChainStoreUnusable, StoreAbsent, ConfigurationInvalid: it is not at hand."""
    # web3 takes a second to import; a command that is given a directory should not pay for it.
    from audit.checkpoint import log_id  # noqa: PLC0415
    from node.chain.adapter import INDEX as CHAIN_INDEX  # noqa: PLC0415
    from node.chain.deployment import load_deployment  # noqa: PLC0415
    from node.chain.index_store import MAP_BYTES as CHAIN_MAP_BYTES  # noqa: PLC0415
    from node.chain.index_store import IndexStore  # noqa: PLC0415
    from node.chain.view import IndexView  # noqa: PLC0415
    from node.exchange.notes import every_key  # noqa: PLC0415

    identity = load_deployment(settings.contracts_file).identity
    environment = open_environment(settings.data_directory / CHAIN_INDEX, _DATABASES, CHAIN_MAP_BYTES, read_only=True)
    store = IndexStore(environment, identity)
    try:
        view = IndexView(store)
        member = view.member(member_id)
        anchors = view.anchors(member_id, log_id(audit_origin(member_id)))
        return ChainSays(
            () if member is None else tuple(every_key(member)), tuple((anchor.size, anchor.root) for anchor in anchors)
        )
    finally:
        store.close()


def anchor_of(text: str) -> tuple[int, bytes]:
    """An anchor as a command is given it: SIZE:ROOT. Raises typer.BadParameter."""
    size, _, root = text.partition(":")
    if not size.isascii() or not size.isdigit() or len(root) != 64 or set(root) - set("0123456789abcdef"):  # noqa: PLR2004 - 32 bytes in hex
        raise typer.BadParameter("an anchor is SIZE:ROOT, the root 64 lower-case hexadecimal digits")
    return int(size), bytes.fromhex(root)


def _keys_of(trust: Path) -> tuple[NoteKey, ...]:
    """The signing keys of a trust file. One that was declared compromised does not count: nothing here dates a head."""
    known = read_trust(trust).keys
    return tuple(
        NoteKey(member, SM2PublicKey.from_bytes(key.key))
        for member, keys in known.items()
        for key in keys
        if key.compromised_since is None
    )
