"""Where the engine's program is: below the installation, on PATH in the right version, or built here once from its Go package."""

from __future__ import annotations

import collections
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from node.engine.children import spawn, stop
from node.engine.description import EngineDescription, GoPackage, VersionCheck
from node.errors import ChainProgramUnavailable, ConfigurationInvalid

ROOT = Path(__file__).resolve().parent.parent.parent
BUILT = ROOT / ".kiteline" / "go" / "bin"
VERSION_SECONDS = 60.0
KEPT_LINES = 10  # of a compiler's words, for the message of a build that failed


def find_program(engine: EngineDescription, *, root: Path = ROOT, built: Path = BUILT) -> Path | None:
    """The program, or None if it has to be built.

    Args:
        engine: which, and what it must say of its version.
        root: what a path in the network file is relative to.
        built: where programs are that were built here.

    Raises:
        ConfigurationInvalid: the network file names a path, and nothing is there.
    """
    if (root / engine.program).is_file():
        return root / engine.program
    if Path(engine.program).name != engine.program:
        raise ConfigurationInvalid(f"{root / engine.program} is not installed; run `make setup`")
    found = [built / engine.program, *map(Path, filter(None, [shutil.which(engine.program)]))]
    for candidate in found:
        if candidate.is_file() and (engine.version is None or _says(candidate, engine.version)):
            return candidate
    return None


def build_program(
    engine: EngineDescription,
    *,
    built: Path = BUILT,
    environment: Mapping[str, str] = os.environ,
    compiled: Callable[[int], None] = lambda _: None,
) -> Path:
    """Build the program from its Go package with the machine's own Go and its own settings of it; minutes, not seconds.

    Args:
        engine: which, and what it is built from.
        built: where it is put; made if absent.
        environment: what Go is run with.
        compiled: told how many packages are compiled so far.

    Raises:
        ChainProgramUnavailable: the network file names no package, there is no Go, it fails, or it makes something else.
    """
    go = engine.go
    if go is None:
        wanted = f" that prints {engine.version.says!r}" if engine.version else ""
        raise ChainProgramUnavailable(f"there is no {engine.program} on PATH{wanted}", program=engine.program)
    compiler = shutil.which("go", path=environment.get("PATH"))
    if compiler is None:
        raise ChainProgramUnavailable(
            f"{engine.program} is not on PATH, and there is no Go to build {go.package}", program=engine.program
        )
    built.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=built, prefix=".building-") as making:
        return _build(engine, go, compiler, Path(making), built, environment, compiled)


def _build(  # noqa: PLR0913, PLR0917 (what a build is made of)
    engine: EngineDescription,
    go: GoPackage,
    compiler: str,
    making: Path,
    built: Path,
    environment: Mapping[str, str],
    compiled: Callable[[int], None],
) -> Path:
    # -v names each package when it is compiled.
    command = [compiler, "install", "-v", *go.flags, go.package]
    child = spawn(
        command,
        output=subprocess.DEVNULL,
        errors=subprocess.PIPE,
        environment={**environment, "GOBIN": str(making)},
    )
    said: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
    count = 0
    try:
        if child.stderr is not None:
            for line in child.stderr:
                said.append(line.decode(errors="replace").rstrip())
                if not line.startswith(b"go: "):  # downloads
                    count += 1
                    compiled(count)
        child.wait()
    finally:
        stop([child])
        if child.stderr is not None:
            child.stderr.close()
    if child.returncode != 0:
        raise ChainProgramUnavailable(f"{go.package} could not be built:\n" + "\n".join(said), program=engine.program)
    # Go calls a program after its folder, which may be `main`; whatever it made is the only file there.
    made = list(making.iterdir())
    if len(made) != 1 or (engine.version is not None and not _says(made[0], engine.version)):
        raise ChainProgramUnavailable(
            f"{go.package} does not build the {engine.program} that is wanted", program=engine.program
        )
    return made[0].rename(built / engine.program)


def _says(program: Path, version: VersionCheck) -> bool:
    try:
        answer = subprocess.run(
            [str(program), *version.arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return version.says in answer.stdout.decode(errors="replace")
