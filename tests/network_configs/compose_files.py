"""Reads the part of YAML 1.2 that our compose files are written in, and refuses everything else.

There is no YAML reader among the dependencies, and one for four files would be a package to lock, to watch and to update. The part is small: block mappings and
block lists of scalars, two spaces a level, comments on lines of their own. What is not of this form is an error, so that no file is read otherwise than Compose reads it.
"""

from __future__ import annotations

import re
from typing import Any

_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*):(?: (\S.*))?")
# Plain scalars that no YAML reader takes for anything but this text, or for a number.
_PLAIN = re.compile(
    r"(?:[A-Za-z0-9./$]|-(?=[-A-Za-z]))(?:[^\s:#,\[\]{}&*!|>'\"%@`]|:(?=\S)|,(?=\S)|[{}](?=\S|$)|[ ](?=[^#]))*"
)
_QUOTED = re.compile(r'"([^"\\]*)"')


class Malformed(ValueError):
    """A line is not of the form that these files have."""


def read(text: str) -> dict[str, Any]:
    """The document: mappings, lists and texts. Raises Malformed."""
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line.lstrip(" ").startswith("#"):
            continue
        indent = len(line) - len(line.lstrip(" "))
        if indent % 2 or line != line.rstrip() or "\t" in line:
            raise Malformed(f"line {number}: {line!r}")
        lines.append((indent // 2, line.strip()))
    document, rest = _block(lines, 0)
    if rest or not isinstance(document, dict):
        raise Malformed(f"what is left: {rest[:1]}")
    return document


def _block(lines: list[tuple[int, str]], level: int) -> tuple[Any, list[tuple[int, str]]]:
    """The mapping or list at the front, and the lines after it."""
    if lines and lines[0][1].startswith("- "):
        items = []
        while lines and lines[0][0] == level:
            if not lines[0][1].startswith("- "):
                raise Malformed(lines[0][1])
            items.append(_scalar(lines[0][1][2:]))
            lines = lines[1:]
        return items, lines
    mapping: dict[str, Any] = {}
    while lines and lines[0][0] == level:
        match = _KEY.fullmatch(lines[0][1])
        if match is None or match[1] in mapping:
            raise Malformed(lines[0][1])
        lines = lines[1:]
        if match[2] is not None:
            mapping[match[1]] = _scalar(match[2])
        elif lines and lines[0][0] > level:
            mapping[match[1]], lines = _block(lines, level + 1)
        else:
            mapping[match[1]] = None
    if lines and lines[0][0] > level:
        raise Malformed(lines[0][1])
    return mapping, lines


def _scalar(text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    if quoted:
        return quoted[1]
    if not _PLAIN.fullmatch(text) or text.lower() in {"yes", "no", "on", "off", "true", "false", "null", "~"}:
        raise Malformed(text)
    return text
