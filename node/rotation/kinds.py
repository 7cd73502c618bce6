"""What changing a key of each kind means beyond the key store: what is tried beforehand, what makes it so, and what is brought along afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from crypto.engine import Engine
from crypto.errors import KeyInvalid
from crypto.sm3 import sm3
from crypto.wrap import wrap_secrets
from node.chain.account import RemoteAccount, address_of
from node.chain.adapter import Chain
from node.chain.admission import KeySet
from node.errors import KeysNotInForce, NotAMember
from node.exchange.context import Context
from node.exchange.opening import kept_context
from node.keys.ring import KeyRing
from node.model.chain import KeyEpoch
from node.model.keys import CHAIN_KINDS, Kind
from node.stores.datasets import DatasetDirectory
from node.stores.vault import DiskVaults
from node.stores.vault_rewrapping import KeyChange

_PROBE = b"kiteline/key-check/v1"  # what a new key is tried on; never the text of a note, which ends with a line feed

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Places:
    """Where this node's keys are of consequence.

    Attributes:
        context: the running node.
        ring: its keys.
        chains: the network of members and grants, then those that get the log's heads.
        datasets, vaults: what lies wrapped on its disk.
    """

    context: Context
    ring: KeyRing
    chains: Sequence[Chain]
    datasets: DatasetDirectory
    vaults: DiskVaults

    @property
    def engine(self) -> Engine:
        """What computes."""
        return self.context.engine

    def in_force(self, chain: Chain) -> KeyEpoch:
        """This member's keys as a chain has them. Raises NotAMember."""
        member = chain.view.member(self.context.member_id)
        if member is None:
            raise NotAMember("this node's member is not on the chain", member=self.context.member_id)
        return member.keys


def check_in_force(ring: KeyRing, keys: KeyEpoch, *, but: Kind | None = None) -> None:
    """Raise KeysNotInForce unless the active keys of the stores are those that a chain has. `but`: a kind that is being changed."""
    for kind in CHAIN_KINDS:
        if kind is not but and digest_on_chain(keys, kind) != digest_in_store(ring, kind):
            raise KeysNotInForce(
                f"the chain has another key of the kind {kind} in force (epoch {keys.epoch})", kind=kind
            )


def digest_on_chain(keys: KeyEpoch, kind: Kind) -> object:
    """What tells a key of an epoch from others."""
    match kind:
        case Kind.SIGNING:
            return keys.signing_key.digest()
        case Kind.ENCRYPTION:
            return keys.encryption_key.digest()
        case Kind.TLS:
            return sm3(keys.certificate)
        case _:
            return keys.account


def digest_in_store(ring: KeyRing, kind: Kind, number: int | None = None) -> object:
    """The same of a key in the store: the active one, or the one of this number."""
    record = ring.record(kind) if number is None else ring.keeper(kind).manifest.record(kind, number)
    if kind is Kind.ACCOUNT:
        return address_of(ring.keeper(kind).account(record.number).public_bytes())
    return record.digest


def next_keys(places: Places, chain: Chain, kind: Kind, number: int) -> tuple[KeySet, int]:
    """What is to be in force on a chain, and the epoch from which."""
    held, ring = places.in_force(chain), places.ring
    keys = KeySet(
        held.signing_key.to_bytes(), held.encryption_key.to_bytes(), held.account, held.certificate, held.endpoint
    )
    keeper = ring.keeper(kind)
    match kind:
        case Kind.SIGNING:
            keys = replace(keys, signing_key=keeper.signer(number).public_key.to_bytes())
        case Kind.ENCRYPTION:
            keys = replace(keys, encryption_key=keeper.decrypter(number).public_key.to_bytes())
        case Kind.TLS:
            keys = replace(keys, certificate=ring.tls(number).certificate_der())
        case _:
            keys = replace(keys, account=address_of(keeper.account(number).public_bytes()))
    return keys, held.epoch


def try_key(places: Places, kind: Kind, number: int, progress: Progress) -> str:
    """Do with the next key everything but what changes something. Gives a sentence about it. Raises what the commit would."""
    keeper, said = places.ring.keeper(kind), []
    match kind:
        case Kind.SIGNING:
            signer = keeper.signer(number)
            places.engine.sm2_verify_many([signer.public_key], [_PROBE], signer.sign_many([_PROBE]))
            said.append("it signs, and the signature verifies")
        case Kind.ENCRYPTION:
            decrypter = keeper.decrypter(number)
            if decrypter.decrypt(places.engine.sm2_encrypt(decrypter.public_key, _PROBE)) != _PROBE:
                raise KeyInvalid("the new key does not open what is encrypted to it")
            report = places.vaults.rehearse_rewrap(_change(places, number), progress)
            said.append(f"it opens what is encrypted to it; {report.rewrapped} deliveries' keys would be wrapped anew")
        case Kind.ACCOUNT:
            # Whoever signs for another account than it says is found out here.
            account = keeper.account(number)
            RemoteAccount.behind(account.public_bytes(), account.sign_hash).sign_transaction(
                {"nonce": 0, "gas": 0, "gasPrice": 0, "value": 0, "data": b"", "chainId": 0}
            )
            said.append("it signs for its address")
        case Kind.TLS:
            places.ring.tls(number)
            said.append("certificate and key belong together")
        case Kind.AT_REST:
            done = places.datasets.rehearse_rewrap(number, progress)
            said.append(
                f"{done.values} secrets of {done.datasets} datasets were wrapped anew and opened, and not written"
            )
    if kind in CHAIN_KINDS:
        for chain in places.chains:
            gas = chain.governance.rehearse_rotation(*next_keys(places, chain, kind, number))
            said.append(f"the contract on {chain.network.name} would take it, for {gas:,} gas")
    return "; ".join(said)


def put_in_force(places: Places, kind: Kind, number: int) -> None:
    """Have the chains take the next key: on return each has it in a final block. May be called again after any crash.

    Raises:
        TransactionRefused: a contract does not take it; nothing changed there.
        ChainUnavailable: it is not known yet; the same call again goes on.
    """
    wanted = digest_in_store(places.ring, kind, number)
    for chain in places.chains:
        chain.view.refresh()
        is_there = digest_on_chain(places.in_force(chain), kind) == wanted
        if kind is Kind.ACCOUNT:
            _change_account(places, chain, number, is_there=is_there)
        elif not is_there:
            chain.governance.rotate_keys(*next_keys(places, chain, kind, number))


def _change_account(places: Places, chain: Chain, number: int, *, is_there: bool) -> None:
    """Have a chain take the next account, and sign with it from then on. A process that was killed between the two does the second alone."""
    account = places.ring.keeper(Kind.ACCOUNT).account(number)
    after = RemoteAccount.behind(account.public_bytes(), account.sign_hash)
    if chain.sender.address == after.address:
        return
    if is_there:
        chain.change_account(after, lambda: None)
        return
    keys, epoch = next_keys(places, chain, Kind.ACCOUNT, number)
    chain.move_funds(after.address)
    chain.change_account(after, partial(chain.governance.rotate_keys, keys, epoch))


def bring_along(places: Places, kind: Kind, progress: Progress) -> str:
    """Wrap anew, under the active key, what lies under others. May be called again after any crash. Gives a sentence about it, or nothing."""
    if kind is Kind.AT_REST:
        done = places.datasets.rewrap(places.ring.record(kind).number, progress)
        return f"{done.rewrapped} secrets wrapped anew"
    if kind is Kind.ENCRYPTION:
        report = places.vaults.rewrap(_change(places, places.ring.record(kind).number), progress)
        left = f", {report.unopened_count} open under no key and stay" if report.unopened_count else ""
        return f"{report.rewrapped} deliveries' keys wrapped anew{left}"
    return ""


def is_done_with(places: Places, kind: Kind, number: int) -> bool:
    """Whether nothing is left for a retiring key."""
    if kind is Kind.AT_REST:
        return places.datasets.under(number) == 0
    return True


def _change(places: Places, number: int) -> KeyChange:
    """To the encryption key of this number."""
    context, recipient = places.context, places.ring.keeper(Kind.ENCRYPTION).decrypter(number).public_key
    return KeyChange(
        recipient.digest(),
        context.unwrap,
        partial(wrap_secrets, context.engine, context.random, recipient),
        partial(kept_context, context),
    )
