"""The keys that a running node uses now: one value that is replaced whole when a key changes (port `node.ports.Keys`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from crypto.signer import Decrypter, Signer
from node.errors import KeyStoreInvalid
from node.keys.keeper import Keeper
from node.keys.manifest import KeyRecord, State
from node.keys.material import AtRestKey, HashSigner, TLSFiles
from node.keys.store import KeyStore, opened_as
from node.model.keys import Kind

# Something wrapped to these may still be on its way, or lie in the vault; of a key that is compromised above all.
_OPENING = (State.ACTIVE, State.NEXT, State.RETIRING, State.COMPROMISED)
_READING = frozenset({State.ACTIVE, State.NEXT, State.RETIRING})


@dataclass(frozen=True)
class InUse:
    """What is in use. `at_rest`: every key of the disk that something may be wrapped under, by number; `at_rest_active`: the one for what is new."""

    signer: Signer
    decrypters: tuple[Decrypter, ...]
    account: HashSigner
    tls: TLSFiles
    at_rest_active: int
    at_rest: Mapping[int, bytes] = field(repr=False)


class KeyRing:
    """The keys of a node, for use. Reading it costs nothing; `renew` is called after each step that changes a key's state.

    Args:
        store: the node's own store: connections and the disk, and everything else that no agent keeps.
        agent: what keeps the other keys, if the node's process must not have them.
    """

    def __init__(self, store: KeyStore, agent: Keeper | None = None) -> None:
        self._store = store
        self._keepers: tuple[Keeper, ...] = (store,) if agent is None else (store, agent)
        self._watchers: list[Callable[[], None]] = []
        self._in_use = self._read()

    @property
    def keepers(self) -> tuple[Keeper, ...]:
        """Who keeps keys; each of its own kinds."""
        return self._keepers

    def keeper(self, kind: Kind) -> Keeper:
        """Who keeps the keys of a kind. Raises KeyStoreInvalid unless it is exactly one."""
        found = [keeper for keeper in self._keepers if kind in keeper.manifest.kinds]
        if len(found) != 1:
            raise KeyStoreInvalid(f"{len(found)} stores have keys of the kind {kind}, which must be one")
        return found[0]

    def record(self, kind: Kind) -> KeyRecord:
        """The active key of a kind."""
        return self.keeper(kind).manifest.active(kind)

    @property
    def in_use(self) -> InUse:
        """Everything that is in use, of one moment."""
        return self._in_use

    @property
    def signer(self) -> Signer:
        """See Keys."""
        return self._in_use.signer

    @property
    def decrypters(self) -> Sequence[Decrypter]:
        """See Keys."""
        return self._in_use.decrypters

    def tls(self, number: int) -> TLSFiles:
        """The certificate of this number, with its key."""
        return opened_as(TLSFiles, self._store.material(Kind.TLS, number))

    def renew(self) -> None:
        """Use what the stores say now. Raises KeyInvalid, KeyFileExposed, KeyAgentUnavailable, and then what was in use stays."""
        self._in_use = self._read()
        for watcher in self._watchers:
            watcher()

    def on_renewal(self, watcher: Callable[[], None]) -> None:
        """Call this after each change."""
        self._watchers.append(watcher)

    def _read(self) -> InUse:
        disk = self._store.manifest
        keeps_encryption = self.keeper(Kind.ENCRYPTION)
        opening = sorted(
            (one for one in keeps_encryption.manifest.of(Kind.ENCRYPTION) if one.state in _OPENING),
            key=lambda one: _OPENING.index(one.state),
        )
        at_rest = [one.number for one in disk.of(Kind.AT_REST) if one.state in _READING]
        return InUse(
            signer=self.keeper(Kind.SIGNING).signer(self.record(Kind.SIGNING).number),
            decrypters=tuple(keeps_encryption.decrypter(one.number) for one in opening),
            account=self.keeper(Kind.ACCOUNT).account(self.record(Kind.ACCOUNT).number),
            tls=self.tls(disk.active(Kind.TLS).number),
            at_rest_active=disk.active(Kind.AT_REST).number,
            at_rest={
                number: opened_as(AtRestKey, self._store.material(Kind.AT_REST, number)).secret for number in at_rest
            },
        )
