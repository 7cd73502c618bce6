"""The evidence file: everything that proves one log entry, in one text, without the record it is about.

In the shape of C2SP tlog-proof, tagged as ours. One line a value, `name value`, in this order:

    kiteline/evidence/v1
    index 12                      place of the entry in the log
    entry <base64>                the entry, with its note
    path <base64>                 sibling hashes of the inclusion path, one line each, from the leaf upwards
    checkpoint <base64>           the signed checkpoint, a note, that the path leads to; it is the one anchored on the chain
    key <member> <epoch> <public key, hex> <in force since, Unix s> <compromised since, Unix s, or ->
    chain <chain id> <contract, hex> <block number>
    header <base64>               raw RLP of the block's header
    receipt-index 0               place of the anchoring transaction in its block
    receipt-path <base64>         nodes from the receipts root to its receipt, one line each

`path` may be absent (a log of one entry); `key` stands for every member whose signature occurs.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from audit.errors import EvidenceMalformed

HEAD = "kiteline/evidence/v1"
MAX_EVIDENCE = 4 * 1_048_576  # bytes
MAX_LINES = 4_096
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_MEMBER = re.compile(r"[0-9A-Z]{18}")
_HASH_SIZE = 32
_POINT_SIZE = 65
_ADDRESS_SIZE = 20


@dataclass(frozen=True)
class KeyStatement:
    """A member's signing key as the chain had it. Times in Unix seconds."""

    member_id: str
    epoch: int
    public_key: bytes
    since: int
    compromised_since: int | None


@dataclass(frozen=True)
class ChainStatement:
    """Where the checkpoint is anchored. `receipt_path`: nodes from the receipts root to the receipt."""

    chain_id: int
    contract: bytes
    block_number: int
    header: bytes
    receipt_index: int
    receipt_path: tuple[bytes, ...]


@dataclass(frozen=True)
class Evidence:
    """An evidence file's content."""

    index: int
    entry: bytes
    path: tuple[bytes, ...]
    checkpoint: bytes
    keys: tuple[KeyStatement, ...]
    chain: ChainStatement

    def to_bytes(self) -> bytes:
        """The one spelling, which `parse_evidence` reads back."""
        chain = self.chain
        lines = [HEAD, f"index {self.index}", f"entry {_encoded(self.entry)}"]
        lines += [f"path {_encoded(node)}" for node in self.path]
        lines.append(f"checkpoint {_encoded(self.checkpoint)}")
        for key in self.keys:
            compromised = "-" if key.compromised_since is None else str(key.compromised_since)
            lines.append(f"key {key.member_id} {key.epoch} {key.public_key.hex()} {key.since} {compromised}")
        lines.append(f"chain {chain.chain_id} {chain.contract.hex()} {chain.block_number}")
        lines += [f"header {_encoded(chain.header)}", f"receipt-index {chain.receipt_index}"]
        lines += [f"receipt-path {_encoded(node)}" for node in chain.receipt_path]
        return ("\n".join(lines) + "\n").encode("ascii")


def parse_evidence(raw: bytes) -> Evidence:
    """Read an evidence file. Raises EvidenceMalformed unless it is exactly what `to_bytes` writes."""
    if len(raw) > MAX_EVIDENCE:
        raise EvidenceMalformed("an evidence file has at most 4 MiB")
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError as cause:
        raise EvidenceMalformed("an evidence file is ASCII") from cause
    if not text.endswith("\n") or text.count("\n") > MAX_LINES:
        raise EvidenceMalformed("the evidence file's last line is cut short, or it has too many")
    lines = _Lines(text[:-1].split("\n"))
    if next(lines.rest, None) != HEAD:
        raise EvidenceMalformed("this is no evidence file of version 1")
    evidence = Evidence(
        index=_number(lines.one("index")),
        entry=_decoded(lines.one("entry")),
        path=tuple(_sized(_decoded(value), _HASH_SIZE) for value in lines.many("path")),
        checkpoint=_decoded(lines.one("checkpoint")),
        keys=tuple(_key(value) for value in lines.many("key")),
        chain=_chain(lines),
    )
    lines.finish()
    if evidence.to_bytes() != raw:
        raise EvidenceMalformed("the evidence file is not in its one spelling")
    return evidence


class _Lines:
    """Takes lines in order, by name."""

    def __init__(self, lines: list[str]) -> None:
        self.rest: Iterator[str] = iter(lines)
        self._held: str | None = None

    def one(self, name: str) -> str:
        line = self._take()
        if line is None or not line.startswith(f"{name} "):
            raise EvidenceMalformed(f"the evidence file's line {name} is missing or out of place")
        return line[len(name) + 1 :]

    def many(self, name: str) -> Iterator[str]:
        while (line := self._take()) is not None:
            if not line.startswith(f"{name} "):
                self._held = line
                return
            yield line[len(name) + 1 :]

    def finish(self) -> None:
        if self._take() is not None:
            raise EvidenceMalformed("the evidence file goes on after its last line")

    def _take(self) -> str | None:
        held, self._held = self._held, None
        return held if held is not None else next(self.rest, None)


def _chain(lines: _Lines) -> ChainStatement:
    chain_id, contract, block = _words(lines.one("chain"), 3)
    return ChainStatement(
        chain_id=_number(chain_id),
        contract=_hex(contract, _ADDRESS_SIZE),
        block_number=_number(block),
        header=_decoded(lines.one("header")),
        receipt_index=_number(lines.one("receipt-index")),
        receipt_path=tuple(_decoded(value) for value in lines.many("receipt-path")),
    )


def _key(value: str) -> KeyStatement:
    member, epoch, point, since, compromised = _words(value, 5)
    if not _MEMBER.fullmatch(member):
        raise EvidenceMalformed("a key names no member")
    since_compromise = None if compromised == "-" else _number(compromised)
    return KeyStatement(member, _number(epoch), _hex(point, _POINT_SIZE), _number(since), since_compromise)


def _words(value: str, count: int) -> list[str]:
    words = value.split(" ")
    if len(words) != count:
        raise EvidenceMalformed("a line of the evidence file has too many or too few words")
    return words


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise EvidenceMalformed("a number of the evidence file is not in its one spelling")
    return int(text)


def _hex(text: str, size: int) -> bytes:
    try:
        return _sized(bytes.fromhex(text), size)
    except ValueError as cause:
        raise EvidenceMalformed("a value of the evidence file is not hexadecimal") from cause


def _sized(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise EvidenceMalformed(f"a value of the evidence file has {len(data)} bytes where {size} belong")
    return data


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as cause:
        raise EvidenceMalformed("a value of the evidence file is not base64") from cause
