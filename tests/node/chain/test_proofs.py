"""An anchor's proof from a real chain holds for the offline verifier."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from audit.verifier import anchor_events, read_header, receipt_under
from node.chain.adapter import Chain
from node.chain.network import FinalityRule
from node.errors import ChainUnavailable
from node.ports import ChainProofs, ChainView, ChainWriter
from tests.support.consortium import FIRST, SECOND, Consortium

DIGEST = b"\7" * 32


def test_each_anchor_of_a_full_block_is_proven(chain: Chain, consortium: Consortium) -> None:
    """Twenty transactions in one block, so that the tree of receipts has branches."""
    logs = [os.urandom(32) for _ in range(20)]
    anvil = consortium.anvil
    anvil.rpc("evm_setAutomine", False)
    threads = [
        threading.Thread(target=chain.writer.anchor, args=(log, place + 1, DIGEST, log))
        for place, log in enumerate(logs)
    ]
    for thread in threads:
        thread.start()
    while int(anvil.rpc("txpool_status")["pending"], 16) < len(logs):
        pass
    anvil.mine()
    for thread in threads:
        thread.join(20)
    places = set()
    for place, log in enumerate(logs):
        anchor = chain.view.newest_anchor(FIRST, log)
        assert anchor is not None
        statement = chain.proofs.receipt_proof(anchor)
        header = read_header(statement.header)
        assert (header.hash, header.number, header.time) == (anchor.block.hash, anchor.block.number, anchor.block.time)
        receipt = receipt_under(header.receipts_root, statement.receipt_index, statement.receipt_path)
        assert receipt is not None
        (event,) = anchor_events(receipt)
        assert (
            event.contract,
            event.log_id,
            event.member.rstrip(b"\0").decode(),
            event.size,
            event.root,
            event.note_digest,
        ) == (
            consortium.deployment.address("Anchors"),
            log,
            consortium.members[0].member_id,
            place + 1,
            DIGEST,
            log,
        )
        places.add(statement.receipt_index)
    assert places == set(range(len(logs)))


def test_an_anchor_that_is_on_no_chain_cannot_be_proven(chain: Chain) -> None:
    log = os.urandom(32)
    chain.writer.anchor(log, 1, DIGEST, DIGEST)
    anchor = chain.view.newest_anchor(FIRST, log)
    assert anchor is not None
    with pytest.raises(ChainUnavailable):
        chain.proofs.receipt_proof(replace(anchor, transaction_hash=os.urandom(32)))


def test_the_adapter_is_what_the_exchange_asks_for(chain: Chain) -> None:
    """The type checker proves it; this keeps the statement where it looks."""
    view: ChainView = chain.view
    writer: ChainWriter = chain.writer
    proofs: ChainProofs = chain.proofs
    assert (view, writer, proofs) == (chain.view, chain.writer, chain.proofs)


def test_the_size_of_the_newest_head_counts_blocks_that_are_not_final_yet(
    chain: Chain, consortium: Consortium, tmp_path: Path
) -> None:
    log = os.urandom(32)
    network = replace(consortium.network, finality=FinalityRule.DEPTH, depth=2)
    careful = consortium.open(consortium.members[1], tmp_path / "careful", network)
    assert careful.proofs.mined_size(FIRST, log) == 0
    chain.writer.anchor(log, 7, b"\1" * 32, b"\2" * 32)
    careful.view.refresh()
    assert careful.view.newest_anchor(FIRST, log) is None
    assert careful.proofs.mined_size(FIRST, log) == 7
    assert careful.proofs.mined_size(SECOND, log) == 0  # the same id under another member is another log
    careful.close()
