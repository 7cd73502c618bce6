"""The port ChainProofs: proof for an auditor that a head is anchored, which holds without any chain at hand."""

from __future__ import annotations

from audit.receipt_proof import build_receipt_proof
from audit.verifier import MAX_LATER, ChainStatement, Malformed, read_header, receipt_under
from node.chain.abi import ContractABI
from node.chain.block_evidence import encoded_receipts, raw_header
from node.chain.deployment import Deployment
from node.chain.endpoints import Endpoints
from node.chain.finality import final_head, header_at
from node.chain.json_rpc import hexadecimal, read_bytes, read_receipt
from node.chain.network import Network
from node.chain.rows import member_word
from node.errors import ChainMismatch, ChainUnavailable
from node.model.chain import Anchor


class Proofs:
    """Collects block headers and receipts from the endpoints. Blocking; safe for use by several threads."""

    def __init__(self, network: Network, deployment: Deployment, endpoints: Endpoints, anchors: ContractABI) -> None:
        self._anchors = anchors
        self._network = network
        self._deployment = deployment
        self._endpoints = endpoints

    @property
    def chain_id(self) -> int:
        """Of the network."""
        return self._network.chain_id

    def final_hash(self, number: int) -> bytes | None:
        """The hash of the block of this number; None while it is not final. Raises ChainUnavailable."""
        head = final_head(self._network, self._endpoints)
        if head is None or number > head.number:
            return None
        header = header_at(self._endpoints, number)
        return header.hash if header is not None else None

    def mined_size(self, member_id: str, log_id: bytes) -> int:
        """The size of a log's newest head in any block. Raises ChainUnavailable, ChainMismatch."""
        asked = {
            "to": hexadecimal(self._deployment.address("Anchors")),
            "data": hexadecimal(self._anchors.call("headOf", member_word(member_id), log_id)),
        }
        _, _, size = self._anchors.result("headOf", read_bytes(self._endpoints.ask("eth_call", asked, "latest")))
        return int(size)

    def receipt_proof(self, anchor: Anchor) -> ChainStatement:
        """The chain's part of an evidence file for this anchor, checked as an auditor will check it.

        Raises:
            ChainMismatch: the network's header rule does not lead to the block hash, or the receipts not to their root.
            ChainUnavailable: no endpoint answers, or none keeps the block any more.
        """
        block = anchor.block
        asked = hexadecimal(anchor.transaction_hash)
        receipt = read_receipt(self._endpoints.ask("eth_getTransactionReceipt", asked))
        if receipt is None or receipt.block_hash != block.hash:
            raise ChainUnavailable(f"no endpoint keeps the anchoring transaction {asked}", block=block.number)
        header = raw_header(self._network, self._endpoints, block.number, block.hash)
        receipts = encoded_receipts(self._endpoints, block.hash)
        index = receipt.transaction_index
        if index >= len(receipts):
            raise ChainUnavailable(f"the endpoint does not list every receipt of block {block.number}")
        path = build_receipt_proof(receipts, index)
        if not _leads(header, index, path):
            raise ChainMismatch(
                f"the receipts of block {block.number} do not lead to their root in its header", block=block.number
            )
        return ChainStatement(
            network=self._network.name,
            chain_id=self._network.chain_id,
            contract=self._deployment.address("Anchors"),
            block_number=block.number,
            header=header,
            receipt_index=index,
            receipt_path=tuple(path),
            later=self._later(block.number) if self._network.seal_epoch else (),
        )

    def _later(self, number: int) -> tuple[bytes, ...]:
        """The headers of the blocks that make a block final: whoever sealed them vouches for it."""
        found = []
        for above in range(number + 1, number + 1 + min(self._network.depth, MAX_LATER)):
            header = header_at(self._endpoints, above)
            if header is not None:
                found.append(raw_header(self._network, self._endpoints, above, header.hash))
        return tuple(found)


def _leads(header: bytes, index: int, path: list[bytes]) -> bool:
    """Whether the proof is one as the auditor's verifier takes it."""
    try:
        return receipt_under(read_header(header).receipts_root, index, path) is not None
    except Malformed:
        return False
