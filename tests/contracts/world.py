"""A consortium's four contracts on a real chain, and members that send transactions to them.

Every call is a transaction of its own, with gas price 0, from an account that holds nothing. A refused one is mined as
failed, and the contract's error is read by making the same call again on that block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from eth_abi.abi import decode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import ABIError, ABIEvent, HexStr
from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import ContractCustomError
from web3.types import TxParams, TxReceipt

from contracts.artifact import load

CONTRACTS = ("Members", "Catalogue", "Grants", "Anchors")
ABIS = {name: load(name).abi for name in CONTRACTS}
DEPARTMENT, AUTHORITY, AUDITOR = 1, 2, 4
ACTIVE, SUSPENDED, REMOVED = 1, 2, 3
GAS = 8_000_000  # more than any call needs
NO_GAS_PRICE = 0  # wei

KeySet = tuple[bytes, bytes, str, bytes, str]
Words = tuple[bytes, str, int, KeySet]


@dataclass(frozen=True)
class Member:
    """A member and the key of its account."""

    id: bytes
    name: str
    roles: int
    account: LocalAccount
    endpoint: str = "node.example:7000"

    @property
    def keys(self) -> KeySet:
        """Struct KeySet."""
        number = self.id[16:18]
        return (
            b"\4" + number * 32,
            b"\4" + number[::-1] * 32,
            self.account.address,
            b"\x30\x03" + number,
            self.endpoint,
        )

    @property
    def admission(self) -> Words:
        """Struct Admission."""
        return (self.id, self.name, self.roles, self.keys)

    def with_account(self) -> Member:
        """The same member with a fresh account."""
        return replace(self, account=Account.create())


def member(number: int, roles: int = DEPARTMENT) -> Member:
    """A member with a fresh account, which holds nothing."""
    return Member(member_id(f"1137070000425{number:05d}"), f"第{number}局", roles, Account.create())


def member_id(code: str) -> bytes:
    """A credit code as the contracts take it."""
    return code.encode("ascii").ljust(32, b"\0")


class Refused(Exception):
    """A contract refused a transaction. `error`: its name and values."""

    def __init__(self, error: tuple[Any, ...]) -> None:
        super().__init__(str(error))
        self.error = error


class World:
    """The contracts of one consortium. `gas` collects what each call used."""

    def __init__(self, web3: Web3, gas: dict[str, list[int]]) -> None:
        self.web3 = web3
        self.gas = gas
        self.contracts: dict[str, Contract] = {}

    def found(self, founders: Sequence[Member], threshold: int) -> None:
        """Deploy all four contracts. Raises Refused."""
        self.deploy("Members", founders[0], [founder.admission for founder in founders], threshold)
        members = self.contracts["Members"].address
        catalogue = self.deploy("Catalogue", founders[0], members).address
        self.deploy("Grants", founders[0], members, catalogue)
        self.deploy("Anchors", founders[0], members)

    def deploy(self, name: str, by: Member, *arguments: object) -> Contract:
        """Create a contract."""
        artifact = load(name)
        factory = self.web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        receipt = self._send(f"{name} (creation)", factory.constructor(*arguments).data_in_transaction, None, by)
        address = receipt["contractAddress"]
        if address is None:
            raise AssertionError("a creation without an address")
        contract = self.web3.eth.contract(address=address, abi=artifact.abi)
        self.contracts[name] = contract
        return contract

    def send(self, call: str, by: Member, *arguments: object) -> list[tuple[Any, ...]]:
        """Send a transaction, `call` as `Contract.function`, and return its events as (name, *values). Raises Refused."""
        name, function = call.split(".")
        contract = self.contracts[name]
        data = contract.encode_abi(function, args=list(arguments))
        return self.events(self._send(call, data, contract.address, by))

    def view(self, call: str, *arguments: object) -> Any:  # noqa: ANN401 (what a contract answers)
        """Ask a contract. Raises Refused."""
        name, function = call.split(".")
        try:
            return self.contracts[name].functions[function](*arguments).call()
        except ContractCustomError as refusal:
            raise Refused(decode_error(refusal)) from refusal

    def now(self) -> int:
        """Time of the newest block, Unix seconds."""
        return self.web3.eth.get_block("latest")["timestamp"]

    def events(self, receipt: TxReceipt) -> list[tuple[Any, ...]]:
        """A receipt's events in order, as (name, *values)."""
        found = []
        for log in receipt["logs"]:
            name = next(name for name, contract in self.contracts.items() if contract.address == log["address"])
            entry = next(
                entry
                for entry in ABIS[name]
                if entry["type"] == "event" and event_abi_to_log_topic(cast("ABIEvent", entry)) == log["topics"][0]
            )
            arguments = self.contracts[name].events[entry["name"]]().process_log(log)["args"]
            found.append((entry["name"], *(_plain(arguments[item["name"]]) for item in entry["inputs"])))
        return found

    def _send(self, title: str, data: str, to: str | None, by: Member) -> TxReceipt:
        transaction: TxParams = {
            "chainId": self.web3.eth.chain_id,
            "nonce": self.web3.eth.get_transaction_count(by.account.address),
            "gas": GAS,
            "gasPrice": Web3.to_wei(NO_GAS_PRICE, "wei"),
            "data": HexStr(data),
        }
        if to is not None:
            transaction["to"] = to
        signed = by.account.sign_transaction(cast("dict[str, Any]", transaction))
        sent = self.web3.eth.send_raw_transaction(signed.raw_transaction)
        receipt = self.web3.eth.wait_for_transaction_receipt(sent, timeout=20, poll_latency=0.01)
        if receipt["status"] == 1:
            self.gas.setdefault(title, []).append(receipt["gasUsed"])
            return receipt
        if receipt["logs"]:
            raise AssertionError("a refused transaction left events")
        again: TxParams = {"from": by.account.address, "data": HexStr(data), "gas": GAS}
        if to is not None:
            again["to"] = to
        try:
            self.web3.eth.call(again, receipt["blockNumber"])
        except ContractCustomError as refusal:
            raise Refused(decode_error(refusal)) from refusal
        raise AssertionError(f"{title} failed without an error of a contract")


def decode_error(refusal: ContractCustomError) -> tuple[Any, ...]:
    """A custom error as (name, *values). A contract may pass on what another refused, so all ABIs are searched."""
    data = bytes.fromhex(str(refusal.data).removeprefix("0x"))
    for entries in ABIS.values():
        for entry in entries:
            if entry["type"] == "error" and function_abi_to_4byte_selector(cast("ABIError", entry)) == data[:4]:
                return (entry["name"], *decode([item["type"] for item in entry["inputs"]], data[4:]))
    raise AssertionError(f"an error that no contract declares: {refusal.data}")


def _plain(value: Any) -> Any:  # noqa: ANN401 (an ABI value has any type)
    """Structs as tuples."""
    return tuple(value.values()) if hasattr(value, "values") else value
