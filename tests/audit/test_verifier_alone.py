"""The verifier as an auditor gets it: one file, copied into an empty directory, under a Python that has nothing else."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from audit import verifier
from audit.verifier import Trust, report_document, report_lines, verify
from audit.verify import trust_text
from tests.audit.evidence_files import World, opened_world
from tests.audit.test_verifier_links import SIZE, true

# Runs the verifier under an eye on everything that it opens, connects, starts or loads, and tells at the end.
WATCHED = """
import json, runpy, sys
{before}
events = []
def hook(event, arguments):
    if event == "open" or event.split(".")[0] in {{"socket", "subprocess", "os", "ctypes", "shutil", "urllib", "http", "sqlite3"}}:
        events.append([event, str(arguments[0]) if arguments else ""])
sys.addaudithook(hook)
code = 0
try:
    runpy.run_path("verifier.py", run_name="__main__")
except SystemExit as end:
    code = end.code
seen = list(events)
sys.stderr.write(json.dumps({{"events": seen, "modules": sorted(sys.modules)}}))
sys.exit(code)
"""
WITHOUT_SM3 = """
import hashlib
plain = hashlib.new
def without(name, *arguments, **named):
    if name == "sm3":
        raise ValueError("unsupported hash type sm3")
    return plain(name, *arguments, **named)
hashlib.new = without
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened_world(tmp_path_factory.mktemp("world")) as held:
        yield held


@pytest.fixture
def disk(world: World, tmp_path: Path) -> Path:
    """What is handed over: the verifier, files, and a trust file."""
    shutil.copy(verifier.__file__, tmp_path / "verifier.py")
    content = true(world)
    (tmp_path / "good.evidence").write_bytes(content.to_bytes())
    (tmp_path / "good.range").write_bytes(world.true_range(3, 14, SIZE).to_bytes())
    (tmp_path / "wrong.evidence").write_bytes(replace(content, index=6).to_bytes())
    (tmp_path / "cut.evidence").write_bytes(content.to_bytes()[:-1])
    (tmp_path / "trust.json").write_text(trust_text(world.trust()), encoding="utf-8")
    (tmp_path / "bad.json").write_text(trust_text(world.trust()).replace("blocks", "blocs"), encoding="utf-8")
    (tmp_path / "gbk.json").write_bytes("信任".encode("gbk"))
    return tmp_path


def run(
    disk: Path, *arguments: str, python: str = sys.executable, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Without site packages, without the environment's settings, and with no other directory to import from."""
    command = [python, "-I", "-S", *arguments]
    return subprocess.run(
        command,
        cwd=disk,
        env={"PATH": os.defpath, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_imports_the_standard_library_alone() -> None:
    tree = ast.parse(Path(verifier.__file__).read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add((node.module or "").split(".")[0])
    assert names <= sys.stdlib_module_names
    assert not names & {"socket", "ssl", "subprocess", "urllib", "http", "ctypes", "sqlite3", "os"}


@pytest.mark.parametrize("file", ["good.evidence", "good.range"])
@pytest.mark.parametrize("trusted", [True, False])
def test_it_says_the_same_by_itself_as_inside_kiteline(world: World, disk: Path, file: str, trusted: bool) -> None:  # noqa: FBT001 - a case
    chosen = ("--trust", "trust.json") if trusted else ()
    report = verify((disk / file).read_bytes(), world.trust() if trusted else Trust())
    done = run(disk, "verifier.py", file, *chosen, "--json")
    # Of a file alone nothing is proved.
    assert (done.returncode, done.stderr) == (0 if trusted else 4, "")
    assert json.loads(done.stdout) == report_document(file, report)
    done = run(disk, "verifier.py", file, *chosen)
    assert (done.returncode, done.stderr) == (0 if trusted else 4, "")
    assert done.stdout.splitlines() == list(report_lines(report))
    assert list(disk.glob("**/*.pyc")) == []


def test_a_file_that_does_not_hold_ends_with_4_and_says_which_link(disk: Path) -> None:
    done = run(disk, "verifier.py", "wrong.evidence", "--trust", "trust.json")
    assert (done.returncode, done.stderr) == (4, "")
    *lines, last = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("DOES NOT HOLD")] == [
        "DOES NOT HOLD  inclusion: the path does not lead to that head [arithmetic]"
    ]
    assert sum(line.startswith("holds          ") for line in lines) == 9
    assert last == "1 of 10 links do not hold"
    done = run(disk, "verifier.py", "wrong.evidence", "--trust", "trust.json", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["holds"], document["member"]) == (4, False, "11370700MB00000019")
    assert [link["name"] for link in document["links"] if not link["holds"]] == ["inclusion"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("cut.evidence",), "EVIDENCE_MALFORMED the file's last line is cut short"),
        (("verifier.py",), "EVIDENCE_MALFORMED the file is not ASCII"),
        (("trust.json",), "EVIDENCE_MALFORMED this is neither evidence nor a range of version 1"),
        (("absent.evidence",), "EVIDENCE_MALFORMED [Errno 2]"),
        ((".",), "EVIDENCE_MALFORMED [Errno 21]"),
        (("good.evidence", "--trust", "bad.json"), "EVIDENCE_MALFORMED this is no trust file"),
        (("good.evidence", "--trust", "gbk.json"), "EVIDENCE_MALFORMED 'utf-8' codec"),
        (("good.evidence", "--trust", "good.evidence"), "EVIDENCE_MALFORMED this is no trust file"),
        (("good.evidence", "--trust", "absent.json"), "EVIDENCE_MALFORMED [Errno 2]"),
    ],
)
def test_what_cannot_be_read_ends_with_1_and_one_line(disk: Path, arguments: tuple[str, ...], says: str) -> None:
    done = run(disk, "verifier.py", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(says)
    assert done.stderr.count("\n") == 1


def test_an_endless_file_is_given_up(disk: Path) -> None:
    """Of a device or a pipe no more is read than the largest file may have."""
    done = run(disk, "verifier.py", "/dev/zero")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "EVIDENCE_MALFORMED the file is larger than its kind may be\n"


def test_it_opens_what_is_named_and_nothing_else(disk: Path) -> None:
    (disk / "watched.py").write_text(WATCHED.format(before=""), encoding="utf-8")
    done = run(disk, "watched.py", "good.evidence", "--trust", "trust.json", "--json")
    seen = json.loads(done.stderr)
    assert done.returncode == 0
    assert json.loads(done.stdout)["holds"] is True
    library = (sys.base_prefix, sys.prefix, str(Path(os.__file__).parent))
    opened = [Path(place) for event, place in seen["events"] if event == "open" and not place.startswith(library)]
    assert {(disk / place).parent for place in opened} == {disk}
    assert sorted(place.name for place in opened if place.name != "verifier.py") == ["good.evidence", "trust.json"]
    # Looking through the library's directories for modules is all that is done besides.
    assert {event for event, _ in seen["events"]} <= {"open", "os.listdir"}
    assert not {"socket", "_socket", "ssl", "subprocess", "ctypes", "lmdb", "crypto", "audit"} & set(seen["modules"])


def test_a_python_whose_openssl_lacks_sm3_gives_the_same_report(disk: Path) -> None:
    (disk / "watched.py").write_text(WATCHED.format(before=WITHOUT_SM3), encoding="utf-8")
    plain = run(disk, "verifier.py", "good.evidence", "--trust", "trust.json", "--json")
    done = run(disk, "watched.py", "good.evidence", "--trust", "trust.json", "--json")
    assert (done.returncode, done.stdout) == (0, plain.stdout)


def test_a_name_that_the_terminal_cannot_show_takes_no_verdict_away(disk: Path) -> None:
    shutil.copy(disk / "good.evidence", disk / "证据.evidence")
    for settings in ({"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}):
        for form in ((), ("--json",)):
            done = run(disk, "-X", "utf8=0", "verifier.py", "证据.evidence", "--trust", "trust.json", *form, **settings)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.isascii()


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_newer_pythons_give_the_same_report(disk: Path, version: str) -> None:
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip(f"no Python {version} on this machine")
    plain = run(disk, "verifier.py", "good.range", "--trust", "trust.json", "--json")
    done = run(disk, "verifier.py", "good.range", "--trust", "trust.json", "--json", python=python, **_pyenv())
    assert (done.returncode, done.stdout) == (0, plain.stdout)


def _pyenv() -> dict[str, str]:
    """A shim finds its Python by these."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "PYENV_VERSION", "PYENV_ROOT") if name in os.environ}
