"""The transaction journal in LMDB: what was signed stands here, durably, before it is sent.

Invariants:
- A purpose (`anchor:<log>:<size>`) has at most one entry, so a call repeated after a crash finds its transaction.
- Two unfinished entries of one account never share a nonce. An entry may hold several signed transactions of its one
  nonce, the newest last: replacements that pay more. The chain mines at most one of them.
- An entry is finished only by a block that is final under the network's rule, and opened again if that block goes.
Several processes may use one journal: nonces are given out inside LMDB's write transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import lmdb
from eth_hash.auto import keccak

from node.chain.index_store import DATA_FILE, open_environment, writing
from node.errors import ChainMismatch, ChainStoreUnusable
from node.model.chain import Block, Mined

MAP_BYTES = 4 * 2**30
FORMAT = b"kiteline/chain-journal/v1"
NONCE_BYTES = 8
KEPT_TRANSACTIONS = (
    4_096  # finished entries that could be sent again after a reorganisation; older ones keep the result
)


class State(Enum):
    """What is known of an entry. PENDING: signed and perhaps sent."""

    PENDING = "pending"
    MINED = "mined"
    REFUSED = "refused"


@dataclass(frozen=True)
class Call:
    """What a transaction does.

    Attributes:
        to: the contract or the account, 20 bytes, or empty to create a contract.
        title: a name for people.
        value: what it hands over, wei.
    """

    to: bytes
    data: bytes
    title: str
    value: int = 0


@dataclass(frozen=True)
class Entry:
    """One thing to be done on the chain, once.

    Attributes:
        call: what it does.
        account: address that signs, 20 bytes.
        signed: the transactions made for it, all with `nonce`, newest last; empty in a finished entry of long ago.
        hashes: their hashes, after those of transactions under an earlier nonce that another transaction took.
        mined: the block and the hash that finished it.
    """

    purpose: str
    call: Call
    account: bytes
    nonce: int
    signed: tuple[bytes, ...]
    hashes: tuple[bytes, ...]
    state: State = State.PENDING
    mined: Mined | None = None

    def is_done(self, call: Call, *, again: bool) -> bool:
        """Whether it was mined and did this very thing, which is not to be done again."""
        return self.state is State.MINED and self.call == call and not again


class JournalStore:
    """Entries by purpose. Made by `create`, `open` or `open_or_create`."""

    def __init__(self, environment: lmdb.Environment, identity: bytes) -> None:
        self._environment = environment
        self._meta = environment.open_db(b"meta")
        self._entries = environment.open_db(b"entries")
        self._unfinished = environment.open_db(b"unfinished")  # account ‖ nonce → purpose
        self._floors = environment.open_db(b"floors")  # account → lowest nonce that no final block holds
        self._finished = environment.open_db(b"finished")  # running number → purpose
        with environment.begin() as transaction:
            found = transaction.get(b"format", db=self._meta), transaction.get(b"identity", db=self._meta)
        if found != (FORMAT, identity):
            path = environment.path()
            environment.close()
            raise ChainMismatch(f"the transaction journal {path} is of another format or deployment", path=path)

    @classmethod
    def create(cls, path: Path, identity: bytes) -> JournalStore:
        """A new journal for transactions to the deployment of this identity. Raises ChainStoreUnusable if there is one."""
        if (path / DATA_FILE).exists():
            raise ChainStoreUnusable(f"{path} holds a journal already", path=path)
        path.mkdir(parents=True, exist_ok=True)
        environment = open_environment(path, 5, MAP_BYTES)
        meta = environment.open_db(b"meta")
        with writing(environment) as transaction:
            transaction.put(b"format", FORMAT, db=meta)
            transaction.put(b"identity", identity, db=meta)
        return cls(environment, identity)

    @classmethod
    def open(cls, path: Path, identity: bytes) -> JournalStore:
        """A journal that exists. Raises ChainStoreUnusable, ChainMismatch (another format or deployment)."""
        if not (path / DATA_FILE).exists():
            raise ChainStoreUnusable(f"there is no journal in {path}", path=path)
        return cls(open_environment(path, 5, MAP_BYTES), identity)

    @classmethod
    def open_or_create(cls, path: Path, identity: bytes) -> JournalStore:
        """The journal in this directory, a new one if there is none."""
        return cls.open(path, identity) if (path / DATA_FILE).exists() else cls.create(path, identity)

    def close(self) -> None:
        """Close the environment."""
        self._environment.close()

    def entry(self, purpose: str) -> Entry | None:
        """The entry of a purpose."""
        with self._environment.begin() as transaction:
            value = transaction.get(purpose.encode(), db=self._entries)
        return None if value is None else _read(purpose, value)

    def unfinished(self, account: bytes = b"") -> list[Entry]:
        """Entries of an account, or of every one, that wait for a final block; those of one account by nonce."""
        found = []
        with self._environment.begin() as transaction, transaction.cursor(self._unfinished) as cursor:
            more = cursor.set_range(account)
            while more and cursor.key().startswith(account):
                purpose = cursor.value()
                found.append(_read(purpose.decode(), _there(transaction.get(purpose, db=self._entries))))
                more = cursor.next()
        return found

    def pending(self) -> int:
        """Number of unfinished entries of all accounts."""
        with self._environment.begin() as transaction:
            return transaction.stat(self._unfinished)["entries"]

    def begin(  # noqa: PLR0913 (what an entry is made of)
        self,
        purpose: str,
        call: Call,
        account: bytes,
        chain_nonce: int,
        sign: Callable[[int], bytes],
        *,
        again: bool = False,
    ) -> Entry:
        """The unfinished entry of this purpose, or the mined one of this very call; a new one, signed for a free nonce,
        if there is none.

        Args:
            purpose: names the thing to be done.
            call: what it does.
            account: address that signs, 20 bytes.
            chain_nonce: transaction count of the account as the chain sees it, waiting ones included.
            sign: makes the signed transaction for a nonce.
            again: whether an entry that was mined counts as absent, for what may be done more than once.
        """
        with writing(self._environment) as transaction:
            value = transaction.get(purpose.encode(), db=self._entries)
            held = None if value is None else _read(purpose, value)
            if held is not None and (held.state is State.PENDING or held.is_done(call, again=again)):
                return held
            return self._sign(transaction, purpose, call, account, chain_nonce, sign)

    def renew(self, entry: Entry, chain_nonce: int, sign: Callable[[int], bytes], account: bytes) -> Entry:
        """Give an unfinished entry a new nonce, after another transaction took its old one for good, or another account.

        Gives the entry as it is then. Nothing is changed if it is not the entry that was given any more: another thread was first.

        Args:
            entry: as it was read.
            chain_nonce: transaction count of the account as the chain sees it, waiting ones included.
            sign: makes the signed transaction for a nonce.
            account: address that signs it now, 20 bytes.
        """
        with writing(self._environment) as transaction:
            value = transaction.get(entry.purpose.encode(), db=self._entries)
            held = entry if value is None else _read(entry.purpose, value)
            if value is None or held != entry:
                return held
            transaction.delete(_place(entry), db=self._unfinished)
            lowest = max(chain_nonce, entry.nonce + 1) if account == entry.account else chain_nonce
            # The former hashes stay: should it show that one of them was mined after all, the thing is done.
            renewed = self._sign(transaction, entry.purpose, entry.call, account, lowest, sign)
            renewed = replace(renewed, hashes=(*entry.hashes, *renewed.hashes))
            transaction.put(entry.purpose.encode(), _write(renewed), db=self._entries)
            return renewed

    def replace(self, entry: Entry, signed: bytes) -> Entry:
        """Add a signed transaction of the same nonce, that pays more, to an unfinished entry.

        Gives the entry as it is then. Nothing is added if it is not the entry that was given any more: another thread or process
        was first, and of none that it may have sent the hash may be lost.
        """
        with writing(self._environment) as transaction:
            value = transaction.get(entry.purpose.encode(), db=self._entries)
            held = entry if value is None else _read(entry.purpose, value)
            if value is None or held != entry:
                return held
            changed = replace(entry, signed=(*entry.signed, signed), hashes=(*entry.hashes, keccak(signed)))
            transaction.put(entry.purpose.encode(), _write(changed), db=self._entries)
        return changed

    def discard(self, entry: Entry) -> None:
        """Forget an entry whose transaction no endpoint took, so that its nonce is free again."""
        with writing(self._environment) as transaction:
            transaction.delete(_place(entry), db=self._unfinished)
            transaction.delete(entry.purpose.encode(), db=self._entries)

    def finish(self, entry: Entry, mined: Mined, *, succeeded: bool) -> None:
        """Note the final block of an entry. Finishing it again changes nothing."""
        changed = replace(entry, state=State.MINED if succeeded else State.REFUSED, mined=mined)
        with writing(self._environment) as transaction:
            if not transaction.delete(_place(entry), db=self._unfinished):
                return
            transaction.put(entry.purpose.encode(), _write(changed), db=self._entries)
            # A hash from before a renewal had an earlier nonce: this one may never have been used, and must be if it was not.
            if mined.transaction_hash not in entry.hashes[: -len(entry.signed)]:
                floor = max(_number(transaction.get(entry.account, db=self._floors)), entry.nonce + 1)
                transaction.put(entry.account, floor.to_bytes(NONCE_BYTES, "big"), db=self._floors)
            self._remember(transaction, entry.purpose)

    def reopen_above(self, number: int) -> int:
        """Make entries unfinished again whose block lies above `number`, since those blocks are gone. Returns how many.

        A refused one stays refused: whoever wanted it was told so.
        """
        reopened = 0
        with writing(self._environment) as transaction, transaction.cursor(self._finished) as cursor:
            found = cursor.last()
            while found:
                purpose = cursor.value()
                value = transaction.get(purpose, db=self._entries)
                entry = None if value is None else _read(purpose.decode(), value)
                # Whoever polled first finished first, so the order here is not that of the blocks, and all are looked at.
                is_gone = entry is not None and entry.mined is not None and entry.mined.block.number > number
                if entry is not None and is_gone and entry.state is State.MINED and entry.signed:
                    changed = replace(entry, state=State.PENDING, mined=None)
                    transaction.put(purpose, _write(changed), db=self._entries)
                    transaction.put(_place(entry), purpose, db=self._unfinished)
                    floor = min(_number(transaction.get(entry.account, db=self._floors)), entry.nonce)
                    transaction.put(entry.account, floor.to_bytes(NONCE_BYTES, "big"), db=self._floors)
                    reopened += 1
                found = cursor.prev()
        return reopened

    def _sign(  # noqa: PLR0913, PLR0917 (what an entry is made of)
        self,
        transaction: lmdb.Transaction[bytes],
        purpose: str,
        call: Call,
        account: bytes,
        chain_nonce: int,
        sign: Callable[[int], bytes],
    ) -> Entry:
        nonce = max(chain_nonce, _number(transaction.get(account, db=self._floors)))
        while transaction.get(account + nonce.to_bytes(NONCE_BYTES, "big"), db=self._unfinished) is not None:
            nonce += 1
        signed = sign(nonce)
        entry = Entry(purpose, call, account, nonce, (signed,), (keccak(signed),))
        transaction.put(purpose.encode(), _write(entry), db=self._entries)
        transaction.put(_place(entry), purpose.encode(), db=self._unfinished)
        return entry

    def _remember(self, transaction: lmdb.Transaction[bytes], purpose: str) -> None:
        """Number a finished entry, and drop the transactions of those finished long ago."""
        with transaction.cursor(self._finished) as cursor:
            newest = int.from_bytes(cursor.key(), "big") if cursor.last() else 0
            cursor.put((newest + 1).to_bytes(NONCE_BYTES, "big"), purpose.encode())
            while transaction.stat(self._finished)["entries"] > KEPT_TRANSACTIONS:
                cursor.first()
                old = cursor.value()
                cursor.delete()
                value = transaction.get(old, db=self._entries)
                entry = None if value is None else _read(old.decode(), value)
                if entry is not None and entry.state is not State.PENDING:
                    transaction.put(old, _write(replace(entry, signed=())), db=self._entries)


def _place(entry: Entry) -> bytes:
    return entry.account + entry.nonce.to_bytes(NONCE_BYTES, "big")


def _number(value: bytes | None) -> int:
    return 0 if value is None else int.from_bytes(value, "big")


def _there(value: bytes | None) -> bytes:
    if value is None:
        raise LookupError("an unfinished entry has no record")  # one transaction writes both
    return value


def _write(entry: Entry) -> bytes:
    mined = entry.mined
    place = (
        None
        if mined is None
        else [mined.transaction_hash.hex(), mined.block.number, mined.block.hash.hex(), mined.block.time]
    )
    return json.dumps(
        [
            [
                entry.call.to.hex(),
                entry.call.data.hex(),
                entry.call.title,
                *([entry.call.value] if entry.call.value else []),
            ],
            entry.account.hex(),
            entry.nonce,
            [signed.hex() for signed in entry.signed],
            [digest.hex() for digest in entry.hashes],
            entry.state.value,
            place,
        ]
    ).encode()


def _read(purpose: str, value: bytes) -> Entry:
    (to, data, title, *value), account, nonce, signed, hashes, state, place = json.loads(value)
    mined = (
        None if place is None else Mined(bytes.fromhex(place[0]), Block(place[1], bytes.fromhex(place[2]), place[3]))
    )
    return Entry(
        purpose,
        Call(bytes.fromhex(to), bytes.fromhex(data), title, *value),
        bytes.fromhex(account),
        nonce,
        tuple(bytes.fromhex(item) for item in signed),
        tuple(bytes.fromhex(item) for item in hashes),
        State(state),
        mined,
    )
