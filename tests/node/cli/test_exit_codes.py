"""How `kiteline` ends: the documented codes, one JSON document in any case, and one clear sentence for people."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from audit.verifier import Evidence, Proof
from node.cli.output import Exit
from tests.node.cli.desk import PASSPHRASE, Finished, configure, kiteline, kiteline_on_a_terminal

GRANT = "0" * 64
NETWORK = """name = "another"
chain_id = 1
endpoints = ["http://127.0.0.1:1"]
finality = {rule = "every-block"}
fees = {rule = "zero"}
header = {rule = "none"}
poll = {interval_milliseconds = 100}
[engine]
"""
# A program of the same build as `kiteline`: its one command does what the test says.
OTHER_PROGRAM = """
import sys, typer
from typing import Annotated
from node.cli.session import JSONOption, reporting, run

app = typer.Typer()

@app.command()
def work(how: str, as_json: JSONOption = False) -> None:
    with reporting(as_json=as_json) as output:
        if how == "defect":
            raise ZeroDivisionError("division by zero")
        if how == "interrupt":
            raise KeyboardInterrupt
        for number in range(100_000):
            output.result({"number": number})

run(app)
"""


def _refusal(finished: Finished, code: Exit, reason: str) -> dict[str, str]:
    error: dict[str, str] = finished.document["error"]
    assert (finished.code, error["reason"]) == (code, reason)
    assert set(error) == {"reason", "message", "remedy", "details"}
    assert error["message"]
    assert error["remedy"]
    return error


def _other(*arguments: str) -> Finished:
    finished = subprocess.run(
        [sys.executable, "-c", OTHER_PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return Finished(finished.returncode, finished.stdout, finished.stderr)


def test_0_done() -> None:
    finished = kiteline("engines", "--no-measure", "--json")
    assert finished.code == Exit.DONE
    assert any(engine["usable"] for engine in finished.document["engines"])


def test_1_refused(tmp_path: Path) -> None:
    finished = kiteline("status", "--config", str(tmp_path / "kiteline.toml"), "--json")
    error = _refusal(finished, Exit.REFUSED, "CONFIGURATION_INVALID")
    assert "kiteline init" in error["message"]
    assert finished.errors == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fetch",), "Missing argument 'grant'"),
        (("fetsch",), "Did you mean 'fetch'"),
        (("fetch", GRANT, "--quickly"), "No such option: --quickly"),
        (("publish", "nowhere.csv", "--dataset", "x"), "does not exist"),
        (("decide", GRANT, "--deny"), "a denial needs --reason"),
        (("request", GRANT, "--purpose", "x", "--days", "0"), "greater than or equal to 1"),
        ((), "No such option: --json"),
    ],
)
def test_2_wrong_usage(arguments: tuple[str, ...], message: str) -> None:
    error = _refusal(kiteline(*arguments, "--json"), Exit.USAGE, "WRONG_USAGE")
    assert message in error["message"]
    if arguments:
        finished = kiteline_on_a_terminal(*arguments)
        assert finished.code == Exit.USAGE
        assert "--help" in finished.text


def test_3_the_node_does_not_answer(home: Path) -> None:
    with socket.socket() as held:
        # Bound and not listened on: nobody else can take the port, and nobody answers.
        held.bind(("127.0.0.1", 0))
        config = configure(home, f"127.0.0.1:{held.getsockname()[1]}")
        environment = {"KITELINE_PASSPHRASE": PASSPHRASE.decode(), "KITELINE_CONFIG": str(config)}
        error = _refusal(kiteline("status", "--json", environment=environment), Exit.UNAVAILABLE, "NODE_UNAVAILABLE")
        assert "kiteline serve" in error["remedy"]
        finished = kiteline_on_a_terminal("fetch", GRANT, environment=environment)
    assert finished.code == Exit.UNAVAILABLE
    assert "NODE_UNAVAILABLE" in finished.text
    assert "kiteline serve" in finished.text


def test_4_something_does_not_hold(tmp_path: Path) -> None:
    file = tmp_path / "false.evidence"
    file.write_bytes(Evidence(0, b"no entry", (), Proof(b"no note", (), ())).to_bytes())
    finished = kiteline("verify", str(file), "--json")
    assert finished.code == Exit.DOES_NOT_HOLD
    assert finished.document["holds"] is False
    shown = kiteline_on_a_terminal("verify", str(file))
    assert shown.code == Exit.DOES_NOT_HOLD
    assert "DOES NOT HOLD" in shown.text
    assert "keep the file" in shown.text


def test_70_a_defect() -> None:
    error = _refusal(_other("defect", "--json"), Exit.DEFECT, "INTERNAL")
    assert error["message"] == "ZeroDivisionError: division by zero"
    finished = _other("defect")
    assert finished.code == Exit.DEFECT
    assert finished.out == ""
    assert finished.errors.startswith("INTERNAL ZeroDivisionError: division by zero\n")
    assert "Traceback" not in finished.errors


def test_130_interrupted() -> None:
    _refusal(_other("interrupt", "--json"), Exit.INTERRUPTED, "INTERRUPTED")
    assert _other("interrupt").code == Exit.INTERRUPTED


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_reader_that_goes_away_is_no_error(options: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", OTHER_PROGRAM, "print", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == Exit.DONE


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "no passphrase"),
        ({"KITELINE_PASSPHRASE_FILE": "/nowhere"}, "No such file"),
        ({"KITELINE_PASSPHRASE": "wrong"}, "passphrase is wrong"),
    ],
)
def test_a_passphrase_that_is_not_there_or_not_right_is_named(
    home: Path, environment: dict[str, str], message: str
) -> None:
    finished = kiteline("status", "--config", str(home / "kiteline.toml"), "--json", environment=environment)
    assert finished.code == Exit.REFUSED
    assert message in finished.document["error"]["message"]


def test_a_passphrase_file_may_end_with_a_line_feed_and_must_be_utf_8(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    reasons = []
    for content in (PASSPHRASE, PASSPHRASE + b"\n", b"\xff\xfe"):
        file.write_bytes(content)
        environment = {"KITELINE_PASSPHRASE_FILE": str(file)}
        finished = kiteline("status", "--config", str(home / "kiteline.toml"), "--json", environment=environment)
        reasons.append(finished.document["error"]["reason"])
    assert reasons == ["NODE_UNAVAILABLE", "NODE_UNAVAILABLE", "CONFIGURATION_INVALID"]


def test_what_cannot_be_read_or_made_is_refused_and_no_defect(tmp_path: Path) -> None:
    file, network = tmp_path / "file", tmp_path / "network.toml"
    file.touch()
    network.write_text("name = ")
    chain_up = ("chain", "up", "--network", str(network), "--json", "--state")
    _refusal(kiteline(*chain_up, str(tmp_path)), Exit.REFUSED, "CONFIGURATION_INVALID")
    network.write_text(NETWORK + 'program = "pyproject.toml"\narguments = ["{port"]\n')
    _refusal(kiteline(*chain_up, str(tmp_path)), Exit.REFUSED, "CONFIGURATION_INVALID")
    network.write_text(NETWORK + 'program = "pyproject.toml"\narguments = []\n')
    _refusal(kiteline(*chain_up, str(file / "state")), Exit.REFUSED, "FILE_UNUSABLE")
    init = ("init", str(file / "node"), "--member-id", "11370700004258746X", "--name", "x", "--listen", "127.0.0.1:1")
    finished = kiteline(
        *(*init, "--network", str(network), "--contracts", "contracts.toml", "--json"),
        environment={"KITELINE_PASSPHRASE": "x"},
    )
    _refusal(finished, Exit.REFUSED, "CONFIGURATION_INVALID")


def test_a_chain_on_a_taken_port_is_refused_in_words(tmp_path: Path) -> None:
    network = tmp_path / "network.toml"
    network.write_text(NETWORK + 'program = "pyproject.toml"\narguments = []\n')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        finished = kiteline(
            "chain", "up", "--network", str(network), "--state", str(tmp_path), "--port", port, "--json"
        )
    assert port in _refusal(finished, Exit.REFUSED, "PORT_TAKEN")["message"]


def test_serve_that_is_refused_says_so_in_one_document(tmp_path: Path) -> None:
    finished = kiteline("serve", "--config", str(tmp_path / "kiteline.toml"), "--json")
    _refusal(finished, Exit.REFUSED, "CONFIGURATION_INVALID")
    people = kiteline("serve", "--config", str(tmp_path / "kiteline.toml"))
    assert people.out == ""
    assert people.errors.startswith("CONFIGURATION_INVALID ")
    assert json.loads(finished.out)["error"]["message"] in people.errors


@pytest.mark.parametrize("option", ["--html", "--document"])
def test_a_finding_that_cannot_be_written_is_refused_and_no_defect(tmp_path: Path, option: str) -> None:
    (tmp_path / "cut.evidence").write_bytes(b"kiteline/evidence/v1")
    finished = kiteline("audit", "report", str(tmp_path), option, str(tmp_path / "absent" / "finding"), "--json")
    _refusal(finished, Exit.REFUSED, "FILE_UNUSABLE")
