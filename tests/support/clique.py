"""What a test does to validators of Clique: who sealed a block, who may seal the next, and cutting the network in two."""

from __future__ import annotations

import json
import subprocess
import time
import tomllib
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import rlp
import tomli_w
from eth_account import Account
from eth_hash.auto import keccak

from audit.verifier import read_rlp
from node.chain.block_evidence import raw_header
from node.chain.endpoints import Endpoints
from node.chain.finality import header_at
from node.chain.json_rpc import Header, read_quantity
from node.chain.network import Network, load_network
from node.engine.description import load_engine
from node.engine.program import find_program
from scripts.local_consortium import NETWORKS, LocalConsortium
from tests.support.peer_client import until

CLIQUE = NETWORKS / "clique" / "network.toml"
VALIDATORS = 4
EXTRA_DATA = 12  # place in a header's list
SEAL_BYTES = 65  # at the end of the extra data (EIP-225)
ATTACH_SECONDS = 60
STOPS = 5
LONGEST_SEALING_SECONDS = 1 + 3 / 2 + 1  # and one, since times of blocks are whole seconds


def signer(header: bytes) -> str:
    """Who sealed a block: recovered from the seal over the header without it (EIP-225)."""
    fields: Any = read_rlp(header)
    extra = fields[EXTRA_DATA]
    fields[EXTRA_DATA] = extra[:-SEAL_BYTES]
    seal = extra[-SEAL_BYTES:]
    # EIP-225 counts the parity of the point from 0, eth-account from 27.
    signature = seal[:-1] + bytes([seal[-1] + 27])
    return str(Account._recover_hash(keccak(rlp.encode(fields)), signature=signature))[2:].lower()


class Validators:
    """The validators of a running consortium, by number from 1."""

    def __init__(self, consortium: LocalConsortium) -> None:
        self._homes = consortium.directory / "chain" / "validators"
        self._network = load_network(consortium.directory / "network.toml")
        program = find_program(load_engine(CLIQUE))
        assert program is not None
        self._program = program

    @property
    def numbers(self) -> list[int]:
        """All of them."""
        return sorted(int(home.name) for home in self._homes.iterdir() if home.name.isdecimal())

    def accounts(self) -> dict[str, int]:
        """Number by address: 40 lowercase hexadecimal digits."""
        files = {number: self._home(number) / "keystore" / "account.json" for number in self.numbers}
        addresses = {number: json.loads(file.read_text(encoding="ascii"))["address"] for number, file in files.items()}
        return {address.removeprefix("0x").lower(): number for number, address in addresses.items()}

    def endpoint(self, number: int) -> str:
        """The address of one's JSON-RPC."""
        return self._network.endpoints[number - 1]

    def attach(self, number: int, script: str) -> str:
        """What one's own console answers to a script."""
        command = [str(self._program), "attach", "--exec", script, str(self._home(number) / "geth.ipc")]
        finished = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=ATTACH_SECONDS, check=True
        )
        return finished.stdout.decode().strip()

    def height(self, number: int) -> int:
        """The newest block that one has."""
        return int(self.attach(number, "eth.blockNumber"))

    def header(self, number: int, height: int) -> Header | None:
        """The header that one has at a height."""
        with closing(Endpoints(self._of(number))) as endpoints:
            return header_at(endpoints, height)

    def transactions(self, number: int, height: int) -> int:
        """How many transactions one's block at a height holds."""
        with closing(Endpoints(self._of(number))) as endpoints:
            return read_quantity(endpoints.ask("eth_getBlockTransactionCountByNumber", hex(height)))

    def waiting(self, number: int) -> int:
        """How many transactions one has that are in no block."""
        return int(self.attach(number, "txpool.status.pending"))

    def start_mining(self) -> None:
        """Let all make blocks again."""
        for number in self.numbers:
            self.attach(number, "miner.start()")

    def stop_mining(self) -> int:
        """Let nobody make blocks. Gives the height at which all have the same block then."""
        for _ in range(STOPS):
            heights = self._stopped()
            if len(heights) == 1:
                return heights.pop().number
            # Two made a block at once, and nobody goes on from either: let one of them win.
            self.start_mining()
            until(lambda heights=heights: self.height(1) > max(one.number for one in heights) + 1)  # type: ignore[misc]
        raise AssertionError("the validators never stop at one block")

    def _stopped(self) -> set[Header]:
        """The newest blocks of all after they were told to stop.

        A block that was being sealed still comes: within the second of the period, and what a validator waits whose turn it is not (EIP-225: half a
        second for each of floor(n/2)+1).
        """
        for number in self.numbers:
            self.attach(number, "miner.stop()")
        newest: set[Header] = set()

        def quiet() -> bool:
            found = [self.header(number, self.height(number)) for number in self.numbers]
            newest.clear()
            newest.update(header for header in found if header is not None)
            return all(time.time() > header.time + LONGEST_SEALING_SECONDS for header in newest)

        until(quiet)
        return newest

    def halves(self, height: int) -> tuple[list[int], list[int]]:
        """Two sides that can both go on from this height, the second one for longer, so that its blocks outweigh those of the first.

        A validator that sealed one of the last two blocks may not seal the next one (EIP-225: one in floor(n/2)+1). Each side gets one of those
        that may; the one whose turn it is, and who sealed the older of the two blocks and so may go on next, are on the second.
        """
        known = self.accounts()
        last, before = (known[self._signer(height - back)] for back in (0, 1))
        turns = [known[address] for address in sorted(known)]
        free = [number for number in turns if number not in {last, before}]
        in_turn = turns[(height + 1) % len(turns)]
        free.sort(key=lambda number: number == in_turn)
        return [free[0], last], [free[1], before]

    def cut(self, one: Collection[int], other: Collection[int]) -> None:
        """Let no validator of one side know those of the other."""
        self._each_other("removePeer", one, other)
        for number in (*one, *other):
            until(lambda number=number: int(self.attach(number, "net.peerCount")) == 1)  # type: ignore[misc]

    def join(self, one: Collection[int], other: Collection[int]) -> None:
        """Let them meet again."""
        self._each_other("addPeer", one, other)

    def _each_other(self, verb: str, one: Collection[int], other: Collection[int]) -> None:
        enodes = {number: self.attach(number, "admin.nodeInfo.enode") for number in (*one, *other)}
        for here, there in ((one, other), (other, one)):
            for number in here:
                calls = "; ".join(f"admin.{verb}({enodes[peer]})" for peer in there)
                self.attach(number, calls)

    def _signer(self, height: int) -> str:
        header = self.header(self.numbers[0], height)
        assert header is not None
        with closing(Endpoints(self._network)) as endpoints:
            return signer(raw_header(self._network, endpoints, height, header.hash))

    def _of(self, number: int) -> Network:
        return replace(self._network, endpoints=(self.endpoint(number),))

    def _home(self, number: int) -> Path:
        return self._homes / str(number)


def file_with(network: Path, target: Path, endpoints: Sequence[str], **changes: object) -> Path:
    """A network file with other endpoints, and other tables in place of those of that name."""
    document = tomllib.loads(network.read_text(encoding="utf-8"))
    target.write_text(tomli_w.dumps({**document, "endpoints": list(endpoints), **changes}), encoding="utf-8")
    return target
