"""The account that signs transactions: what signs, and the keystore files (Web3 Secret Storage, v3) in which a treasury and validators have theirs.

A sender knows no key: it has an `AccountSigner`, whose key may be in another process. A member's own lies in its key store.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self, cast

import rlp
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_account.types import TransactionDictType
from eth_hash.auto import keccak
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.exceptions import ValidationError

from crypto.errors import KeyFileExposed, KeyInvalid
from crypto.scalars import SECP256K1_ORDER, fresh_scalar

ADDRESS_BYTES = 20
SCRYPT_N = 2**18  # the standard's own choice: about a second and 256 MiB

TYPE_2 = 2  # EIP-1559
REPLAY_OFFSET = 35  # EIP-155: v of a transaction of the old form is this, twice the chain id and the parity
ETHEREUM_OFFSET = 27  # what older programs add to the parity

Transaction = dict[str, object]
SignHash = Callable[[bytes], tuple[int, int, int]]


class AccountSigner(Protocol):
    """Signs the transactions of one account."""

    @property
    def address(self) -> str:
        """The account, EIP-55."""

    def sign_transaction(self, transaction: Transaction) -> bytes:
        """The signed transaction, as a node of the chain takes it.

        Args:
            transaction: nonce, gas, value, data, chainId, `to` (20 bytes; absent: it creates a contract), and either gasPrice or
                type 2 with maxFeePerGas and maxPriorityFeePerGas.
        """


class LocalSigner:
    """Signs with a key that this process holds."""

    def __init__(self, account: LocalAccount) -> None:
        self._account = account

    @property
    def address(self) -> str:
        """The account, EIP-55."""
        return str(self._account.address)

    def sign_transaction(self, transaction: Transaction) -> bytes:
        """The signed transaction."""
        return bytes(self._account.sign_transaction(cast("TransactionDictType", transaction)).raw_transaction)


class RemoteAccount:
    """Signs with a key that another process holds.

    Args:
        address: the account, EIP-55.
        sign_hash: ECDSA over a 32-byte hash: r, s (of the two possible the lower one, EIP-2) and v, the parity of the point's y, or that and 27.
    """

    def __init__(self, address: str, sign_hash: SignHash) -> None:
        self._address = address
        self._sign_hash = sign_hash

    @classmethod
    def behind(cls, public: bytes, sign_hash: SignHash) -> Self:
        """The account of a public key, 04 ‖ x ‖ y."""
        return cls(address_of(public), sign_hash)

    @property
    def address(self) -> str:
        """The account, EIP-55."""
        return self._address

    def sign_transaction(self, transaction: Transaction) -> bytes:
        """The signed transaction. Raises KeyInvalid if the signature is not this account's, or is malformed."""
        fields = [transaction.get(name, b"") for name in ("to", "value", "data")]
        if transaction.get("type") == TYPE_2:
            names = ("chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas")
            # EIP-2718 and EIP-1559: the type, then the list, with an access list that is empty here.
            body = [*(transaction[name] for name in names), *fields, []]
            head = bytes([TYPE_2])
            parity, r, s = self._sign(keccak(head + rlp.encode(body)))
            return bytes(head + rlp.encode([*body, parity, r, s]))
        body = [*(transaction[name] for name in ("nonce", "gasPrice", "gas")), *fields]
        chain_id = cast("int", transaction["chainId"])
        parity, r, s = self._sign(keccak(rlp.encode([*body, chain_id, b"", b""])))  # EIP-155
        return bytes(rlp.encode([*body, REPLAY_OFFSET + 2 * chain_id + parity, r, s]))

    def _sign(self, digest: bytes) -> tuple[int, int, int]:
        r, s, v = self._sign_hash(digest)
        parity = v - ETHEREUM_OFFSET if v >= ETHEREUM_OFFSET else v
        try:
            signature = Signature(vrs=(parity, r, s))
            signer = signature.recover_public_key_from_msg_hash(digest).to_checksum_address()
        except (BadSignature, ValidationError, TypeError, ValueError):
            raise KeyInvalid("what signs for the account gave no signature", account=self._address) from None
        if signer != self._address or s > SECP256K1_ORDER // 2:
            # Sent all the same, it would be another account's transaction, or one that no node takes.
            raise KeyInvalid(
                "what signs for the account signs with another key, or with the higher s", account=self._address
            )
        return parity, r, s


def signer_of(account: LocalAccount | AccountSigner) -> AccountSigner:
    """An account as a sender takes it."""
    return LocalSigner(account) if isinstance(account, LocalAccount) else account


def new_account(random: Callable[[int], bytes]) -> LocalAccount:
    """A fresh account."""
    return account_of(fresh_scalar(random, SECP256K1_ORDER))


def account_of(secret: bytes) -> LocalAccount:
    """The account of a secret number, 32 bytes: also a way to keep a number of another curve in the form that accounts have on disk."""
    account: LocalAccount = Account.from_key(secret)
    return account


def address_of(public: bytes) -> str:
    """The address of a public key, 04 ‖ x ‖ y; EIP-55."""
    return str(to_checksum_address(keccak(public[1:])[-ADDRESS_BYTES:]))


def write_account(path: Path, account: LocalAccount, passphrase: str, *, scrypt_n: int = SCRYPT_N) -> None:
    """Write a keystore file, readable by its owner only. It appears whole or not at all; an existing one is refused.

    Args:
        path: where to; its directory exists.
        account: the key.
        passphrase: what encrypts it.
        scrypt_n: cost of a guess, a power of two.
    """
    if path.exists():
        raise KeyInvalid(f"{path} exists already and is not overwritten", path=path)
    document = json.dumps(account.encrypt(passphrase, kdf="scrypt", iterations=scrypt_n), indent=2) + "\n"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(document)
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)  # unlike a rename, this never replaces a file
    except FileExistsError as cause:
        raise KeyInvalid(f"{path} exists already and is not overwritten", path=path) from cause
    finally:
        Path(name).unlink()


def read_address(path: Path) -> str:
    """The address in a keystore file, EIP-55, without its passphrase. Raises KeyInvalid (absent, ill-formed)."""
    try:
        document = json.loads(path.read_text(encoding="ascii"))
        return str(to_checksum_address("0x" + str(document["address"]).removeprefix("0x")))
    except OSError as cause:
        raise KeyInvalid(f"{path} cannot be read: {cause.strerror}", path=path) from cause
    except (ValueError, TypeError, KeyError):
        raise KeyInvalid(f"{path} is no keystore of version 3", path=path) from None


def read_account(path: Path, passphrase: str) -> LocalAccount:
    """The account in a keystore file. Raises KeyFileExposed, KeyInvalid (absent, ill-formed, other passphrase)."""
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise KeyFileExposed(f"{path} can be read by others than its owner", path=path)
        document = json.loads(path.read_text(encoding="ascii"))
        account: LocalAccount = Account.from_key(Account.decrypt(document, passphrase))
    except OSError as cause:
        raise KeyInvalid(f"{path} cannot be read: {cause.strerror}", path=path) from cause
    except (ValueError, TypeError, KeyError, NotImplementedError):
        # What eth-account says may quote the file, so it is not passed on.
        raise KeyInvalid(f"{path} is no keystore of version 3, or its passphrase is another", path=path) from None
    return account
