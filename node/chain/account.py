"""The account that signs a member's transactions: an EVM key in an encrypted keystore file (Web3 Secret Storage, v3)."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address

from crypto.errors import KeyFileExposed, KeyInvalid

KEY_BYTES = 32
ADDRESS_BYTES = 20
ChainAccount = LocalAccount
SCRYPT_N = 2**18  # the standard's own choice: about a second and 256 MiB
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1


def new_account(random: Callable[[int], bytes]) -> LocalAccount:
    """A fresh account, uniform by rejection."""
    while True:
        secret = random(KEY_BYTES)
        if 0 < int.from_bytes(secret, "big") < ORDER:
            account: LocalAccount = Account.from_key(secret)
            return account


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
