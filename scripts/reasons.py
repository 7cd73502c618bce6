"""Write docs/reasons.md from the error classes: every reason, who meets it, what it means and what to do.

`--check` exits 1 if the file differs, so that the table and the program cannot drift apart.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

import audit
import crypto
import node
from crypto.errors import Refusal
from node.cli.output import exit_code
from node.rpc.errors import status_code

FILE = Path(__file__).resolve().parent.parent / "docs" / "reasons.md"
HEAD = """# Reasons

Every refusal carries one of these reasons: in `google.rpc.ErrorInfo` (domain `kiteline`) over gRPC, in `error.reason`
with `--json`, at the start of the line for people, and in the audit log. Reasons never change; sentences may. Written
by `make gen` from the error classes.

*Who meets it*: a *caller* is an officer at the command line or a program of the department, a *peer* another member's node.
*gRPC* is the status code that carries the reason on the wire, *exit* the code that `kiteline` ends with.

| reason | meaning | who meets it | what to do | gRPC | exit |
|---|---|---|---|---|---|
"""


def main() -> int:
    """Write or check the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if not arguments.check:
        FILE.write_text(text(), encoding="utf-8")
        return 0
    if FILE.exists() and FILE.read_text(encoding="utf-8") == text():
        return 0
    print("docs/reasons.md is not what the error classes say; run `make gen`", file=sys.stderr)
    return 1


def text() -> str:
    """The whole file."""
    return HEAD + "".join(sorted(_row(kind) for kind in refusals()))


def refusals() -> list[type[Refusal]]:
    """Every class that states a reason, once each."""
    for package in (crypto, audit, node):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.rpartition(".")[2].endswith("errors"):
                importlib.import_module(module.name)
    found: list[type[Refusal]] = []
    waiting: list[type[Refusal]] = [Refusal]
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        if "reason" in vars(kind):
            found.append(kind)
    return found


def _row(kind: type[Refusal]) -> str:
    meaning = " ".join((kind.__doc__ or "").split())
    code, end = status_code(kind.reason).name, exit_code(kind.reason).value
    return f"| `{kind.reason}` | {meaning} | {kind.seen_by} | {kind.remedy} | {code} | {end} |\n"


if __name__ == "__main__":
    raise SystemExit(main())
