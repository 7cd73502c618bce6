"""The README's commands: the same in both languages, and run, as they stand there, from a member's first directory to an auditor's verdict."""

from __future__ import annotations

import csv
import re
from contextlib import ExitStack
from pathlib import Path

import pyarrow.parquet
import pytest

from scripts.local_consortium import AUDIT, CIVIL_AFFAIRS, HEALTH, LocalConsortium
from scripts.processes import Child, accepts, free_port
from tests.node.cli.reading import blocks, kiteline_commands, read
from tests.support.documents import COMMAND_SECONDS, acts, environment, filled, run

ROOT = Path(__file__).resolve().parent.parent.parent
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh.md"
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "network_configs/*/README.md", "scripts/**/*.md", "tests/clients/**/*.md")
    for path in ROOT.glob(pattern)
)
# Who acts, as the README's comments say; a line whose comment names nobody goes on with the one before.
ACTORS = {"the provider": CIVIL_AFFAIRS, "the requester": HEALTH, "the auditor": AUDIT}
VILLAGES = [["code", "name"], ["370702001001", "曹家巷居委会"], ["370702001002", "胡家牌坊居委会"]]


def test_both_languages_give_the_same_commands() -> None:
    assert blocks(ENGLISH) == blocks(CHINESE)
    assert len(blocks(ENGLISH)) == 3


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_of_a_document_is_one_that_there_is(document: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for line in (line for block in blocks(document) for line in block):
        for words in kiteline_commands(line):
            read(words)
        made = re.match(r"make ([a-z-]+)", line)
        assert made is None or made[1] in targets, line


@pytest.mark.process
def test_a_node_is_made_and_served_as_the_readme_says(consortium: LocalConsortium, tmp_path: Path) -> None:
    """The chain is the session's; the second consortium that these lines found on it disturbs nobody."""
    _, first, _ = blocks(ENGLISH)
    port = free_port()
    network = tmp_path / "network_configs" / "embedded" / "network.toml"
    network.parent.mkdir(parents=True)
    network.write_bytes((consortium.directory / "network.toml").read_bytes())
    secrets = {"KITELINE_PASSPHRASE_FILE": consortium.environment["KITELINE_PASSPHRASE_FILE"]}
    given = {"127.0.0.1:7001": f"127.0.0.1:{port}", "/run/secrets/kiteline": secrets["KITELINE_PASSPHRASE_FILE"]}
    export, chain, *commands, serve = (filled(line, given) for line in first)
    assert export == f"export KITELINE_PASSPHRASE_FILE={secrets['KITELINE_PASSPHRASE_FILE']}"
    assert chain.startswith("kiteline chain up ")
    for command in commands:
        run(command, tmp_path, secrets)
    with ExitStack() as running:
        line = f"cd {tmp_path} && exec {serve}"
        child = Child("node", ["/bin/bash", "-c", line], tmp_path / "log", environment() | secrets)
        running.callback(child.stop)
        child.wait_until(lambda: accepts(port), COMMAND_SECONDS)
        status = run("kiteline status --config civil/kiteline.toml", tmp_path, secrets)
        assert "11370700004258746X Civil Affairs" in status
        assert child.stop() == 0


@pytest.mark.process
def test_the_life_of_an_exchange_goes_as_the_readme_says(consortium: LocalConsortium, tmp_path: Path) -> None:
    with (tmp_path / "villages.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(VILLAGES)
    known: dict[str, str] = {"MEMBER": CIVIL_AFFAIRS.member_id}
    seen: dict[str, str] = {}
    for line, actor in acts(ENGLISH, 2, ACTORS, CIVIL_AFFAIRS):
        command = filled(line, known)
        name = " ".join(command.split()[1:3])
        said = run(command, tmp_path, consortium.environment | {"KITELINE_CONFIG": str(consortium.config(actor))})
        seen[name] = said
        if name == "catalogue villages":
            # The beginning of an id, as the table shows it, is enough for the next command.
            (known["DATASET"],) = re.findall(r"\b[0-9a-f]{12}\b", said)
        if name.startswith("request"):
            known["GRANT"] = re.findall(r"\b[0-9a-f]{64}\b", said)[0]
        if name.startswith("trail"):
            known["INDEX"] = re.findall(rf"{CIVIL_AFFAIRS.member_id} +(\d+) +RECEIPT_RECEIVED", said)[0]
    exported = pyarrow.parquet.read_table(tmp_path / "villages.parquet").to_pydict()
    assert [list(exported), *zip(*exported.values(), strict=True)] == [VILLAGES[0], *map(tuple, VILLAGES[1:])]
    assert "曹家巷居委会" in seen[f"query {known['GRANT']}"]
    assert "every step is proven, both sides agree, nothing is missing" in seen[f"trail {known['GRANT']}"]
    verdict = seen["verify e.evidence"]
    assert "every link holds" in verdict
    assert "RECEIPT_RECEIVED" in verdict
    assert "the file's word" not in verdict, "the trust file left something to the evidence's own word"
