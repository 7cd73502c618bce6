"""A key store: a directory with a manifest, a file or two for each key, and one process at a time that may change them (port Keeper).

    store          the manifest (`node.keys.manifest`)
    lock           held by whoever may change the store
    signing-1.pem … see `node.keys.material`
    client.*, security.*   certificates of the department's programs and of its security team, which rotate by themselves

Every step of a rotation is one replacement of the manifest. Crash points, and what recovers:

- a next key's files are written, and the manifest does not have them: `open` destroys them, and the step is done again;
- the manifest has the key no longer, or has it retired, and its files are still there: `open` destroys them;
- anything else: the manifest says how far it came, and the rotation goes on from there (`node.rotation`).
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from audit.files import (
    PRIVATE_DIRECTORY,
    destroy_file,
    disk_errors,
    make_directory,
    read_whole,
    sync_directory,
    write_whole,
)
from crypto.errors import KeyFileExposed, KeyInvalid
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey
from node.errors import KeyStoreHeld, KeyStoreInvalid, RotationUnderWay
from node.keys.manifest import KeyRecord, Manifest, State, founded, parse_manifest
from node.keys.material import (
    AccountKey,
    Material,
    Means,
    TLSFiles,
    certified,
    digest_of,
    file_names,
    generate,
    read,
    read_tls,
    write,
    write_tls,
)
from node.model.keys import CHAIN_KINDS, Kind, Mode

MANIFEST, LOCK = "store", "lock"
CLIENT, SECURITY = "client", "security"
# Whose private part is of no use once it is retired: nothing is left that it alone could open or pay.
DESTROYED = frozenset({Kind.SIGNING, Kind.TLS, Kind.AT_REST})


M = TypeVar("M", bound=Material)


class KeyStore:
    """An open key store. A Keeper. Safe for use by several threads."""

    def __init__(self, directory: Path, means: Means, manifest: Manifest, lock: int) -> None:
        self._directory = directory
        self._means = means
        self._manifest = manifest
        self._lock = lock
        self._turn = threading.RLock()
        self._opened: dict[tuple[Kind, int], Material] = {}

    @classmethod
    def create(cls, directory: Path, member_id: str, means: Means, kinds: Sequence[Kind] = tuple(Kind)) -> Self:
        """Make a store with a first key of each kind, in a new directory. Raises KeyInvalid if there is anything in it, DiskFull."""
        make_directory(directory)
        if any(directory.iterdir()):
            raise KeyInvalid(f"{directory} is not empty, and no key is overwritten", path=directory)
        made = {kind: generate(kind, member_id, 1, means) for kind in kinds}
        with disk_errors(directory):
            directory.chmod(PRIVATE_DIRECTORY)  # it may have been there
            for kind, material in made.items():
                write(directory, kind, 1, material, means)
            sync_directory(directory)
        digests = [(kind, digest_of(material)) for kind, material in made.items()]
        # Last, so that a directory with a manifest is a whole store.
        write_whole(directory / MANIFEST, [founded(member_id, digests, means.clock()).to_text().encode()])
        return cls.open(directory, means)

    @classmethod
    def open(cls, directory: Path, means: Means, *, exclusive: bool = True) -> Self:
        """Open a store to use and change it, and finish what a crash left half-done; or, not `exclusive`, to use its keys beside a running node.

        Raises:
            KeyStoreInvalid: absent, or its manifest is not in order.
            KeyStoreHeld: another process has it open.
            KeyFileExposed: others than its owner may enter the directory.
        """
        read_manifest(directory)
        if directory.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise KeyFileExposed(f"{directory} can be entered by others than its owner", path=directory)
        lock = _locked(directory) if exclusive else -1
        try:
            # Read again: it may have changed before the lock was held.
            store = cls(directory, means, read_manifest(directory), lock)
            if exclusive:
                store._sweep()
        except BaseException:
            if exclusive:
                os.close(lock)
            raise
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store, and of every opened key."""
        with self._turn:
            self._opened.clear()
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    @property
    def manifest(self) -> Manifest:
        """What the store has now."""
        with self._turn:
            return self._manifest

    @property
    def directory(self) -> Path:
        """Where it lies."""
        return self._directory

    def material(self, kind: Kind, number: int) -> Material:
        """A key, opened once. Raises KeyInvalid (also where the file holds another key than the manifest says), KeyFileExposed."""
        with self._turn:
            record = self._manifest.record(kind, number)
            held = self._opened.get((kind, number))
            if held is None:
                held = read(self._directory, kind, number, self._means)
                if digest_of(held) != record.digest:
                    path = self._directory / file_names(kind, number)[0]
                    raise KeyInvalid(f"{path} holds another key than the manifest names", path=path)
                self._opened[kind, number] = held
            return held

    def signer(self, number: int) -> HeldKey:
        """See Keeper."""
        return self._held(Kind.SIGNING, number)

    def decrypter(self, number: int) -> HeldKey:
        """See Keeper."""
        return self._held(Kind.ENCRYPTION, number)

    def account(self, number: int) -> AccountKey:
        """See Keeper."""
        return opened_as(AccountKey, self.material(Kind.ACCOUNT, number))

    def begin(self, kind: Kind, mode: Mode) -> Manifest:
        """Begin a rotation. Raises RotationUnderWay, KeyStoreInvalid where the store has no keys of the kind."""
        with self._turn:
            under_way = self._manifest.rotation
            if under_way is not None:
                raise RotationUnderWay(
                    f"the rotation of the key {under_way.kind} is under way, at the step {under_way.step}",
                    kind=under_way.kind,
                )
            self._manifest.active(kind)
            return self._put(self._manifest.begun(kind, mode, self._means.clock()))

    def prepare(self) -> KeyRecord:
        """Make the next key of the rotation under way; gives its record. The file is read back and compared before the manifest has it."""
        with self._turn:
            rotation = self._manifest.rotation
            if rotation is None:
                raise KeyStoreInvalid("no rotation is under way")
            self._destroy_files(rotation.kind, rotation.number)
            made = generate(rotation.kind, self._manifest.member_id, rotation.number, self._means)
            write(self._directory, rotation.kind, rotation.number, made, self._means)
            with disk_errors(self._directory):
                sync_directory(self._directory)
            digest = digest_of(read(self._directory, rotation.kind, rotation.number, self._means))
            if digest != digest_of(made):
                raise KeyInvalid("the new key's file does not hold the new key")
            self._put(self._manifest.prepared(digest, self._means.clock()))
            return self._manifest.record(rotation.kind, rotation.number)

    def commit(self) -> Manifest:
        """Take the rotation to its commit point."""
        with self._turn:
            return self._put(self._manifest.committing())

    def activate(self) -> Manifest:
        """Put the next key in the active one's place, which is retiring from now on; the rotation is over."""
        with self._turn:
            return self._put(self._manifest.activated(self._means.clock()))

    def undo(self) -> Manifest:
        """Forget the rotation, and destroy the next key."""
        with self._turn:
            rotation = self._manifest.rotation
            done = self._put(self._manifest.undone())
            # A crash here leaves the file, which `open` destroys.
            if rotation is not None:
                self._opened.pop((rotation.kind, rotation.number), None)
                self._destroy_files(rotation.kind, rotation.number)
            return done

    def adopt(self, other: KeyStore) -> Manifest:
        """Take over the active keys of another store of the same member that stand on the chain, in place of those here, which are retiring from
        now on. The keys of the disk stay. For a member whose keys were lost and replaced by the council.

        Raises KeyStoreInvalid where it is another member's, RotationUnderWay.
        """
        with self._turn:
            theirs = other.manifest
            if theirs.member_id != self._manifest.member_id:
                raise KeyStoreInvalid(f"these are keys of {theirs.member_id}", path=other.directory)
            if self._manifest.rotation is not None:
                raise RotationUnderWay("a rotation is under way", kind=self._manifest.rotation.kind)
            given = {kind: other.material(kind, theirs.active(kind).number) for kind in CHAIN_KINDS}
            for kind, material in given.items():
                number = self._manifest.of(kind)[-1].number + 1
                self._destroy_files(kind, number)
                write(self._directory, kind, number, material, self._means)
            with disk_errors(self._directory):
                sync_directory(self._directory)
            # A crash before this line leaves files that `open` destroys.
            digests = {kind: digest_of(material) for kind, material in given.items()}
            return self._put(self._manifest.adopted(digests, self._means.clock()))

    def retire(self, kind: Kind, number: int) -> Manifest:
        """A retiring key is used no more; its private part is destroyed where nothing can need it."""
        with self._turn:
            done = self._put(self._manifest.moved(kind, number, State.RETIRED, self._means.clock()))
            self._opened.pop((kind, number), None)
            if kind in DESTROYED:
                self._destroy_files(kind, number)
            return done

    def compromise(self, kind: Kind, number: int) -> Manifest:
        """A key that is not active counts as in others' hands. What it may still have to open, it opens."""
        with self._turn:
            return self._put(self._manifest.moved(kind, number, State.COMPROMISED, self._means.clock()))

    def _held(self, kind: Kind, number: int) -> HeldKey:
        return HeldKey(self._means.engine, opened_as(SM2PrivateKey, self.material(kind, number)))

    def _put(self, manifest: Manifest) -> Manifest:
        if self._lock < 0:
            raise KeyStoreHeld(f"{self._directory} is open for reading only", path=self._directory)
        write_whole(self._directory / MANIFEST, [manifest.to_text().encode()])
        self._manifest = manifest
        return manifest

    def _sweep(self) -> None:
        """Destroy the files of keys that are not in the manifest, or retired for good."""
        kept = {
            name
            for one in self._manifest.keys
            if one.state not in {State.RETIRED, State.COMPROMISED} or one.kind not in DESTROYED
            for name in file_names(one.kind, one.number)
        }
        # The certificate of a retired key is no secret, and evidence of who connected.
        kept |= {file_names(one.kind, one.number)[-1] for one in self._manifest.keys if one.kind is Kind.TLS}
        for path in sorted(self._directory.iterdir()):
            kind = next((kind for kind in Kind if path.name.startswith(f"{kind}-")), None)
            if kind is not None and path.name not in kept and path.is_file():
                destroy_file(path)

    def _destroy_files(self, kind: Kind, number: int) -> None:
        names = file_names(kind, number)
        held = any(one.kind is kind and one.number == number for one in self._manifest.keys)
        for name in names[:1] if held else names:
            path = self._directory / name
            if path.exists():
                destroy_file(path)


def opened_as(kind: type[M], material: Material) -> M:
    """A key that must be of one form. Raises KeyInvalid."""
    if not isinstance(material, kind):
        raise KeyInvalid(f"a key file holds a key of another kind than {kind.__name__}")
    return material


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a store, which holds no secret. Raises KeyStoreInvalid."""
    path = directory / MANIFEST
    content = read_whole(path)
    if content is None:
        raise KeyStoreInvalid(f"there is no key store in {directory}", path=directory)
    try:
        return parse_manifest(content.decode("utf-8"))
    except (UnicodeDecodeError, KeyStoreInvalid) as cause:
        raise KeyStoreInvalid(f"{path}: {cause}", path=path) from cause


def node_certificates(directory: Path) -> list[bytes]:
    """The certificates that the node may show now and after the rotation under way, PEM each, the one in use first."""
    manifest = read_manifest(directory)
    states = (State.ACTIVE, State.NEXT, State.RETIRING)
    shown = sorted(
        (one for one in manifest.of(Kind.TLS) if one.state in states), key=lambda one: states.index(one.state)
    )
    found = [read_whole(directory / file_names(Kind.TLS, one.number)[1]) for one in shown]
    if not found or None in found:
        raise KeyStoreInvalid(f"{directory} lacks the certificate of the node", path=directory)
    return [content for content in found if content is not None]


def create_program_certificate(directory: Path, name: str, member_id: str, means: Means) -> None:
    """Make the certificate of the department's programs (`CLIENT`) or of its security team (`SECURITY`). Raises KeyInvalid where there is one."""
    host = f"{name}.{member_id.lower()}.kiteline"
    key_path, certificate_path = _program_paths(directory, name)
    with disk_errors(directory):
        write_tls(key_path, certificate_path, certified(f"{name} of {member_id}", host, means.clock()), means)
        sync_directory(directory)


def open_program_certificate(directory: Path, name: str, passphrase: bytes) -> TLSFiles:
    """The certificate of the department's programs, or of its security team. Raises KeyInvalid, KeyFileExposed."""
    return read_tls(*_program_paths(directory, name), passphrase)


def _program_paths(directory: Path, name: str) -> tuple[Path, Path]:
    return directory / f"{name}.key.pem", directory / f"{name}.cert.pem"


def _locked(directory: Path) -> int:
    with disk_errors(directory):
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        os.close(descriptor)
        raise KeyStoreHeld(f"another process has {directory} open", path=directory) from cause
    return descriptor
