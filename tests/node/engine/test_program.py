"""The engine's program is the right version of it, or is built by the machine's own Go, or is refused."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from node.engine.description import EngineDescription, GoPackage, VersionCheck
from node.engine.program import build_program, find_program
from node.errors import ChainProgramUnavailable, ConfigurationInvalid

MODULE, TAG = "example.org/wheel", "v1.0.0"
SOURCE = 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("Version: 1.0.0") }\n'


def engine(program: str, *, says: str = "Version: 1.0.0", go: GoPackage | None = None) -> EngineDescription:
    """An engine of this program."""
    return EngineDescription(Path(), 1, program, (), version=VersionCheck(("version",), says), go=go)


def script(path: Path, text: str) -> Path:
    """An executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
    path.chmod(0o755)
    return path


def test_of_two_programs_the_one_with_the_right_version_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = script(tmp_path / "bin" / "wheel", "echo Version: 1.0.0-stable")
    script(tmp_path / "built" / "wheel", "echo Version: 1.1.0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    found = find_program(engine("wheel"), root=tmp_path / "root", built=tmp_path / "built")
    assert found == right
    assert find_program(engine("wheel", says="Version: 2"), root=tmp_path / "root", built=tmp_path / "built") is None


def test_a_program_of_the_installation_that_is_not_there_is_no_case_for_go(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="run `make setup`"):
        find_program(engine("node_modules/wheel"), root=tmp_path, built=tmp_path)


def test_without_go_or_a_package_to_build_the_refusal_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ChainProgramUnavailable, match=r"there is no wheel on PATH that prints 'Version: 1\.0\.0'"):
        build_program(engine("wheel"), built=tmp_path)
    go = GoPackage(f"{MODULE}@{TAG}", ())
    with pytest.raises(ChainProgramUnavailable, match=f"there is no Go to build {MODULE}@{TAG}"):
        build_program(engine("wheel", go=go), built=tmp_path, environment={"PATH": str(tmp_path)})


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Go with a proxy that is a directory with one module."""
    if shutil.which("go") is None:
        pytest.skip("no Go on PATH")
    versions = tmp_path / "proxy" / MODULE / "@v"
    versions.mkdir(parents=True)
    (versions / "list").write_text(f"{TAG}\n", encoding="ascii")
    (versions / f"{TAG}.info").write_text(f'{{"Version": "{TAG}"}}', encoding="ascii")
    (versions / f"{TAG}.mod").write_text(f"module {MODULE}\n", encoding="ascii")
    with zipfile.ZipFile(versions / f"{TAG}.zip", "w") as archive:
        archive.writestr(f"{MODULE}@{TAG}/go.mod", f"module {MODULE}\n")
        archive.writestr(f"{MODULE}@{TAG}/main.go", SOURCE)
        archive.writestr(f"{MODULE}@{TAG}/main/main.go", SOURCE)
    cache = {"GOMODCACHE": str(tmp_path / "modules"), "GOFLAGS": "-modcacherw"}
    return {**os.environ, **cache, "GOPROXY": (tmp_path / "proxy").as_uri(), "GONOSUMDB": "*", "GONOSUMCHECK": "1"}


def test_go_builds_it_once_and_tells_how_far_it_is(tmp_path: Path, environment: dict[str, str]) -> None:
    wanted = engine("wheel", go=GoPackage(f"{MODULE}@{TAG}", ()))
    counts: list[int] = []
    built = build_program(wanted, built=tmp_path / "built", environment=environment, compiled=counts.append)
    assert find_program(wanted, root=tmp_path / "root", built=tmp_path / "built") == built
    assert counts == list(range(1, len(counts) + 1))
    assert counts


def test_a_program_that_go_calls_otherwise_is_put_where_it_is_looked_for(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    wanted = engine("wheel", go=GoPackage(f"{MODULE}/main@{TAG}", ()))
    built = build_program(wanted, built=tmp_path / "built", environment=environment)
    assert list((tmp_path / "built").iterdir()) == [built] == [tmp_path / "built" / "wheel"]


def test_what_go_says_of_a_package_that_it_cannot_build_is_in_the_refusal(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    wanted = engine("wheel", go=GoPackage(f"{MODULE}@v1.0.1", ()))
    with pytest.raises(ChainProgramUnavailable, match=r"(?s)could not be built:.*v1\.0\.1"):
        build_program(wanted, built=tmp_path / "built", environment=environment)
    wanted = engine("wheel", says="Version: 9", go=GoPackage(f"{MODULE}@{TAG}", ()))
    with pytest.raises(ChainProgramUnavailable, match="does not build the wheel that is wanted"):
        build_program(wanted, built=tmp_path / "built", environment=environment)
