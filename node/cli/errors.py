"""The errors of the command line alone: with `--json` they are documents like every other refusal."""

from __future__ import annotations

from node.errors import NodeError


class WrongUsage(NodeError):
    """The command line itself is wrong: an unknown command or option, a missing or ill-formed argument."""

    reason = "WRONG_USAGE"
    seen_by = "caller, operator"
    remedy = "Run the command with `--help`: it lists the arguments and ends with an example."


class Interrupted(NodeError):
    """The command was stopped by Ctrl-C before it was done."""

    reason = "INTERRUPTED"
    seen_by = "caller, operator"
    remedy = "Run it again: a fetch goes on where it stopped, an interrupted publication changed nothing."
