"""Every network that ships can be read, has a chain id of its own, and is explained in both languages in the same chapters."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from node.chain.network import FinalityRule, HeaderRule, load_network
from scripts.local_consortium import NETWORKS
from tests.node.cli.reading import kiteline_commands, read

FILES = sorted(NETWORKS.glob("*/network.toml"))
OF_SEVERAL = [file.parent for file in FILES if (file.parent / "README.zh.md").is_file()]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_chain_ids_and_names_are_their_own() -> None:
    networks = [load_network(file) for file in FILES]
    assert [network.name for network in networks] == [file.parent.name for file in FILES]
    assert len({network.chain_id for network in networks}) == len(networks)
    assert {"clique", "embedded", "fisco", "qbft"} <= {network.name for network in networks}


def test_what_is_final_at_once_is_believed_at_once() -> None:
    qbft, fisco = (load_network(NETWORKS / name / "network.toml") for name in ("qbft", "fisco"))
    assert (qbft.finality, qbft.header) == (FinalityRule.EVERY_BLOCK, HeaderRule.BFT_EXTRA)
    assert (fisco.finality, fisco.header) == (FinalityRule.EVERY_BLOCK, HeaderRule.NONE)


@pytest.mark.parametrize("folder", OF_SEVERAL, ids=lambda folder: folder.name)
def test_both_languages_have_the_same_chapters_tables_and_commands_of_kiteline(folder: Path) -> None:
    english, chinese = ((folder / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
    assert re.findall(r"^#+ ", english, re.MULTILINE) == re.findall(r"^#+ ", chinese, re.MULTILINE)
    assert len(re.findall(r"^\|", english, re.MULTILINE)) == len(re.findall(r"^\|", chinese, re.MULTILINE))
    commands = [
        [
            words
            for block in BLOCK.findall(text)
            for line in block.replace("\\\n", " ").splitlines()
            if "kiteline" in line
            for words in kiteline_commands(line)
        ]
        for text in (english, chinese)
    ]
    assert commands[0] == commands[1]
    assert all(read(words) for words in commands[0])


@pytest.mark.parametrize("folder", [NETWORKS / "qbft", NETWORKS / "fisco"], ids=lambda folder: folder.name)
def test_the_chapters_are_those_of_clique(folder: Path) -> None:
    chapters = re.compile(r"^## .*$", re.MULTILINE)
    for name in ("README.md", "README.zh.md"):
        clique = chapters.findall((NETWORKS / "clique" / name).read_text(encoding="utf-8"))
        assert chapters.findall((folder / name).read_text(encoding="utf-8")) == clique


@pytest.mark.parametrize("folder", [NETWORKS / "qbft", NETWORKS / "fisco"], ids=lambda folder: folder.name)
def test_what_was_not_tried_is_said(folder: Path) -> None:
    assert "**Not tried on this release's machines**" in (folder / "README.md").read_text(encoding="utf-8")
    assert "**本版本未在我们的机器上实际运行过**" in (folder / "README.zh.md").read_text(encoding="utf-8")
