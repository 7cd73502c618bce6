"""Membership by proposal, and a member's own keys: what operators and security teams do on the contract Members."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eth_hash.auto import keccak

from node.chain.abi import ContractABI, Event
from node.chain.admission import Admission, KeySet
from node.chain.deployment import Deployment
from node.chain.endpoints import Endpoints
from node.chain.finality import final_head
from node.chain.journal_store import Call
from node.chain.json_rpc import hexadecimal, read_logs
from node.chain.network import Network
from node.chain.proposals import CouncilRecord, Proposal, record_of
from node.chain.rows import member_word
from node.chain.sender import Sender
from node.errors import ChainUnavailable
from node.model.chain import KeyKind, MemberStatus, Mined, Role


class Governance:
    """Acts of one member, by its account. Blocking, journaled; raises TransactionRefused and ChainUnavailable."""

    def __init__(
        self,
        sender: Sender,
        network: Network,
        deployment: Deployment,
        endpoints: Endpoints,
        interfaces: dict[str, ContractABI],
    ) -> None:
        self._sender = sender
        self._network = network
        self._deployment = deployment
        self._endpoints = endpoints
        self._contract = interfaces["Members"]
        self._address = deployment.address("Members")

    def propose_admission(self, admission: Admission) -> tuple[int, Mined]:
        """Propose to admit a member. Returns the proposal's number; with a threshold of one it is carried out at once."""
        return self._propose(f"admit:{admission.member_id}", "proposeAdmission", admission.words())

    def propose_status(self, member_id: str, status: MemberStatus) -> tuple[int, Mined]:
        """Propose to suspend, reinstate or remove a member."""
        purpose = f"status:{member_id}:{status.name}"
        return self._propose(purpose, "proposeStatus", member_word(member_id), int(status), again=True)

    def propose_roles(self, member_id: str, roles: Role) -> tuple[int, Mined]:
        """Propose to change a member's roles."""
        return self._propose(
            f"roles:{member_id}:{int(roles)}", "proposeRoles", member_word(member_id), int(roles), again=True
        )

    def propose_threshold(self, threshold: int) -> tuple[int, Mined]:
        """Propose another number of approvals."""
        return self._propose(f"threshold:{threshold}", "proposeThreshold", threshold, again=True)

    def propose_recovery(self, member_id: str, keys: KeySet) -> tuple[int, Mined]:
        """Propose other keys for a member that lost its account; they must name an account that nobody had."""
        values = member_word(member_id), keys.words()
        purpose = f"recover:{member_id}:{keccak(self._contract.call('proposeRecovery', *values)).hex()}"
        return self._propose(purpose, "proposeRecovery", *values, again=True)

    def approve(self, proposal: int) -> Mined:
        """Approve a proposal; at the threshold it is carried out."""
        return self._send(f"approve-proposal:{proposal}", "approve", proposal)

    def rotate_keys(self, keys: KeySet, epoch: int) -> Mined:
        """Put new keys in force for this member. If they name another account, later transactions need that account.

        Args:
            keys: what is to be in force.
            epoch: the number of the epoch in force that this goes out from. The contract refuses any other (EpochPassed), so that of
                two rotations that were begun at once one is lost, and is told so.
        """
        return self._sender.send(*self._rotation(keys, epoch))

    def rehearse_rotation(self, keys: KeySet, epoch: int) -> int:
        """Try a rotation without sending it; the gas that it would take. Raises as `rotate_keys` would; journals nothing."""
        _, call = self._rotation(keys, epoch)
        return self._sender.rehearse(call)

    def declare_compromise(self, kind: KeyKind, epochs: Sequence[int], since_seconds: int) -> Mined:
        """Declare that this member's key of a kind may be in others' hands since a time.

        Args:
            kind: which key. An account in force that is declared compromised acts for nobody from then on: rotate first.
            epochs: numbers of every epoch in which the key stood (`Member.epochs_of_key`), at least one, each once.
            since_seconds: Unix time, s; not in the future, and before what was declared of the same epochs already.
        """
        return self._sender.send(*self._declaration(kind, epochs, since_seconds))

    def rehearse_compromise(self, kind: KeyKind, epochs: Sequence[int], since_seconds: int) -> int:
        """Try a declaration without sending it; the gas that it would take. Raises as `declare_compromise` would; journals nothing."""
        _, call = self._declaration(kind, epochs, since_seconds)
        return self._sender.rehearse(call)

    def proposals(self) -> list[Proposal]:
        """Every proposal up to the newest final block, by number, with its approvals."""
        return list(self.council().proposals)

    def council(self) -> CouncilRecord:
        """The threshold and every proposal, up to the newest final block. Raises ChainUnavailable, ChainMismatch."""
        return record_of(self._events())

    def carried(self, mined: Mined) -> bool:
        """Whether this transaction, a proposal or an approval, carried a proposal out. Raises ChainUnavailable."""
        return any(event.name == "Executed" for event in self._left(mined))

    def _rotation(self, keys: KeySet, epoch: int) -> tuple[str, Call]:
        call = self._call("rotateKeys", keys.words(), epoch)
        return f"rotate:{keccak(call.data).hex()}", call

    def _declaration(self, kind: KeyKind, epochs: Sequence[int], since_seconds: int) -> tuple[str, Call]:
        numbers = ",".join(map(str, epochs))
        call = self._call("declareCompromises", list(epochs), int(kind), since_seconds)
        return f"compromise:{kind.name}:{numbers}:{since_seconds}", call

    def _events(self) -> Iterator[tuple[int, Event]]:
        head = final_head(self._network, self._endpoints)
        start = self._deployment.block
        while head is not None and start <= head.number:
            stop = min(start + self._network.range_blocks - 1, head.number)
            asked = {"address": hexadecimal(self._address), "fromBlock": hex(start), "toBlock": hex(stop)}
            logs = sorted(
                read_logs(self._endpoints.ask("eth_getLogs", asked)), key=lambda log: (log.block_number, log.log_index)
            )
            for log in logs:
                event = self._contract.event(log)
                if event is not None:
                    yield log.block_number, event
            start = stop + 1

    def _left(self, mined: Mined) -> Iterator[Event]:
        """The events of Members that a transaction left."""
        receipt = self._sender.receipt(mined.transaction_hash)
        for log in () if receipt is None else receipt.logs:
            event = self._contract.event(log) if log.address == self._address else None
            if event is not None:
                yield event

    def _propose(self, purpose: str, function: str, *values: object, again: bool = False) -> tuple[int, Mined]:
        mined = self._send(purpose, function, *values, again=again)
        for event in self._left(mined):
            if event.name == "Proposed":
                return event.values[0], mined
        raise ChainUnavailable(f"the chain does not show what Members.{function} did", purpose=purpose)

    def _send(self, purpose: str, function: str, *values: object, again: bool = False) -> Mined:
        return self._sender.send(purpose, self._call(function, *values), again=again)

    def _call(self, function: str, *values: object) -> Call:
        return Call(self._address, self._contract.call(function, *values), f"Members.{function}")
