"""Contract ABI: calls out, events and errors in.

What members write into a contract is untrusted: a `string` that is not UTF-8 must not stop the others, so events are
decoded with their strings as bytes, and bytes that spell no text are replaced in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak

from node.chain.json_rpc import LogRecord
from node.errors import ChainMismatch

SELECTOR_BYTES = 4
MEMBER_ID_LENGTH = 18
PANIC = keccak(b"Panic(uint256)")[:SELECTOR_BYTES]
REVERT = keccak(b"Error(string)")[:SELECTOR_BYTES]

ABI = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Event:
    """A decoded event. `values`: its parameters in declared order; tuples for structs, text for strings."""

    name: str
    values: tuple[Any, ...]


class ContractABI:
    """One contract's interface, from its compiled ABI."""

    def __init__(self, entries: ABI) -> None:
        self._functions = {entry["name"]: entry["inputs"] for entry in entries if entry["type"] == "function"}
        self._constructor: list[dict[str, Any]] = next(
            (entry["inputs"] for entry in entries if entry["type"] == "constructor"), []
        )
        self._results = {entry["name"]: entry.get("outputs", []) for entry in entries if entry["type"] == "function"}
        self._events = {
            keccak(_signature(entry)): (entry["name"], entry["inputs"]) for entry in entries if entry["type"] == "event"
        }
        self.errors = {
            keccak(_signature(entry))[:SELECTOR_BYTES]: (entry["name"], entry["inputs"])
            for entry in entries
            if entry["type"] == "error"
        }

    @property
    def topics(self) -> list[bytes]:
        """First topic of every event of the contract."""
        return list(self._events)

    def call(self, function: str, *arguments: object) -> bytes:
        """Data of a call."""
        types = [_type(item) for item in self._functions[function]]
        selector = keccak(f"{function}({','.join(types)})".encode())[:SELECTOR_BYTES]
        return selector + encode(types, arguments)

    def result(self, function: str, returned: bytes) -> Any:  # noqa: ANN401 (an ABI value has any type)
        """What a view function of one result returned. Raises ChainMismatch if ill-formed."""
        (item,) = self._results[function]
        try:
            return _readable(item, decode([_type(item, "bytes")], returned)[0])
        except DecodingError as cause:
            raise ChainMismatch(f"{function} did not return what its contract declares", function=function) from cause

    def creation(self, bytecode: bytes, *arguments: object) -> bytes:
        """Data of the transaction that creates the contract."""
        return bytecode + encode([_type(item) for item in self._constructor], arguments)

    def event(self, log: LogRecord) -> Event | None:
        """The event in a log; None for one that the interface does not know. Raises ChainMismatch if ill-formed."""
        known = self._events.get(log.topics[0]) if log.topics else None
        if known is None:
            return None
        name, inputs = known
        try:
            indexed = iter(log.topics[1:])
            others = iter(decode([_type(item, "bytes") for item in inputs if not item["indexed"]], log.data))
            values = tuple(
                _readable(item, decode([_type(item)], next(indexed))[0] if item["indexed"] else next(others))
                for item in inputs
            )
        except (DecodingError, StopIteration, RuntimeError, ValueError) as cause:
            raise ChainMismatch(f"an event {name} is not as its contract declares it", event=name) from cause
        return Event(name, values)


class ErrorBook:
    """The errors of several contracts: one may pass on what another refused."""

    def __init__(self, contracts: Iterable[ContractABI]) -> None:
        self._errors = {selector: error for contract in contracts for selector, error in contract.errors.items()}

    def explain(self, returned: bytes) -> str:
        """What a contract returned on refusing, as `Name(parameter=value, …)`."""
        selector, data = returned[:SELECTOR_BYTES], returned[SELECTOR_BYTES:]
        try:
            if selector == REVERT:
                return bytes(decode(["bytes"], data)[0]).decode(errors="replace")
            if selector == PANIC:
                return f"Panic(code=0x{decode(['uint256'], data)[0]:02x})"
            if selector not in self._errors:
                return f"an error that no contract of ours declares: 0x{returned[:64].hex()}"
            name, inputs = self._errors[selector]
            values = decode([_type(item, "bytes") for item in inputs], data)
        except DecodingError:
            return f"an ill-formed error: 0x{returned[:64].hex()}"
        shown = (f"{item['name']}={_show(_readable(item, value))}" for item, value in zip(inputs, values, strict=True))
        return f"{name}({', '.join(shown)})"


def _signature(entry: dict[str, Any]) -> bytes:
    return f"{entry['name']}({','.join(_type(item) for item in entry['inputs'])})".encode()


def _type(item: dict[str, Any], string: str = "string") -> str:
    """Canonical type of a parameter; strings as `string` says (both are encoded alike)."""
    kind = str(item["type"])
    if kind.startswith("tuple"):
        inner = ",".join(_type(part, string) for part in item["components"])
        return f"({inner}){kind.removeprefix('tuple')}"
    return kind.replace("string", string)


def _readable(item: dict[str, Any], value: Any) -> Any:  # noqa: ANN401 (an ABI value has any type)
    """A decoded value with its strings turned into text."""
    kind = item["type"]
    if kind == "string" and isinstance(value, bytes):
        return value.decode(errors="replace")
    if kind == "tuple":
        return tuple(_readable(part, inner) for part, inner in zip(item["components"], value, strict=True))
    return value


def _show(value: object) -> str:
    if not isinstance(value, bytes):
        return str(value)
    text = value.rstrip(b"\0")
    if len(text) == MEMBER_ID_LENGTH and text.isalnum():
        return text.decode("ascii")
    return "0x" + value.hex()
