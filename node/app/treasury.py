"""What the holder of a network's treasury does: open its key, and pay members' accounts from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from node.app.admission import read_admission
from node.chain.account import new_account, read_account, write_account
from node.chain.funding import Funded, fund, read_account_address
from node.chain.network import Network
from node.errors import FileUnusable


def account_named(text: str) -> str:
    """The account that a person means: an address itself, or that of the member whose admission file it is. Raises ConfigurationInvalid."""
    return read_account_address(read_admission(Path(text)).keys.account if Path(text).is_file() else text)


def make_treasury(path: Path, passphrase: bytes, random: Callable[[int], bytes]) -> str:
    """Make an account in a new keystore; gives its address. Raises KeyInvalid (there is such a file), FileUnusable."""
    account = new_account(random)
    try:
        write_account(path, account, passphrase.decode())
    except OSError as cause:
        raise FileUnusable(f"{path} cannot be written: {cause.strerror}", path=path) from cause
    return str(account.address)


def pay(  # noqa: PLR0913, PLR0917 (a payment has as many parts as it has)
    network: Network,
    treasury: Path,
    passphrase: bytes,
    accounts: Sequence[str],
    balance: int,
    clock: Callable[[], int],
) -> Iterator[Funded]:
    """Bring accounts up to a balance, wei; see `node.chain.funding`. The treasury's journal lies beside its keystore."""
    account = read_account(treasury, passphrase.decode())
    return fund(network, treasury.with_name(f"{treasury.name}.journal"), account, accounts, balance, clock=clock)
