"""Sends transactions: journaled before they are sent, one for a purpose, one for a nonce, and waited for.

The order of steps, and what recovers from a crash after each:
1. Try the call without sending it. Nothing has happened yet.
2. Journal the signed transaction. The same call again, or `resume`, sends it.
3. Send it. The same call again, or `resume`, sends it once more; the chain knows it by its hash and takes it once.
4. Wait until its block is final. The same call again, or `sweep`, waits on.
5. Journal the block. The same call again gives that block.
The account may change between two transactions (`change_account`). What the journal holds of an account from before is sent as it was signed; once
this account is in force, and that one can do nothing any more, it is signed anew by this one.
An answer that does not come is never read as absence: what was journaled may still be mined.

It is long because every step and its recovery stand beside each other; what needs no state of it is in `engine_words`, `turnstile` and `fees`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

import structlog
from eth_account.signers.local import LocalAccount

from node.chain.account import AccountSigner, Transaction, signer_of
from node.chain.endpoints import Endpoints
from node.chain.engine_words import ALREADY_THERE, NO_FUNDS, NONCE_TAKEN, is_rejection, says
from node.chain.fees import gas_of, outbid, present_fees
from node.chain.finality import Finality
from node.chain.journal_store import Call, Entry, JournalStore, State
from node.chain.json_rpc import (
    Fault,
    Receipt,
    hexadecimal,
    read_quantity,
    read_receipt,
)
from node.chain.network import FeeRule, Network
from node.chain.purse import balance_of
from node.chain.turnstile import Turnstile
from node.errors import (
    AccountUnfunded,
    ChainMismatch,
    ChainUnavailable,
    TransactionPending,
    TransactionRefused,
)
from node.model.chain import Mined

GAS_MARGIN = 1.25  # the state may have moved between estimate and block
FIRST_WAIT_SECONDS = 0.02
RESEND_SECONDS = 5.0
DEADLINE_SECONDS = 120.0
CHANGE_SECONDS = 60.0
FAULT_EXECUTION_REVERTED = 3


T = TypeVar("T")


class Sender:
    """Sends for one account at a time. Safe for use by several threads; calls of different purposes run side by side.

    Args:
        account: signs.
        explain: turns what a contract returned on refusing into words.
        acts: whether an account (EIP-55) is a member's account in force in every final block, so that no other account of the member is.
        clock: Unix time, ms.
        wait: waits for so many seconds, or less if the sender is being stopped.
        deadline_seconds: how long `send` waits for a final block.
    """

    def __init__(  # noqa: PLR0913 (each is a part that tests replace)
        self,
        network: Network,
        endpoints: Endpoints,
        journal: JournalStore,
        account: LocalAccount | AccountSigner,
        finality: Finality,
        *,
        explain: Callable[[bytes], str],
        acts: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], int],
        wait: Callable[[float], object] | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self._network = network
        self._endpoints = endpoints
        self._journal = journal
        self._signer = signer_of(account)
        self._finality = finality
        self._explain = explain
        self._acts = acts
        self._clock = clock
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait
        self._turnstile = Turnstile(self._stopping.is_set)
        self._log = structlog.get_logger(component="chain")
        self._resend_ms = 0  # when `sweep` may send again
        self._deadline_ms = int(deadline_seconds * 1_000)

    @property
    def address(self) -> str:
        """The account that signs, EIP-55."""
        return self._signer.address

    @property
    def _address(self) -> bytes:
        return _bytes_of(self._signer)

    def stop(self) -> None:
        """Let calls that wait end with ChainUnavailable; what they sent is found again after the next start."""
        self._stopping.set()
        self._turnstile.wake()

    def change_account(
        self,
        account: LocalAccount | AccountSigner,
        act: Callable[[], T],
        *,
        deadline_seconds: float = CHANGE_SECONDS,
    ) -> T:
        """Go over to another account, without a stop: what is under way is finished, `act` is done, then the other account signs.

        Calls of other threads wait meanwhile. Whatever is raised, the account from before goes on signing. A crash at any point is
        recovered from by opening the chain with either account: before the rotation is final the old one can do everything, and
        afterwards the new one finishes what the old one began.

        Args:
            account: what is to sign from now on.
            act: puts it in force, on this thread and by the account from before: the rotation's own transaction, sent by this sender.
            deadline_seconds: how long transactions under way may take to final blocks.

        Returns:
            What `act` returned.

        Raises:
            TransactionPending: they took longer. The same call again goes on. Also if the rotation itself was sent and is not final in
                time: the same call again joins it.
            ChainMismatch: after `act` the other account is not in force.
        """
        signer = signer_of(account)
        with self._turnstile.held():
            self._finish_all(self._clock() + int(deadline_seconds * 1_000))
            result = act()
            if not self._acts(signer.address):
                raise ChainMismatch(f"{signer.address} is no member's account in force", account=signer.address)
            self._signer = signer
        return result

    def send(self, purpose: str, call: Call, *, again: bool = False) -> Mined:
        """Do a thing on the chain, once, and wait until its block is final.

        Args:
            purpose: names the thing; the same purpose is the same transaction.
            call: what to do.
            again: whether it may be done once more after it was done, because the state may have gone back since.

        Raises:
            TransactionRefused: the contract refuses, or (AccountUnfunded) the account cannot pay; nothing changed.
            TransactionPending: no final block came in time; it may still be mined, and the same call again waits on.
            ChainUnavailable: no endpoint answers, and nothing was journaled.
        """
        with self._turnstile.passing():
            try:
                return self._do(purpose, call, again=again)
            except ChainUnavailable as cause:
                if self._journal.entry(purpose) is None:
                    raise
                raise TransactionPending(f"{call.title} is journaled and may still be mined: {cause}") from cause

    def done(self, purpose: str) -> Mined | None:
        """Where this purpose was mined, if it was."""
        entry = self._journal.entry(purpose)
        return entry.mined if entry is not None and entry.state is State.MINED else None

    def resume(self) -> None:
        """Send every unfinished transaction again, in order of nonces, for what the network asks now. Raises ChainUnavailable.

        Also those that nobody waits for: one that the market has left behind would hold up all that have a higher nonce. And those of
        accounts from before: signed anew where this one is in force, else as they were signed.
        """
        entries = self._taken_over()
        fees = self._fees() if entries and self._network.fees is FeeRule.MARKET else {}
        for entry in entries:
            self._broadcast(self._outbid(entry, fees) if fees else entry)

    def sweep(self) -> None:
        """Finish what was mined while nobody waited for it, and send again, now and then, what is in no block. Raises ChainUnavailable."""
        is_lost = False
        for entry in self._taken_over():
            receipt = self._found_receipt(entry)
            if receipt is not None:
                self._finish(entry, receipt)
            is_lost = is_lost or receipt is None
        # The call that made it may have ended without knowing whether it was taken, and nobody may ever repeat that call.
        now = self._clock()
        if is_lost and now >= self._resend_ms:
            self._resend_ms = now + int(RESEND_SECONDS * 1_000)
            self.resume()

    def reorganised(self, ancestor: int) -> None:
        """Take note that blocks above `ancestor` are gone: what they held is sent again."""
        if self._journal.reopen_above(ancestor):
            self.resume()

    def receipt(self, transaction_hash: bytes) -> Receipt | None:
        """What the chain says of a transaction; None if it is in no block. Raises ChainUnavailable."""
        receipt = read_receipt(self._endpoints.ask("eth_getTransactionReceipt", hexadecimal(transaction_hash)))
        if receipt is not None and receipt.transaction_hash != transaction_hash:
            raise ChainUnavailable("an endpoint answered with the receipt of another transaction")
        return receipt

    def _finish_all(self, deadline: int) -> None:
        """Wait until nothing of this account is under way. Raises TransactionPending at the deadline (Unix time, ms)."""
        pause = FIRST_WAIT_SECONDS
        while True:
            self._finality.refresh()
            self.sweep()
            waiting = self._journal.unfinished(self._address)
            if not waiting and not self._turnstile.inside:
                return
            if self._clock() >= deadline or self._stopping.is_set():
                titles = ", ".join(sorted({entry.call.title for entry in waiting}))
                raise TransactionPending(
                    f"the account stays as it is: no final block holds {titles or 'what others are sending'} yet",
                    account=self.address,
                )
            self._wait(pause)
            pause = min(2 * pause, self._network.poll_seconds)

    def _taken_over(self) -> list[Entry]:
        """Every unfinished entry, those of accounts from before signed anew where they can be."""
        entries = []
        for entry in self._journal.unfinished():
            try:
                entries.append(self._take_over(entry))
            except AccountUnfunded as cause:
                self._log.warning(
                    "a transaction of an account from before waits", purpose=entry.purpose, why=str(cause)
                )
                entries.append(entry)
            except TransactionRefused as cause:
                self._log.warning(
                    "a transaction of an account from before is given up", purpose=entry.purpose, why=str(cause)
                )
        return entries

    def _take_over(self, entry: Entry) -> Entry:
        """An entry of an account from before as this account goes on with it; any other as it is.

        Once this account is in force the contracts refuse that one, so what it signed and is not mined cannot be done by it any more. A
        bare transfer can: it is about that account's money, and stays as it was signed.

        Raises:
            TransactionRefused: it cannot be done by this account either, and is forgotten.
            AccountUnfunded: this account cannot pay for it yet.
        """
        signer = self._signer
        if entry.account == _bytes_of(signer) or not entry.call.data or not self._acts(signer.address):
            return entry
        receipt = self._found_receipt(entry)
        if receipt is not None and receipt.succeeded:
            return entry
        try:
            gas = self._rehearse(entry.call)
        except AccountUnfunded:
            raise
        except TransactionRefused:
            if self._found_receipt(entry) is not None:
                return entry  # it is done, or was refused for good
            self._journal.discard(entry)
            raise
        fees, count = self._fees(), self._count("pending")
        entry = self._journal.renew(
            entry, count, lambda nonce: self._sign(entry.call, nonce, gas, fees, signer), _bytes_of(signer)
        )
        self._broadcast(entry)
        return entry

    def _do(self, purpose: str, call: Call, *, again: bool) -> Mined:
        entry = self._journal.entry(purpose)
        if entry is not None and entry.is_done(call, again=again) and entry.mined is not None:
            return entry.mined
        if entry is None or entry.state is not State.PENDING:
            entry = self._begin(purpose, call, again=again)
        else:
            entry = self._revive(entry)
        if entry.call == call:
            return entry.mined or self._settle(entry)
        # Something else is under way under this purpose: wait for it, then see what is left to do.
        with contextlib.suppress(TransactionRefused):  # whoever wanted that was told, or is gone
            self._settle(entry)
        return self._do(purpose, call, again=again)

    def _begin(self, purpose: str, call: Call, *, again: bool) -> Entry:
        try:
            gas = self._rehearse(call)
        except TransactionRefused:
            entry = self._journal.entry(purpose)
            if entry is not None and (entry.state is State.PENDING or entry.is_done(call, again=again)):
                return entry  # another thread did this very thing meanwhile, which is why it cannot be done now
            raise
        fees = self._fees()
        nonce, signer = self._count("pending"), self._signer
        # A crash here leaves nothing behind; from the next line on the journal knows.
        entry = self._journal.begin(
            purpose,
            call,
            _bytes_of(signer),
            nonce,
            lambda nonce: self._sign(call, nonce, gas, fees, signer),
            again=again,
        )
        if entry.state is State.PENDING:
            fault = self._broadcast(entry)
            if fault is not None and says(fault, NONCE_TAKEN):
                return self._revive(entry)
            if fault is not None and not is_rejection(fault):
                raise ChainUnavailable(f"the chain did not say whether it took it: {fault.message}", code=fault.code)
            if fault is not None:
                # No engine takes it, so it can never be mined, and its nonce is free again.
                self._journal.discard(entry)
                if says(fault, NO_FUNDS):
                    raise self._unfunded(call, fault)
                raise TransactionRefused(
                    f"{call.title} was not taken by the chain: {fault.message}", call=call.title, purpose=purpose
                )
        return entry

    def rehearse(self, call: Call) -> int:
        """Try a call without journaling or sending it; the gas that a transaction of it is given.

        Raises:
            TransactionRefused: the contract refuses, with its own error, or (AccountUnfunded) the account cannot pay.
            ChainUnavailable: no endpoint answers.
        """
        gas = self._rehearse(call)
        if self._network.fees is FeeRule.MARKET:
            # An estimate asks for no price, so it finds no empty account; a transaction of it would be refused for that.
            price = self._fees()["maxFeePerGas"]
            held = balance_of(self._endpoints, self.address)
            if held < gas * price + call.value:
                raise AccountUnfunded(
                    f"{call.title} cannot be paid by {self.address}: it has {held} wei and may need {gas * price + call.value}",
                    call=call.title,
                    account=self.address,
                )
        return gas

    def _rehearse(self, call: Call) -> int:
        """Gas for a call, after trying it. Raises TransactionRefused with the contract's own error."""
        asked = self._asked(call)
        answer: object = self._endpoints.attempt("eth_call", asked, "latest") if call.to else None
        if not isinstance(answer, Fault):
            answer = self._endpoints.attempt("eth_estimateGas", asked)
        if isinstance(answer, Fault):
            if answer.data or answer.code == FAULT_EXECUTION_REVERTED or "revert" in answer.message.lower():
                said = self._explain(answer.data) if answer.data else answer.message
                raise TransactionRefused(f"{call.title} was refused: {said}", call=call.title, error=said)
            if says(answer, NO_FUNDS):
                raise self._unfunded(call, answer)
            raise ChainUnavailable(f"{call.title} could not be tried: {answer.message}", call=call.title)
        return int(read_quantity(answer) * GAS_MARGIN)

    def _fees(self) -> dict[str, int]:
        return present_fees(self._network, self._endpoints)

    def _sign(self, call: Call, nonce: int, gas: int, fees: dict[str, int], signer: AccountSigner) -> bytes:
        transaction: Transaction = {
            "nonce": nonce,
            "gas": gas,
            "value": call.value,
            "data": call.data,
            "chainId": self._network.chain_id,
            **fees,
        }
        if call.to:
            transaction["to"] = call.to
        return signer.sign_transaction(transaction)

    def _broadcast(self, entry: Entry) -> Fault | None:
        """Send an entry's newest transaction. The endpoint's refusal, unless it says that it has it already."""
        answer = self._endpoints.attempt("eth_sendRawTransaction", hexadecimal(entry.signed[-1]))
        if isinstance(answer, Fault) and not says(answer, ALREADY_THERE):
            return answer
        return None

    def _settle(self, entry: Entry) -> Mined:
        deadline = self._clock() + self._deadline_ms
        resend = self._clock() + int(RESEND_SECONDS * 1_000)
        pause = FIRST_WAIT_SECONDS
        while True:
            entry = self._journal.entry(entry.purpose) or entry  # another thread may have made it pay more
            entry = self._take_over(entry)
            receipt = self._found_receipt(entry)
            if receipt is not None:
                self._finality.refresh()
                mined = self._finish(entry, receipt)
                if mined is not None and receipt.succeeded:
                    return mined
                if mined is not None:
                    raise self._refusal(entry.call, mined)
            now = self._clock()
            if now >= deadline or self._stopping.is_set():
                raise ChainUnavailable("no final block holds it yet", transaction=hexadecimal(entry.hashes[-1]))
            if now >= resend:
                entry = self._revive(entry)
                resend = now + int(RESEND_SECONDS * 1_000)
            self._wait(pause)
            pause = min(2 * pause, self._network.poll_seconds)

    def _finish(self, entry: Entry, receipt: Receipt) -> Mined | None:
        """Journal the final block of an entry; None while it is not final, or if its block was replaced meanwhile."""
        block = self._finality.final_block(receipt.block_number)
        if block is None or block.hash != receipt.block_hash:
            return None
        mined = Mined(receipt.transaction_hash, block)
        self._journal.finish(entry, mined, succeeded=receipt.succeeded)
        return mined

    def _found_receipt(self, entry: Entry) -> Receipt | None:
        """The receipt of whichever transaction of an entry did it; else of the newest that was refused in a block; else None.

        That one of an earlier nonce, or of an account from before, was refused says nothing: it was signed anew since.
        """
        found = [receipt for digest in reversed(entry.hashes) if (receipt := self.receipt(digest)) is not None]
        newest = entry.hashes[len(entry.hashes) - len(entry.signed) :]
        refused = (receipt for receipt in found if receipt.transaction_hash in newest)
        return next((receipt for receipt in found if receipt.succeeded), next(refused, None))

    def _refusal(self, call: Call, mined: Mined) -> TransactionRefused:
        """The error for a transaction that a block refused: the call is made once more on that block to learn why."""
        asked = self._asked(call)
        answer = self._endpoints.attempt("eth_call", asked, hex(mined.block.number))
        if isinstance(answer, Fault):
            said = self._explain(answer.data) if answer.data else answer.message
        else:
            said = "the contract's state changed in the same block"
        return TransactionRefused(
            f"{call.title} was refused: {said}",
            call=call.title,
            error=said,
            transaction=hexadecimal(mined.transaction_hash),
        )

    def _unfunded(self, call: Call, fault: Fault) -> AccountUnfunded:
        return AccountUnfunded(
            f"{call.title} cannot be paid by {self.address}: {fault.message}", call=call.title, account=self.address
        )

    def _asked(self, call: Call) -> dict[str, str]:
        """A call as `eth_call` and `eth_estimateGas` take it."""
        asked = {"from": self.address, "data": hexadecimal(call.data)}
        if call.to:
            asked["to"] = hexadecimal(call.to)
        if call.value:
            asked["value"] = hex(call.value)
        if self._network.fees is FeeRule.ZERO:
            asked["gasPrice"] = "0x0"
        return asked

    def _revive(self, entry: Entry) -> Entry:
        """Bring an entry that is in no block before the chain again, in the way that its case needs."""
        entry = self._take_over(entry)
        if self._found_receipt(entry) is not None:
            return entry
        if entry.account == self._address and self._count("latest") > entry.nonce:
            if self._found_receipt(entry) is not None:
                return entry  # mined between the two questions
            # Another transaction of this account took the nonce for good, so ours can never be mined any more.
            entry = self._renew(entry)
        self.resume()  # those of lower nonces too: ours waits for them
        return self._journal.entry(entry.purpose) or entry

    def _renew(self, entry: Entry) -> Entry:
        """Sign an entry's call for another nonce. Raises TransactionRefused if it cannot be done any more."""
        call = entry.call
        try:
            gas = self._rehearse(call)
        except TransactionRefused:
            # Perhaps because it is done: an endpoint that is behind knew the count and not yet the receipt.
            if self._found_receipt(entry) is not None:
                return entry
            self._journal.discard(entry)
            raise
        fees, signer = self._fees(), self._signer
        return self._journal.renew(
            entry, self._count("pending"), lambda nonce: self._sign(call, nonce, gas, fees, signer), entry.account
        )

    def _outbid(self, entry: Entry, fees: dict[str, int]) -> Entry:
        """Replace a transaction by one of the same nonce that pays more, if the market has left it behind."""
        signer = self._signer
        if entry.account != _bytes_of(signer):
            return entry  # this account cannot raise what another one offered
        raised = outbid(fees, entry.signed[-1])
        if raised is None or self._found_receipt(entry) is not None:
            return entry
        # With its own gas: what the call would take now does not matter, since it may have been done in another form meanwhile.
        return self._journal.replace(
            entry, self._sign(entry.call, entry.nonce, gas_of(entry.signed[-1]), raised, signer)
        )

    def _count(self, tag: str) -> int:
        return read_quantity(self._endpoints.ask("eth_getTransactionCount", self.address, tag))


def _bytes_of(signer: AccountSigner) -> bytes:
    """An account's address, 20 bytes, as the journal has it."""
    return bytes.fromhex(signer.address[2:])
