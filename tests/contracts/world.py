"""A consortium's four contracts on a real chain, and members that send transactions to them.

Every call is a transaction of its own, with gas price 0, from an account that holds nothing. A refused one is mined as
failed, and the contract's error is read by making the same call again on that block.

A test that expects events or an error says so through `accepts`, `refuses` and `view_refuses`, which note what was
provoked; `test_surface` holds those notes against everything that the contracts declare.
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
from web3.types import RPCEndpoint, TxParams, TxReceipt

from contracts.artifact import load

CONTRACTS = ("Members", "Catalogue", "Grants", "Anchors")
ABIS = {name: load(name).abi for name in CONTRACTS}
EVENTS = {
    name: {event_abi_to_log_topic(cast("ABIEvent", entry)): entry for entry in entries if entry["type"] == "event"}
    for name, entries in ABIS.items()
}
# Errors of one spelling in two contracts have one selector, and mean the same.
ERRORS = {
    function_abi_to_4byte_selector(cast("ABIError", entry)): entry
    for entries in ABIS.values()
    for entry in entries
    if entry["type"] == "error"
}
DEPARTMENT, AUTHORITY, AUDITOR = 1, 2, 4
ALL_ROLES = DEPARTMENT | AUTHORITY | AUDITOR
ACTIVE, SUSPENDED, REMOVED = 1, 2, 3
ADMISSION, STATUS_CHANGE, ROLES_CHANGE, THRESHOLD_CHANGE, RECOVERY = range(5)
OPEN, CONDITIONAL, NOT_SHARED = range(3)
# Calls the contract whose address is the first word of what it is called with, with all that follows, and returns or
# reverts with what comes back. The first eleven bytes put the rest on the chain.
RELAY_CREATION = (
    "0x602a80600b6000396000f3"
    "60203603806020600037"  # copy what follows the first word
    "6000600091600060006000355af1"  # call
    "3d600060003e602557"  # copy what came back; on success go to the last line
    "3d6000fd"
    "5b3d6000f3"
)
GAS = 8_000_000  # more than any call needs
NO_GAS_PRICE = 0  # wei

KeySet = tuple[bytes, bytes, str, bytes, str]
Words = tuple[bytes, str, int, KeySet]
Said = tuple[Any, ...]  # an event or an error: its name, then its values


@dataclass(frozen=True)
class Member:
    """A member and the key of its account."""

    id: bytes
    name: str
    roles: int
    account: LocalAccount
    endpoint: str = "node.example:7000"

    @property
    def address(self) -> str:
        """The account's address as events and errors are read here: lower case."""
        return self.account.address.lower()

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
    return Member(numbered(number), f"第{number}局", roles, Account.create())


def numbered(number: int) -> bytes:
    """The id of the member of this number."""
    return member_id(f"1137070000425{number:05d}")


def dataset_id(provider: int, name: int) -> bytes:
    """The id of a dataset, by its provider's number and one of its own."""
    return bytes([name]) * 14 + numbered(provider)[:18]


def member_id(code: str) -> bytes:
    """A credit code as the contracts take it."""
    return code.encode("ascii").ljust(32, b"\0")


def not_a_member(caller: Member) -> Said:
    """The error that an account meets which is no active member's account in force."""
    return ("NotAMember", caller.address)


class Refused(Exception):
    """A contract refused a transaction. `error`: its name and values."""

    def __init__(self, error: Said) -> None:
        super().__init__(str(error))
        self.error = error


class World:
    """The contracts of one consortium.

    `gas` collects what each call used; `provoked` collects, as (contract, name), each error and event that a test
    expected and met.
    """

    def __init__(self, web3: Web3, gas: dict[str, list[int]], provoked: set[tuple[str, str]]) -> None:
        self.web3 = web3
        self.gas = gas
        self.provoked = provoked
        self.contracts: dict[str, Contract] = {}
        self._chain_id = web3.eth.chain_id

    def found(self, founders: Sequence[Member], threshold: int) -> None:
        """Deploy all four contracts. Raises Refused."""
        self.deploy("Members", founders[0], [founder.admission for founder in founders], threshold)
        members = self.contracts["Members"].address
        self.deploy("Catalogue", founders[0], members)
        self.deploy("Grants", founders[0], members, self.contracts["Catalogue"].address)
        self.deploy("Anchors", founders[0], members)

    def deploy(self, name: str, by: Member, *arguments: object) -> list[Said]:
        """Create a contract and return its events. Raises Refused."""
        artifact = load(name)
        factory = self.web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        receipt = self._send(f"{name} (creation)", factory.constructor(*arguments).data_in_transaction, None, by)
        address = receipt["contractAddress"]
        if address is None:
            raise AssertionError("a creation without an address")
        self.contracts[name] = self.web3.eth.contract(address=address, abi=artifact.abi)
        return self.events(receipt)

    def place_relay(self, by: Member) -> str:
        """Create a contract of nobody's that passes calls on, and return its address."""
        address = self._send("relay (creation)", RELAY_CREATION, None, by)["contractAddress"]
        if address is None:
            raise AssertionError("a creation without an address")
        return address

    def send(self, call: str, by: Member, *arguments: object, relay: str | None = None) -> list[Said]:
        """Send a transaction, `call` as `Contract.function`, and return its events. Raises Refused.

        The function `constructor` creates the contract. `relay`: the member calls this contract, and it calls.
        """
        name, function = call.split(".")
        if function == "constructor":
            return self.deploy(name, by, *arguments)
        contract = self.contracts[name]
        data = contract.encode_abi(function, args=list(arguments))
        if relay is not None:
            data = HexStr("0x" + contract.address.removeprefix("0x").rjust(64, "0") + data.removeprefix("0x"))
        return self.events(self._send(call, data, relay or contract.address, by))

    def accepts(self, call: str, by: Member, *arguments: object, events: Sequence[Said]) -> None:
        """Send a transaction that must succeed and leave exactly these events, in this order."""
        left = self.send(call, by, *arguments)
        if left != list(events):
            raise AssertionError(f"{call} left {left}, not {list(events)}")
        name, _ = call.split(".")
        self.provoked.update((name, event[0]) for event in events)

    def refuses(self, call: str, by: Member, *arguments: object, error: Said, relay: str | None = None) -> None:
        """Send a transaction that must be refused with exactly this error."""
        try:
            left = self.send(call, by, *arguments, relay=relay)
        except Refused as refusal:
            self._compare(call, refusal, error)
        else:
            raise AssertionError(f"{call} was not refused, and left {left}")

    def view(self, call: str, *arguments: object) -> Any:  # noqa: ANN401 (what a contract answers)
        """Ask a contract. Raises Refused."""
        name, function = call.split(".")
        try:
            return self.contracts[name].functions[function](*arguments).call()
        except ContractCustomError as refusal:
            raise Refused(decode_error(refusal)) from refusal

    def view_refuses(self, call: str, *arguments: object, error: Said) -> None:
        """Ask a contract what it must refuse to answer with exactly this error."""
        try:
            answer = self.view(call, *arguments)
        except Refused as refusal:
            self._compare(call, refusal, error)
        else:
            raise AssertionError(f"{call} was not refused, and answered {answer}")

    def resolve(self, call: str, by: Sequence[Member], *arguments: object) -> int:
        """Have the first of some authorities propose and the others approve; return the proposal's number."""
        number = int(self.send(call, by[0], *arguments)[0][1])
        for authority in by[1:]:
            self.send("Members.approve", authority, number)
        return number

    def now(self) -> int:
        """Time of the newest block, Unix seconds."""
        return self.web3.eth.get_block("latest")["timestamp"]

    def next_block_at(self, time: int) -> None:
        """Give the next block this time, Unix seconds, which lies after `now`; the chain's clock goes on from there."""
        self._steer("evm_setNextBlockTimestamp", time)

    def mark(self) -> str:
        """Note how the chain stands."""
        return str(self._steer("evm_snapshot"))

    def go_back(self, mark: str) -> None:
        """Take back every block since a mark, which can be used once."""
        if self._steer("evm_revert", mark) is not True:
            raise AssertionError("the chain does not go back")

    def events(self, receipt: TxReceipt) -> list[Said]:
        """A receipt's events in order."""
        found = []
        for log in receipt["logs"]:
            name = next(name for name, contract in self.contracts.items() if contract.address == log["address"])
            entry = EVENTS[name][bytes(log["topics"][0])]
            arguments = self.contracts[name].events[entry["name"]]().process_log(log)["args"]
            found.append((entry["name"], *(_plain(arguments[item["name"]]) for item in entry["inputs"])))
        return found

    def _compare(self, call: str, refusal: Refused, error: Said) -> None:
        if refusal.error != error:
            raise AssertionError(f"{call} was refused with {refusal.error}, not {error}") from refusal
        name, _ = call.split(".")
        # What a contract passes on from another one it does not declare itself, and so does not count for it.
        if any(entry["type"] == "error" and entry["name"] == error[0] for entry in ABIS[name]):
            self.provoked.add((name, error[0]))

    def _steer(self, method: str, *parameters: object) -> object:
        """Ask the chain for what only one for tests does."""
        answer = self.web3.provider.make_request(RPCEndpoint(method), list(parameters))
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def _send(self, title: str, data: str, to: str | None, by: Member) -> TxReceipt:
        transaction: TxParams = {
            "chainId": self._chain_id,
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


def decode_error(refusal: ContractCustomError) -> Said:
    """A custom error. A contract may pass on what another refused, so all ABIs are searched."""
    data = bytes.fromhex(str(refusal.data).removeprefix("0x"))
    entry = ERRORS.get(data[:4])
    if entry is None:
        raise AssertionError(f"an error that no contract declares: {refusal.data}")
    return (entry["name"], *decode([item["type"] for item in entry["inputs"]], data[4:]))


def _plain(value: Any) -> Any:  # noqa: ANN401 (an ABI value has any type)
    """Structs as tuples."""
    return tuple(value.values()) if hasattr(value, "values") else value
