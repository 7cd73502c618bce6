"""A member's opened keys, for tests that act in its place: what no program of ours ever hands out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from crypto.engine import Engine, load_engine
from crypto.sm2 import SM2PrivateKey
from node.keys.manifest import founded
from node.keys.material import AccountKey, AtRestKey, Material, Means, TLSFiles, digest_of, write
from node.keys.store import (
    CLIENT,
    MANIFEST,
    SECURITY,
    KeyStore,
    create_program_certificate,
    open_program_certificate,
    opened_as,
)
from node.model.keys import Kind

TLS = "tls"
__all__ = [
    "CLIENT",
    "SECURITY",
    "TLS",
    "NodeKeys",
    "account_secret",
    "create_account_only",
    "create_keys",
    "open_keys",
    "open_tls",
]


@dataclass(frozen=True)
class NodeKeys:
    """The active keys of a store."""

    signing_key: SM2PrivateKey
    encryption_key: SM2PrivateKey
    tls_certificate_pem: bytes
    tls_key_pem: bytes = field(repr=False)
    at_rest_key: bytes = field(repr=False)


def means(passphrase: bytes, engine: Engine, clock: Callable[[], int] = lambda: 0) -> Means:
    """What a store is opened with."""
    return Means(engine, passphrase, os.urandom, clock)


def create_keys(
    directory: Path,
    member_id: str,
    passphrase: bytes,
    random: Callable[[int], bytes],
    engine: Engine,
    clock: Callable[[], int],
) -> NodeKeys:
    """A whole new store, as `kiteline init` makes it."""
    made = Means(engine, passphrase, random, clock)
    with KeyStore.create(directory, member_id, made) as store:
        for name in (CLIENT, SECURITY):
            create_program_certificate(directory, name, member_id, made)
        return _opened(store)


def create_account_only(directory: Path, member_id: str, passphrase: bytes, secret: bytes) -> None:
    """A store that has nothing but the key of a given account, which is all that the chain's commands open."""
    made = means(passphrase, load_engine("openssl"))
    account = AccountKey(secret)
    directory.mkdir(parents=True, mode=0o700)
    write(directory, Kind.ACCOUNT, 1, account, made)
    text = founded(member_id, [(Kind.ACCOUNT, digest_of(account))], 0).to_text()
    (directory / MANIFEST).write_text(text, encoding="ascii")


def open_keys(directory: Path, passphrase: bytes, engine: Engine) -> NodeKeys:
    """The active keys of a store that a node may have open."""
    with KeyStore.open(directory, means(passphrase, engine), exclusive=False) as store:
        return _opened(store)


def open_tls(directory: Path, name: str, passphrase: bytes) -> TLSFiles:
    """The node's certificate with its key, or that of its programs."""
    if name != TLS:
        return open_program_certificate(directory, name, passphrase)
    keys = open_keys(directory, passphrase, load_engine("openssl"))
    return TLSFiles(keys.tls_certificate_pem, keys.tls_key_pem)


def account_secret(directory: Path, passphrase: bytes, engine: Engine) -> bytes:
    """The number of the active account, 32 bytes."""
    with KeyStore.open(directory, means(passphrase, engine), exclusive=False) as store:
        return opened_as(AccountKey, _active(store, Kind.ACCOUNT)).secret


def _active(store: KeyStore, kind: Kind) -> Material:
    return store.material(kind, store.manifest.active(kind).number)


def _opened(store: KeyStore) -> NodeKeys:
    _active(store, Kind.ACCOUNT)
    tls = _active(store, Kind.TLS)
    assert isinstance(tls, TLSFiles)
    signing, encryption, at_rest = (_active(store, kind) for kind in (Kind.SIGNING, Kind.ENCRYPTION, Kind.AT_REST))
    assert isinstance(signing, SM2PrivateKey)
    assert isinstance(encryption, SM2PrivateKey)
    assert isinstance(at_rest, AtRestKey)
    return NodeKeys(signing, encryption, tls.certificate_pem, tls.key_pem, at_rest.secret)
