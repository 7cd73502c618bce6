"""Headers and receipts are encoded as the block's hash and receipts root say."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
import rlp
from eth_hash.auto import keccak

from node.chain.adapter import Chain
from node.chain.block_evidence import ETHEREUM_FIELDS, encode_header, encoded_receipts, raw_header
from node.chain.endpoints import Endpoints
from node.chain.network import HeaderRule
from node.errors import ChainMismatch
from tests.support.consortium import Consortium

RECEIPTS_ROOT = 5
DIGEST = b"\7" * 32
LEAF_OF_FIRST_KEY = b"\x20\x80"  # hex-prefix encoding of a leaf's path: the nibbles of rlp(0), all of them


def test_the_header_leads_to_the_hash_and_the_receipt_to_the_root(chain: Chain, consortium: Consortium) -> None:
    block = chain.writer.anchor(os.urandom(32), 1, DIGEST, DIGEST).block
    header = raw_header(consortium.network, chain.endpoints, block.number, block.hash)
    assert keccak(header) == block.hash
    (receipt,) = encoded_receipts(chain.endpoints, block.hash)
    assert keccak(rlp.encode([LEAF_OF_FIRST_KEY, receipt])) == rlp.decode(header)[RECEIPTS_ROOT]


def test_a_wrong_header_rule_is_noticed(chain: Chain, consortium: Consortium) -> None:
    block = chain.writer.anchor(os.urandom(32), 1, DIGEST, DIGEST).block
    short = replace(consortium.network, header_fields=ETHEREUM_FIELDS[:-7])
    with pytest.raises(ChainMismatch, match="does not lead to its hash"):
        raw_header(short, chain.endpoints, block.number, block.hash)
    for rule, said in ((HeaderRule.BFT_EXTRA, "is not that of QBFT"), (HeaderRule.NONE, "cannot be computed")):
        with pytest.raises(ChainMismatch, match=said):
            raw_header(replace(consortium.network, header=rule), chain.endpoints, block.number, block.hash)


class RawHeaderEndpoints(Endpoints):
    """An engine that hands its headers out raw."""

    def __init__(self, consortium: Consortium, header: bytes) -> None:
        super().__init__(consortium.network)
        self._header = header

    def attempt(self, method: str, *parameters: object) -> object:
        """The raw header, whatever is asked."""
        assert (method, parameters) == ("debug_getRawHeader", ("0x5",))
        return "0x" + self._header.hex()


def test_the_hash_of_a_qbft_header_leaves_out_round_and_seals(consortium: Consortium) -> None:
    """As Besu computes it: round 0 and no seals in the extra data (encodeWithoutCommitSealsAndRoundNumber)."""
    fields: list[Any] = [bytes([place]) for place in range(1, 17)]
    extra: list[Any] = [bytes(32), [b"\1" * 20, b"\2" * 20], []]
    fields[12] = rlp.encode([*extra, b"\3", [b"\4" * 65, b"\5" * 65]])
    sealed = rlp.encode(fields)
    fields[12] = rlp.encode([*extra, b"", []])
    hashed = rlp.encode(fields)
    network = replace(consortium.network, header=HeaderRule.BFT_EXTRA)
    endpoints = RawHeaderEndpoints(consortium, sealed)
    assert raw_header(network, endpoints, 5, keccak(hashed)) == hashed
    endpoints.close()


def test_fields_that_a_block_lacks_are_newer_than_its_chain() -> None:
    block = {"parentHash": "0x01", "number": "0x0", "extraData": "0x", "baseFeePerGas": None}
    assert encode_header(block, ETHEREUM_FIELDS) == rlp.encode([b"\1", b"", b""])
