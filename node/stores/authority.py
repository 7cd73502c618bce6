"""A certificate authority's directory: its key, its certificate, and the index of what it issued and revoked.

    DIR/key.pem     the private key, encrypted PKCS#8
    DIR/chain.pem   its own certificate, then those of the authorities above it
    DIR/index       append-only text, one line for each act, on the disk before its result is handed out
    DIR/lock        held by the one command that acts (flock)

The index begins with the line `kiteline/certificate-index/v1`; then follow

    issued <kind> <base64 of the certificate>
    revoked <serial, hexadecimal> <reason> <time>
    crl <number> <time>

A last line without its end was cut short by a crash before anything of it was handed out; the next command removes it. Each
certificate in the index is verified when it is read, so that none can be put in or changed.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from crypto.certificates.certificate import Certificate, read_certificates, write_certificates
from crypto.certificates.extensions import AUTHORITY, ENCRYPTION, SIGNING
from crypto.certificates.issuing import Content, issue
from crypto.certificates.names import Name
from crypto.certificates.revocation import (
    ListContent,
    RevocationList,
    RevocationReason,
    Revoked,
    issue_revocation_list,
)
from crypto.engine import Engine
from crypto.errors import CryptoError
from crypto.key_files import ITERATIONS, read_private_key, write_private_key
from crypto.signer import HeldKey, Signer
from crypto.sm2 import SM2PrivateKey, SM2PublicKey
from node.errors import AuthorityHeld, AuthorityUnusable, SerialUnknown

HEAD = "kiteline/certificate-index/v1"
KEY, CHAIN, INDEX, LOCK = "key.pem", "chain.pem", "index", "lock"
SIGNING_KIND, ENCRYPTION_KIND, AUTHORITY_KIND = "signing", "encryption", "authority"
USAGES = {SIGNING_KIND: SIGNING, ENCRYPTION_KIND: ENCRYPTION, AUTHORITY_KIND: AUTHORITY}
_SERIAL_BYTES = 16
_TIME = "%Y-%m-%dT%H:%M:%SZ"

Random = Callable[[int], bytes]


@dataclass(frozen=True)
class Issued:
    """A certificate of the index, and what became of it."""

    kind: str
    certificate: Certificate
    revoked: Revoked | None

    def state(self, at: datetime) -> str:
        """`revoked`, `expired` or `valid`."""
        if self.revoked is not None and self.revoked.date <= at:
            return "revoked"
        return "expired" if at > self.certificate.not_after else "valid"


class Authority:
    """What the directory holds; acts only with a signer, under the lock (`acting`)."""

    def __init__(self, directory: Path, engine: Engine, signer: Signer | None = None) -> None:
        self.directory = directory
        self._signer = signer
        try:
            self.chain = tuple(read_certificates((directory / CHAIN).read_bytes()))
            text = (directory / INDEX).read_bytes()
        except OSError as cause:
            raise AuthorityUnusable(
                f"{directory} holds no certificate authority: {cause.strerror}", path=directory
            ) from cause
        self._whole = text.rfind(b"\n") + 1
        self._certificates: dict[int, tuple[str, Certificate]] = {}
        self._revoked: dict[int, Revoked] = {}
        self._number = 0
        try:
            for line in _lines(text[: self._whole]):
                self._take(line)
            found = [certificate for _, certificate in self._certificates.values()]
            for one in found:
                one.check_signed_by(engine, self.certificate.public_key)
        except (ValueError, CryptoError) as cause:
            raise AuthorityUnusable(f"{directory / INDEX} is not what this program wrote", path=directory) from cause

    @property
    def certificate(self) -> Certificate:
        """The authority's own."""
        return self.chain[0]

    @property
    def issued(self) -> tuple[Issued, ...]:
        """Every certificate, in the order of their making."""
        return tuple(
            Issued(kind, certificate, self._revoked.get(serial))
            for serial, (kind, certificate) in self._certificates.items()
        )

    def issue(  # noqa: PLR0913 - a certificate says as much
        self,
        kind: str,
        subject: Name,
        key: SM2PublicKey,
        *,
        at: datetime,
        days: int,
        random: Random,
        path_length: int | None = None,
    ) -> Certificate:
        """Issue one from now on, which ends with this authority's at the latest, under a serial number never used before."""
        serial = _serial(random, self._certificates.keys() | {self.certificate.serial})
        if not self.certificate.not_before <= at < self.certificate.not_after:
            raise AuthorityUnusable("the authority's own certificate is not valid now", path=self.directory)
        end = min(at + timedelta(days=days), self.certificate.not_after)
        content = Content(subject, key, serial, at, end, USAGES[kind], kind == AUTHORITY_KIND, path_length)
        certificate = issue(content, self._acting(), self.certificate)
        self._append(f"issued {kind} {base64.b64encode(certificate.to_der()).decode()}")
        return certificate

    def revoke(self, serial: int, reason: RevocationReason, date: datetime) -> Revoked:
        """Revoke one, once and for all; the next list says so. Raises SerialUnknown where it was not issued, or is revoked."""
        self._acting()
        if serial not in self._certificates:
            raise SerialUnknown(f"no certificate of serial number {serial:x} was issued here", serial=f"{serial:x}")
        if serial in self._revoked:
            raise SerialUnknown(f"the certificate {serial:x} is revoked already", serial=f"{serial:x}")
        self._append(f"revoked {serial:x} {reason.value} {_spelled(date)}")
        return self._revoked[serial]

    def make_list(self, at: datetime, days: int) -> RevocationList:
        """Sign the list of all that is revoked, under the next number."""
        number = self._number + 1
        content = ListContent(number, at, at + timedelta(days=days), tuple(self._revoked.values()))
        made = issue_revocation_list(content, self._acting(), self.certificate)
        self._append(f"crl {number} {_spelled(at)}")
        return made

    def _acting(self) -> Signer:
        if self._signer is None:
            raise AuthorityUnusable("this certificate authority was opened for reading", path=self.directory)
        return self._signer

    def _append(self, line: str) -> None:
        try:
            with (self.directory / INDEX).open("r+b") as file:
                file.truncate(self._whole)  # what a crash left
                file.seek(self._whole)
                file.write(f"{line}\n".encode())
                file.flush()
                os.fsync(file.fileno())
                self._whole = file.tell()
        except OSError as cause:
            raise AuthorityUnusable(f"the index cannot be written: {cause.strerror}", path=self.directory) from cause
        self._take(line)

    def _take(self, line: str) -> None:
        """Read one line. Raises ValueError for any other spelling than the writer's."""
        match line.split(" "):
            case ["issued", kind, encoded] if kind in USAGES:
                der = _decoded(encoded)
                certificate = Certificate.from_der(der)
                if certificate.serial in self._certificates:
                    raise ValueError(line)
                self._certificates[certificate.serial] = (kind, certificate)
            case ["revoked", number, reason, time]:
                serial, date = int(number, 16), _read_time(time)
                if f"{serial:x}" != number or serial not in self._certificates or serial in self._revoked:
                    raise ValueError(line)
                self._revoked[serial] = Revoked(serial, date, RevocationReason(reason))
            case ["crl", number, time]:
                _read_time(time)
                if number != str(self._number + 1):
                    raise ValueError(line)
                self._number += 1
            case _:
                raise ValueError(line)


def create(  # noqa: PLR0913 - a certificate says as much
    directory: Path,
    subject: Name,
    engine: Engine,
    passphrase: bytes,
    *,
    at: datetime,
    days: int,
    random: Random,
    under: Authority | None = None,
    path_length: int | None = None,
    iterations: int = ITERATIONS,
) -> Authority:
    """Make an authority in a directory that is absent or empty: a root, or one `under` another. Raises AuthorityUnusable."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise AuthorityUnusable(f"{directory} is not empty", path=directory)
        key = SM2PrivateKey.generate(random)
        if under is None:
            end = at + timedelta(days=days)
            content = Content(subject, key.public_key, _serial(random, ()), at, end, AUTHORITY, True, path_length)  # noqa: FBT003 - an authority
            chain: tuple[Certificate, ...] = (issue(content, HeldKey(engine, key)),)
        else:
            own = under.issue(
                AUTHORITY_KIND, subject, key.public_key, at=at, days=days, random=random, path_length=path_length
            )
            chain = (own, *under.chain)
        write_private_key(directory / KEY, key, passphrase, random, iterations)
        (directory / CHAIN).write_bytes(write_certificates(chain))
        # Last: a directory without an index is no authority, and what a crash left of one is made anew elsewhere.
        (directory / INDEX).write_text(f"{HEAD}\n", encoding="ascii")
    except OSError as cause:
        raise AuthorityUnusable(f"{directory} cannot be written: {cause.strerror}", path=directory) from cause
    return Authority(directory, engine, HeldKey(engine, key))


@contextmanager
def acting(directory: Path, engine: Engine, passphrase: bytes) -> Iterator[Authority]:
    """Be the one who acts as this authority. Raises AuthorityHeld where another command does, AuthorityUnusable, KeyInvalid."""
    if not (directory / INDEX).is_file():
        raise AuthorityUnusable(f"{directory} holds no certificate authority", path=directory)
    try:
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as cause:
        raise AuthorityUnusable(f"{directory} cannot be written: {cause.strerror}", path=directory) from cause
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise AuthorityHeld(f"another command acts as the authority of {directory}", path=directory) from cause
        key = read_private_key(directory / KEY, passphrase)
        authority = Authority(directory, engine, HeldKey(engine, key))
        if authority.certificate.public_key != key.public_key:
            raise AuthorityUnusable(f"the key and the certificate in {directory} are of two pairs", path=directory)
        yield authority
    finally:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _serial(random: Random, used: Collection[int]) -> int:
    while True:
        serial = int.from_bytes(random(_SERIAL_BYTES), "big")
        if serial and serial not in used:
            return serial


def _lines(text: bytes) -> list[str]:
    head, *lines = text.decode("ascii").split("\n")[:-1] or [""]
    if head != HEAD:
        raise ValueError(head)
    return lines


def _spelled(at: datetime) -> str:
    return at.astimezone(UTC).strftime(_TIME)


def _read_time(text: str) -> datetime:
    at = datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    if _spelled(at) != text:
        raise ValueError(text)
    return at


def _decoded(text: str) -> bytes:
    try:
        der = base64.b64decode(text, validate=True)
    except binascii.Error as cause:
        raise ValueError(text) from cause
    if base64.b64encode(der).decode() != text:
        raise ValueError(text)
    return der
