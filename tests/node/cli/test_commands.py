"""What holds for every command, found by walking the program, so that a new command without it fails."""

from __future__ import annotations

from typing import Any

import pytest

from tests.node.cli.reading import kiteline_commands, leaves, read

COMMANDS = dict(leaves())


def test_the_walk_finds_the_commands_that_there_are() -> None:
    assert {"init", "serve", "publish", "fetch", "verify", "chain up", "chain trust"} <= set(COMMANDS)


@pytest.mark.parametrize(("name", "command"), COMMANDS.items(), ids=COMMANDS)
def test_a_command_prints_json_on_request(name: str, command: Any) -> None:  # noqa: ANN401 - Typer's own class
    (option,) = [parameter for parameter in command.params if "--json" in parameter.opts]
    assert option.is_flag
    assert option.default is False


@pytest.mark.parametrize(("name", "command"), COMMANDS.items(), ids=COMMANDS)
def test_a_command_says_what_it_does_and_gives_an_example_that_works(name: str, command: Any) -> None:  # noqa: ANN401
    assert command.help
    assert command.help.split(".")[0].strip()
    assert command.epilog.startswith("Example: ")
    examples = list(kiteline_commands(command.epilog.removeprefix("Example: ")))
    assert [read(words) for words in examples], "no command in the example"
    assert any(" ".join(words).startswith(name) for words in examples)


@pytest.mark.parametrize(("name", "command"), COMMANDS.items(), ids=COMMANDS)
def test_every_option_and_argument_says_what_it_is(name: str, command: Any) -> None:  # noqa: ANN401 - likewise
    for parameter in command.params:
        assert parameter.help, f"{name}: {parameter.name}"
        assert parameter.help.endswith("."), f"{name}: {parameter.name}"


@pytest.mark.parametrize(("name", "command"), COMMANDS.items(), ids=COMMANDS)
def test_a_command_that_asks_a_node_can_be_told_which(name: str, command: Any) -> None:  # noqa: ANN401 - likewise
    without_a_node = {
        "init",
        "engines",
        "verify",
        "audit report",
        "chain up",
        "chain down",
        "chain fund",
        "chain treasury",
    }
    without_a_node |= {f"chain {verb}-validator" for verb in ("add", "remove", "restart")}
    without_a_node |= {f"ca {verb}" for verb in ("create", "sign", "enrol", "revoke", "crl", "list", "verify")}
    without_a_node |= {"keys agent create", "keys agent serve"}
    options = [parameter for parameter in command.params if "--config" in parameter.opts]
    assert len(options) == (0 if name in without_a_node else 1)
    for option in options:
        assert option.envvar == "KITELINE_CONFIG"
        assert "-c" in option.opts
