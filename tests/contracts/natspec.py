"""A strict reader of the interfaces' Solidity: every character belongs to a documented declaration, or it is refused.

The compiler's own documentation output is not among the artifacts, so the text is read itself. It is the house's spelling
of Solidity and not the language: one interface a file, nothing nested, nothing undocumented.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HEADER = re.compile(
    r"// SPDX-License-Identifier: Apache-2\.0\n"
    r"pragma solidity \^0\.8\.20;\n\n"
    r"/// @title (?P<title>\S.*)\n"
    r"(?P<doc>(?:/// \S.*\n)+)"
    r"interface (?P<name>I[A-Z][A-Za-z]*) \{\n(?P<body>(?:.*\n)*)\}\n"
)
ITEM = re.compile(
    r"(?P<doc>(?: {4}/// \S.*\n)+) {4}(?:"
    r"(?P<kind>error|event|function) (?P<name>[A-Za-z]+)\((?P<parameters>[^(){};]*)\)(?P<rest>[^{};]*);\n"
    r"|(?P<shape>struct|enum) (?P<label>[A-Z][A-Za-z]*) \{\n(?P<fields>[^(){}]*)\}\n)"
)
FUNCTION_TAIL = re.compile(r" external(?P<view> view)?(?: returns \((?P<returns>[^()]+)\))?")
NOTICE = re.compile(r"@notice (?P<sentences>[A-Za-z][^@]*\.)")
LOCATIONS = {"calldata", "memory"}


class Malformed(ValueError):
    """A text that is not a documented interface."""


@dataclass(frozen=True)
class Parameter:
    """A parameter or a returned value, without its data location."""

    type: str
    name: str
    indexed: bool = False


@dataclass(frozen=True)
class Declaration:
    """One declaration and what it says of itself."""

    kind: str
    name: str
    notice: str
    parameters: tuple[Parameter, ...] = ()
    returns: tuple[Parameter, ...] = ()
    view: bool = False


@dataclass(frozen=True)
class Interface:
    """One interface."""

    name: str
    notice: str
    declarations: tuple[Declaration, ...]

    def of(self, kind: str) -> tuple[Declaration, ...]:
        """Its declarations of a kind: error, event, function, struct or enum."""
        return tuple(found for found in self.declarations if found.kind == kind)


def parse(text: str) -> Interface:
    """Read an interface. Raises Malformed with the line that does not belong."""
    header = HEADER.fullmatch(text)
    if header is None:
        raise Malformed("no documented interface with its licence, pragma, title and notice")
    body, position = header["body"], 0
    declarations = []
    while position < len(body):
        if body[position] == "\n":
            position += 1
            continue
        item = ITEM.match(body, position)
        if item is None:
            line = text.count("\n", 0, header.start("body") + position) + 1
            raise Malformed(f"line {line}: not a documented declaration: {body[position : position + 60]!r}")
        declarations.append(_declaration(item))
        position = item.end()
    return Interface(header["name"], _notice(header["doc"]), tuple(declarations))


def _declaration(item: re.Match[str]) -> Declaration:
    notice = _notice(item["doc"])
    if item["shape"]:
        return Declaration(item["shape"], item["label"], notice)
    if item["kind"] != "function":
        if item["rest"]:
            raise Malformed(f"{item['name']}: {item['rest']!r} behind the parameters")
        return Declaration(item["kind"], item["name"], notice, _parameters(item["parameters"]))
    tail = FUNCTION_TAIL.fullmatch(item["rest"])
    if tail is None:
        raise Malformed(f"{item['name']}: {item['rest']!r} behind the parameters")
    parameters, returns = _parameters(item["parameters"]), _parameters(tail["returns"] or "")
    return Declaration("function", item["name"], notice, parameters, returns, tail["view"] is not None)


def _notice(doc: str) -> str:
    """The sentences behind `@notice`, which is the only tag in use."""
    text = " ".join(line.strip().removeprefix("///").strip() for line in doc.splitlines())
    notice = NOTICE.fullmatch(text)
    if notice is None:
        raise Malformed(f"not a notice of whole sentences: {text!r}")
    return notice["sentences"]


def _parameters(text: str) -> tuple[Parameter, ...]:
    parameters = []
    for part in filter(None, (part.split() for part in text.split(","))):
        middle = part[1:-1]
        if len(part) < 2 or set(middle) - LOCATIONS - {"indexed"}:
            raise Malformed(f"not a parameter: {' '.join(part)!r}")
        parameters.append(Parameter(part[0], part[-1], "indexed" in middle))
    return tuple(parameters)
