"""Command lines as documents give them: found in code blocks, and read as the program would read them, without running them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from node.cli.main import app

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ENDS = re.compile(r"(?:&&|\|\||[;|&])(?=\s|$)")
_COMMAND = re.compile(r"(?:runuser -u \w+ -- env )?(?:[A-Z_]+=\S+ )*(?:[^\s=]*/)?kiteline (?P<words>.*)")


def blocks(document: Path) -> list[list[str]]:
    """The commands of each shell block, comments stripped and continued lines joined."""
    found = []
    for block in _BLOCK.findall(document.read_text(encoding="utf-8")):
        lines = [re.sub(r"\s+#.*$|^#.*$", "", line) for line in block.replace("\\\n", " ").split("\n")]
        found.append([" ".join(line.split()) for line in lines if line.strip()])
    return found


def kiteline_commands(text: str) -> Iterator[list[str]]:
    """The words after each `kiteline` of a shell line, or of several joined by ;, && or |."""
    for part in _ENDS.split(text):
        command = _COMMAND.fullmatch(part.strip())
        if command is not None:
            # A redirection is the shell's.
            yield shlex.split(re.sub(r"\s*\d?[<>]+\s*\S+", "", command["words"]))


def read(words: list[str]) -> Any:  # noqa: ANN401 - Typer's own class, which it does not export
    """The command that the words name; its options and arguments must be its own, and none may be missing.

    Values are not converted, so files need not be there. Raises Typer's usage error.
    """
    command: Any = typer.main.get_command(app)
    context = command.make_context("kiteline", [], resilient_parsing=True)
    _, rest, _ = command.make_parser(context).parse_args(args=list(words))
    while rest and hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, rest)
        assert command is not None, f"{words}: there is no such command"
        context = type(context)(command, parent=context, info_name=name)
    if hasattr(command, "commands"):
        # Only the program itself does something without a command: it shows its version, or its completion.
        assert command.name == "kiteline"
        assert words == [] or words[0] in {"--version", "--install-completion", "--show-completion", "--help"}, words
        return command
    values, extra, _ = command.make_parser(context).parse_args(args=list(rest))
    assert extra == [], f"{words}: {extra} is too much"
    for parameter in command.params:
        is_given = values.get(parameter.name) not in (None, [], ())
        assert is_given or not parameter.required, f"{words}: {parameter.name} is missing"
    return command


def leaves(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - as `read`
    """Every command that does something, by its whole name."""
    command = command or typer.main.get_command(app)
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from leaves(child, (*path, name))
        else:
            yield " ".join((*path, name)), child
