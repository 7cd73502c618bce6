"""`kiteline chain fund`: money for members' accounts, on a network where transactions are paid for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.governing import now_ms
from node.cli.output import table
from node.cli.session import JSONOption, passphrase, reporting

if TYPE_CHECKING:
    from rich.table import Table

    from node.chain.funding import Funded

fund_epilog = "Example: kiteline chain fund health/admission.json --treasury treasury.json --network network.toml"
treasury_epilog = "Example: kiteline chain treasury --to treasury.json"
DEFAULT_BALANCE = "100"


def fund(
    accounts: Annotated[
        list[str], typer.Argument(help="Admission files of members, or addresses of accounts.", show_default=False)
    ],
    treasury: Annotated[
        Path, typer.Option(help="Keystore of the account that pays; its passphrase is the one that keys have.")
    ],
    network: Annotated[Path, typer.Option(help="Network file.")],
    balance: Annotated[
        str, typer.Option(help="Coins that each account is to have; one that has them is given nothing.")
    ] = DEFAULT_BALANCE,
    as_json: JSONOption = False,
) -> None:
    """Bring accounts up to a balance, so that their members can write to the chain. Run it again whenever an account runs low."""
    with reporting(as_json=as_json) as output:
        # web3 takes a second to import.
        from node.app.treasury import account_named, pay  # noqa: PLC0415
        from node.chain.funding import read_coins  # noqa: PLC0415
        from node.chain.network import load_network  # noqa: PLC0415

        addresses = list(dict.fromkeys(map(account_named, accounts)))
        wanted, rules = read_coins(balance), load_network(network)
        done: list[Funded] = []
        with output.progress("accounts funded", len(addresses)) as bar:
            for one in pay(rules, treasury, passphrase(), addresses, wanted, now_ms):
                done.append(one)
                bar.to(len(done))
        output.result({"network": rules.name, "accounts": [_document(one) for one in done]}, _table(rules.name, done))


def treasury(
    to: Annotated[Path, typer.Option(help="Keystore to write; an existing file is refused.")],
    as_json: JSONOption = False,
) -> None:
    """Make the account that a new network's genesis gives money to, for a network of several organisations. `chain up` makes its own."""
    with reporting(as_json=as_json) as output:
        from node.app.treasury import make_treasury  # noqa: PLC0415 - likewise

        address = make_treasury(to, passphrase(), os.urandom)
        output.result({"treasury": str(to), "account": address})
        output.note(
            "Name the account in the genesis. Keep the file and its passphrase apart from each other, and off the nodes."
        )


def _document(one: Funded) -> dict[str, object]:
    # Beyond 2**53 a JSON reader may round, so amounts are texts.
    return {
        "account": one.account,
        "before_wei": str(one.before),
        "after_wei": str(one.after),
        "transaction": one.transaction.hex() or None,
    }


def _table(name: str, done: list[Funded]) -> Table:
    from node.chain.funding import show_coins  # noqa: PLC0415 - likewise

    rows = [
        [one.account, show_coins(one.before), show_coins(one.after), one.transaction.hex() or "had enough"]
        for one in done
    ]
    columns = ["account", "coins before", "coins now", "transaction"]
    return table(f"Accounts on {name}", columns, rows, right=["coins before", "coins now"])
