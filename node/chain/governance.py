"""Membership by proposal, and a member's own keys: what operators and security teams do on the contract Members."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from eth_hash.auto import keccak

from node.chain.abi import ContractABI, Event
from node.chain.admission import Admission, KeySet
from node.chain.deployment import Deployment
from node.chain.endpoints import Endpoints
from node.chain.finality import final_head
from node.chain.journal_store import Call
from node.chain.json_rpc import hexadecimal, read_logs
from node.chain.network import Network
from node.chain.rows import member_id_of, member_word
from node.chain.sender import Sender
from node.errors import ChainUnavailable
from node.model.chain import MemberStatus, Mined, Role


class ProposalKind(IntEnum):
    """What a proposal would do (contract Members)."""

    ADMISSION = 0
    STATUS_CHANGE = 1
    ROLES_CHANGE = 2
    THRESHOLD_CHANGE = 3


@dataclass(frozen=True)
class Proposal:
    """A proposal. `content`: ABI encoding of what its kind needs; `approvals`: ids of the authorities that approved."""

    number: int
    kind: ProposalKind
    content: bytes
    approvals: tuple[str, ...] = ()
    executed: bool = False


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

    def approve(self, proposal: int) -> Mined:
        """Approve a proposal; at the threshold it is carried out."""
        return self._send(f"approve-proposal:{proposal}", "approve", proposal)

    def rotate_keys(self, keys: KeySet) -> Mined:
        """Put new keys in force for this member. If they name another account, later transactions need that account."""
        data = self._contract.call("rotateKeys", keys.words())
        return self._send(f"rotate:{keccak(data).hex()}", "rotateKeys", keys.words())

    def declare_compromise(self, epoch: int, since_seconds: int) -> Mined:
        """Declare that the keys of an epoch may be in others' hands since a time (Unix, s)."""
        return self._send(f"compromise:{epoch}:{since_seconds}", "declareCompromise", epoch, since_seconds)

    def proposals(self) -> list[Proposal]:
        """Every proposal up to the newest final block, by number, with its approvals."""
        found: dict[int, Proposal] = {}
        for event in self._events():
            match event.name, event.values:
                case "Proposed", (number, _, kind, content):
                    found[number] = Proposal(number, ProposalKind(kind), content)
                case "Approved", (number, authority):
                    held = found[number]
                    approvals = (*held.approvals, member_id_of(authority))
                    found[number] = Proposal(number, held.kind, held.content, approvals, held.executed)
                case "Executed", (number,):
                    held = found[number]
                    found[number] = Proposal(number, held.kind, held.content, held.approvals, executed=True)
                case _:
                    pass
        return [found[number] for number in sorted(found)]

    def _events(self) -> list[Event]:
        head = final_head(self._network, self._endpoints)
        events: list[Event] = []
        start = self._deployment.block
        while head is not None and start <= head.number:
            stop = min(start + self._network.range_blocks - 1, head.number)
            asked = {"address": hexadecimal(self._address), "fromBlock": hex(start), "toBlock": hex(stop)}
            logs = sorted(
                read_logs(self._endpoints.ask("eth_getLogs", asked)), key=lambda log: (log.block_number, log.log_index)
            )
            events += [event for log in logs if (event := self._contract.event(log)) is not None]
            start = stop + 1
        return events

    def _propose(self, purpose: str, function: str, *values: object, again: bool = False) -> tuple[int, Mined]:
        mined = self._send(purpose, function, *values, again=again)
        receipt = self._sender.receipt(mined.transaction_hash)
        for log in () if receipt is None else receipt.logs:
            event = self._contract.event(log) if log.address == self._address else None
            if event is not None and event.name == "Proposed":
                return event.values[0], mined
        raise ChainUnavailable(f"the chain does not show what Members.{function} did", purpose=purpose)

    def _send(self, purpose: str, function: str, *values: object, again: bool = False) -> Mined:
        call = Call(self._address, self._contract.call(function, *values), f"Members.{function}")
        return self._sender.send(purpose, call, again=again)
