"""Four validators of Besu make blocks, take one more in and let it go, and an anchor's header leads to its hash. Skipped where there is no Besu."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from eth_hash.auto import keccak

from node.chain.block_evidence import raw_header
from node.chain.endpoints import Endpoints
from node.chain.finality import final_head
from node.chain.json_rpc import read_bytes, read_object, read_quantity
from node.chain.network import load_network
from scripts.local_consortium import CIVIL_AFFAIRS, HEALTH, NETWORKS, LocalConsortium
from tests.support.networks import require

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]

QBFT = NETWORKS / "qbft" / "network.toml"
VALIDATORS = 4


@pytest.fixture(scope="module")
def qbft(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalConsortium]:
    """Four validators and two members; whatever happens, no process stays."""
    require("qbft")
    with LocalConsortium(tmp_path_factory.mktemp("qbft"), [CIVIL_AFFAIRS, HEALTH], network=QBFT) as started:
        yield started


def test_an_anchor_is_final_at_once_and_its_header_leads_to_the_blocks_hash(qbft: LocalConsortium) -> None:
    anchored = qbft.kiteline(CIVIL_AFFAIRS, "chain", "anchor")
    network = load_network(qbft.directory / "network.toml")
    with closing(Endpoints(network)) as endpoints:
        mined = read_object(
            endpoints.ask("eth_getTransactionReceipt", f"0x{anchored['transaction'].removeprefix('0x')}")
        )
        number, block_hash = read_quantity(mined["blockNumber"]), read_bytes(mined["blockHash"])
        final = final_head(network, endpoints)
        assert final is not None
        assert final.number >= number
        assert keccak(raw_header(network, endpoints, number, block_hash)) == block_hash


def test_a_fifth_validator_is_voted_in_and_out_again(qbft: LocalConsortium) -> None:
    state = ["--state", str(qbft.directory / "chain")]
    added = qbft.kiteline(None, "chain", "add-validator", *state)
    assert (added["number"], added["validators"]) == (VALIDATORS + 1, VALIDATORS + 1)
    assert qbft.kiteline(None, "chain", "status", *state)["makes_blocks"]
    removed = qbft.kiteline(None, "chain", "remove-validator", str(added["number"]), *state)
    assert removed["validators"] == VALIDATORS
