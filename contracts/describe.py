"""docs/contracts.md: what each contract offers, refuses and tells, and where it keeps what it knows, out of what the compiler says of the sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_HEAD = """# Contracts

Written by `make gen` from the sources in `contracts/src`; `make check` compares. Who may call what is tried by `tests/contracts/test_callers.py`, and what each call costs stands in `tests/contracts/gas.toml`.

No contract has an owner, a proxy, a `selfdestruct` or a `delegatecall`: once deployed, nobody changes its code, and its data change by the calls below alone. How a consortium goes over to other contracts is in
[the operator's guide](operator.md), "Other contracts".
"""


def compose(contracts: Mapping[str, dict[str, Any]]) -> str:
    """The whole document, from the compiler's output by contract; `interface` in it is that of the contract's interface."""
    lines = [_HEAD]
    for name, built in contracts.items():
        lines += [f"## {name}", "", *_interface(built["interface"]), *_storage(built["storageLayout"])]
    return "\n".join(lines).rstrip() + "\n"


def _interface(built: dict[str, Any]) -> Iterator[str]:
    said = built["userdoc"]
    for title, kind in (("call", "methods"), ("error", "errors"), ("event", "events")):
        rows = sorted((signature, _notice(found)) for signature, found in said.get(kind, {}).items())
        if rows:
            yield from (f"| {title} | |", "| --- | --- |")
            yield from (f"| `{signature}` | {notice} |" for signature, notice in rows)
            yield ""


def _notice(found: Any) -> str:  # noqa: ANN401 - an error may have several declarations, and then comes as a list
    entry = found[0] if isinstance(found, list) else found
    return " ".join(str(entry["notice"]).split())


def _storage(layout: dict[str, Any]) -> Iterator[str]:
    if not layout["storage"]:
        return
    yield from ("| storage: slot, byte | name | type |", "| --- | --- | --- |")
    structs: dict[str, None] = {}
    for variable in layout["storage"]:
        kind = variable["type"]
        yield f"| {variable['slot']}, {variable['offset']} | `{variable['label']}` | `{_label(layout, kind)}` |"
        structs |= dict.fromkeys(_structs(layout, kind))
    yield ""
    for struct in structs:
        members = layout["types"][struct]["members"]
        yield from (f"| `{_label(layout, struct)}`: slot from its first, byte | name | type |", "| --- | --- | --- |")
        for member in members:
            kind = _label(layout, member["type"])
            yield f"| {member['slot']}, {member['offset']} | `{member['label']}` | `{kind}` |"
        yield ""


def _structs(layout: dict[str, Any], kind: str) -> Iterator[str]:
    """The structs that a type leads to, itself included, each after those that lead to it."""
    found = layout["types"][kind]
    if "members" in found:
        yield kind
    inner = [found[part] for part in ("value", "base") if part in found]
    for one in [*inner, *(member["type"] for member in found.get("members", []))]:
        yield from _structs(layout, one)


def _label(layout: dict[str, Any], kind: str) -> str:
    return str(layout["types"][kind]["label"])
