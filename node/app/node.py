"""A running node: every part opened in order, put together, served, and closed in the reverse order.

What is opened is pushed on one stack, so that a failure half-way through the start closes what was open, and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from audit.checkpoint import log_id
from audit.guard import HeadFile, check_clock, check_not_behind
from audit.index import Index
from audit.log import AuditLog
from crypto.engine import Engine, load_engine
from crypto.notes import NoteKey
from crypto.packed import Packed
from node.app.keys import chain_account, opened_keys
from node.app.metrics import Metrics, Watched
from node.app.networks import read_network_directory
from node.app.process import bound_arenas, calm_collector
from node.app.settings import Settings
from node.app.status import Status
from node.chain.adapter import Chain, open_chain
from node.chain.deployment import load_deployment
from node.chain.network import load_network
from node.errors import ChainUnavailable, ConfigurationInvalid, NotAMember
from node.exchange.anchoring import Anchoring
from node.exchange.auditing import Auditing
from node.exchange.context import AnchorNetwork, Context, Limits, audit_origin
from node.exchange.granting import Granting
from node.exchange.journal import Step as Entry
from node.exchange.ledger import LEDGER_LAYOUT, Ledger
from node.exchange.notes import every_key
from node.exchange.provider import Provider
from node.exchange.requester import Requester
from node.exchange.tracing import Tracing
from node.exchange.witnessing import Witnessing
from node.keys.material import Means
from node.model.events import Event, member_subject
from node.model.keys import Step
from node.rotation.compromise import Compromising
from node.rotation.kinds import Places, check_in_force
from node.rotation.rotating import Rotating
from node.rpc.answers import ProtoAnswers
from node.rpc.audit_service import AuditService
from node.rpc.certificates import TLSIdentity, read_client_certificates
from node.rpc.department_service import DepartmentService
from node.rpc.faces import KeysView
from node.rpc.gate import Gate
from node.rpc.identity import Identities
from node.rpc.keys_service import KeysService
from node.rpc.peer_service import PeerService
from node.rpc.peers import GRPCPeers
from node.rpc.server import Server, Services
from node.stores.at_rest import AtRestHolder, AtRestKeys
from node.stores.datasets import DatasetDirectory
from node.stores.decided_head import DecidedHead
from node.stores.ledger_store import open_ledger
from node.stores.sealed_dataset import DatasetMeans
from node.stores.vault import DiskVaults

LEDGER, DATASETS, VAULTS = "ledger", "datasets", "received"
WITNESSED, ANCHOR_NETWORKS, DECIDED_HEAD = "witnessed", "anchor-networks", "decided.head"
GIGABYTE = 1 << 30
# Bulk work releases the interpreter lock in part only; more threads would wait for it and hold memory.
WORKERS = 8
_LAST_ANCHOR_SECONDS = 15.0  # at shutdown

Clock = Callable[[], int]
Random = Callable[[int], bytes]
Logger = structlog.typing.FilteringBoundLogger


def run_node(settings: Settings, passphrase: bytes, logger: Logger, *, clock: Clock, random: Random) -> None:
    """Serve until SIGTERM or SIGINT. Raises the refusal that keeps the node from starting."""
    bound_arenas()
    calm_collector()
    asyncio.run(_serve(settings, passphrase, logger, clock, random))


async def _serve(settings: Settings, passphrase: bytes, logger: Logger, clock: Clock, random: Random) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(WORKERS, thread_name_prefix="work"))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as opened:
        node = Node(settings, passphrase, logger, clock=clock, random=random, opened=opened)
        await node.start()
        logger.info("serving", address=node.address, member=settings.member_id, engine=node.engine.name)
        await stop.wait()
        logger.info("stopping")
    logger.info("stopped")


class Node:
    """The parts of a node. What it opens it pushes on `opened`."""

    def __init__(  # noqa: PLR0913 - the composition root takes what the process has
        self,
        settings: Settings,
        passphrase: bytes,
        logger: Logger,
        *,
        clock: Clock,
        random: Random,
        opened: AsyncExitStack,
    ) -> None:
        self._settings = settings
        self._logger = logger
        self._clock = clock
        self._opened = opened
        self._begun = time.monotonic()
        self.engine: Engine = load_engine(settings.engine or os.environ.get("KITELINE_ENGINE"), random)
        self._keys = opened.enter_context(
            opened_keys(settings, Means(self.engine, passphrase, random, clock), exclusive=True)
        )
        data = settings.data_directory
        ledger_store, notice = open_ledger(data / LEDGER, LEDGER_LAYOUT)
        opened.callback(ledger_store.close)
        if notice is not None:
            logger.warning("ledger_rebuilt", why=notice)
        self._ledger = Ledger(ledger_store)
        self._index = Index.open(settings.index_directory, audit_origin(settings.member_id))
        opened.callback(self._index.close)
        self._log = AuditLog.open(
            settings.log_directory, self.engine, on_commit=self._reflect, map_bytes=settings.log_map_bytes
        )
        opened.callback(self._log.close)
        # After the log, whose lock keeps a second node on this directory from following the chain, or sending, with it.
        self._chain, self._anchor_chains = self._open_chains()
        self._head_file = HeadFile(settings.head_file)
        self._witnessed_heads: dict[str, HeadFile] = {}
        self._check_log()
        self._check_keys()
        self._ledger.replay(self._log)
        self._index.catch_up(self._log)
        self._context = self._make_context(random)
        self._server = self._make_server(random)

    @property
    def address(self) -> str:
        """host:port that is served."""
        return self._server.address

    async def start(self) -> None:
        """Serve, and anchor on schedule."""
        context, member = self._context, self._settings.member_id
        for refusal in await self._granting.recover_purges():
            self._logger.warning("purge_unfinished", reason=refusal.reason, message=str(refusal))
        for refusal in await self._granting.recover():
            self._logger.warning("publication_unfinished", reason=refusal.reason, message=str(refusal))
        if self._settings.metrics_listen is not None:
            self._opened.callback(self._metrics.serve(self._settings.metrics_listen))
        await self._server.start()
        stop = asyncio.Event()
        anchoring = asyncio.create_task(self._anchoring.run(stop))

        async def end() -> None:
            """Anchor what is left; a chain that does not answer may not keep the node from stopping."""
            stop.set()
            done, _ = await asyncio.wait({anchoring}, timeout=_LAST_ANCHOR_SECONDS)
            if not done:
                self._logger.warning("last_anchor_missing", why="the chain did not answer in time")
                anchoring.cancel()

        # In the reverse order: no more calls, then the last entry, then the anchor over it.
        self._opened.push_async_callback(end)
        await context.journal.record(Entry(Event.NODE_STARTED, member, member_subject(member)))
        self._opened.push_async_callback(
            context.journal.record, Entry(Event.NODE_STOPPED, member, member_subject(member))
        )
        self._opened.push_async_callback(self._server.stop, self._settings.grace_seconds)
        rotating = asyncio.create_task(self._rotating.serve())
        self._opened.push_async_callback(_ended, rotating)
        # Peers may be slow to answer, or not there.
        handing_over = asyncio.create_task(self._granting.keep_handing_over())
        self._opened.push_async_callback(_ended, handing_over)

    def _open_chains(self) -> tuple[Chain, dict[str, Chain]]:
        """The chain of members and grants, and by name the further networks that get the log's heads.

        Without an endpoint the node starts on what its index of the first has; a further one is followed once it answers.
        """
        settings = self._settings
        if not settings.contracts_file.exists():
            raise ConfigurationInvalid(
                f"there is no {settings.contracts_file}; an authority makes it with `kiteline chain deploy`"
            )
        network, deployment = load_network(settings.network_file), load_deployment(settings.contracts_file)
        account = chain_account(self._keys.in_use.account)
        first = open_chain(network, deployment, settings.data_directory, account, clock=self._clock)
        silent = self._follow(first)
        is_member = first.view.member(settings.member_id) is not None
        if silent is not None and not is_member:
            raise silent
        if silent is not None:
            self._logger.warning("chain_unavailable", endpoints=network.endpoints)
        if not is_member:
            raise NotAMember("this department is not on the chain yet; hand admission.json to an authority")
        first.start()
        further: dict[str, Chain] = {}
        names = {network.name}
        for directory in settings.anchor_networks:
            network, deployment = read_network_directory(directory)
            if network.name in names:
                raise ConfigurationInvalid(
                    f"audit.anchor_networks: two networks are called {network.name}", setting="audit.anchor_networks"
                )
            names.add(network.name)
            place = settings.data_directory / ANCHOR_NETWORKS / network.name
            chain = open_chain(network, deployment, place, account, clock=self._clock)
            silent = self._follow(chain)
            if silent is not None:
                self._logger.warning("chain_unavailable", endpoints=network.endpoints)
            elif chain.view.member(settings.member_id) is None:
                raise NotAMember(f"this department is not on the network {network.name} yet")
            chain.start()
            further[network.name] = chain
        return first, further

    def _follow(self, chain: Chain) -> ChainUnavailable | None:
        """Index a chain that was just opened up to its head. Gives why not, if no endpoint answers."""
        self._opened.callback(chain.close)
        try:
            chain.check()
            chain.view.refresh()
        except ChainUnavailable as why:
            return why
        return None

    def _check_log(self) -> None:
        """Compare the log with what it has said before: to anybody, and on the chain. Rather than fork it, do not start.

        Raises:
            StoreBehind, LogForked: the store is an old one, or another one.
            ClockWentBack: what would be logged now could not be put in order.
        """
        settings, tree = self._settings, self._log.tree
        member = self._chain.view.member(settings.member_id)
        known = every_key(member) if member is not None else []
        own = [*known, NoteKey(settings.member_id, self._keys.signer.public_key)]
        decided = settings.data_directory / DECIDED_HEAD
        head = HeadFile(decided).open(self.engine, own)
        if head is not None:
            check_not_behind(tree, head.size, head.root, f"the head to be anchored, {decided},")
        head = self._head_file.open(self.engine, own)
        if head is not None:
            check_not_behind(tree, head.size, head.root, f"the head file {settings.head_file}")
            check_clock(self._clock(), head, settings.max_clock_skew_seconds)
        for name, chain in {"the chain": self._chain, **self._anchor_chains}.items():
            anchor = chain.view.newest_anchor(settings.member_id, log_id(audit_origin(settings.member_id)))
            if anchor is not None:
                check_not_behind(tree, anchor.size, anchor.root, name)

    def _check_keys(self) -> None:
        """Raise KeysNotInForce unless the keys that are active here are those of the chain; a rotation that was being committed may be ahead."""
        member = self._chain.view.member(self._settings.member_id)
        if member is not None:
            rotation = self._list_keys().rotation
            committing = rotation is not None and rotation.step == Step.COMMITTING
            check_in_force(self._keys, member.keys, but=rotation.kind if rotation is not None and committing else None)

    def _reflect(self, first: int, entries: Packed) -> None:
        """What every durable batch does before its callers go on."""
        self._ledger.apply(first, entries)
        self._index.apply(first, entries)

    def _witnessed(self, member_id: str) -> HeadFile:
        """The head file of another member's log, as this node saw it last."""
        return self._witnessed_heads.setdefault(
            member_id, HeadFile(self._settings.data_directory / WITNESSED / f"{member_id}.head")
        )

    def _make_context(self, random: Random) -> Context:
        settings, data = self._settings, self._settings.data_directory
        # Made when a key changes and not at each use, of which there is one for each segment.
        at_rest = AtRestHolder(self._at_rest())
        self._keys.on_renewal(lambda: at_rest.replace(self._at_rest()))
        self._datasets = DatasetDirectory(
            data / DATASETS,
            settings.member_id,
            DatasetMeans(
                engine=self.engine,
                random=random,
                at_rest=at_rest,
                map_bytes=settings.dataset_map_gigabytes * GIGABYTE,
                max_publish_bytes=settings.max_publish_gigabytes * GIGABYTE,
            ),
        )
        self._opened.callback(self._datasets.close)
        self._vaults = DiskVaults(data / VAULTS)
        peers = GRPCPeers(self._chain.view, self._tls, self._clock)
        self._opened.push_async_callback(peers.close)
        return Context(
            member_id=settings.member_id,
            keys=self._keys,
            engine=self.engine,
            clock=self._clock,
            random=random,
            view=self._chain.view,
            writer=self._chain.writer,
            log=self._log,
            tree=self._log.tree,
            index=self._index,
            ledger=self._ledger,
            datasets=self._datasets,
            peers=peers,
            vaults=self._vaults,
            answers=ProtoAnswers(),
            keep_head=self._head_file.keep,
            decided_head=DecidedHead(data / DECIDED_HEAD),
            anchor_networks=tuple(
                AnchorNetwork(name, chain.view, chain.writer, chain.proofs)
                for name, chain in self._anchor_chains.items()
            ),
            limits=Limits(
                delivery_segments=settings.delivery_segments,
                max_clock_skew_seconds=settings.max_clock_skew_seconds,
                max_outstanding_answers=settings.max_outstanding_answers,
                max_outage_seconds=settings.max_outage_seconds,
                finish_orders_seconds=settings.finish_orders_seconds,
                anchor_interval_seconds=settings.anchor_interval_seconds,
                witnesses=settings.witnesses,
                cosignatures_needed=settings.cosignatures_needed,
            ),
        )

    def _expiry(self) -> int:
        """Until when the certificate that is shown now is valid, Unix time, s."""
        return self._keys.in_use.tls.expiry_seconds()

    def _list_keys(self) -> KeysView:
        """Every key, wherever it is kept."""
        manifests = [keeper.manifest for keeper in self._keys.keepers]
        rotation = next((one.rotation for one in manifests if one.rotation is not None), None)
        return KeysView(self._settings.member_id, [key for one in manifests for key in one.keys], rotation)

    def _at_rest(self) -> AtRestKeys:
        """The keys of this node's disk now."""
        in_use = self._keys.in_use
        return AtRestKeys(in_use.at_rest_active, in_use.at_rest)

    def _tls(self) -> TLSIdentity:
        """What this node shows now."""
        files = self._keys.in_use.tls
        return TLSIdentity(files.certificate_pem, files.key_pem)

    def _make_server(self, random: Random) -> Server:
        context, settings, view = self._context, self._settings, self._chain.view
        self._anchoring = Anchoring(context)
        auditing = Auditing(context, self._chain.proofs)
        cosigning = self._anchoring.cosigning
        status = Status(
            settings, context, lambda: self.address, lambda: cosigning.cosigned_by, self._begun, self._expiry
        )
        self._metrics = Metrics(
            Watched(
                log_size=lambda: self._log.size,
                anchored_size=status.anchored_size,
                unanchored_seconds=status.unanchored_seconds,
                certificate_seconds=lambda: self._expiry() - self._clock() // 1_000,
                cosignatures=lambda: len(cosigning.cosigned_by),
                cosignatures_needed=lambda: settings.cosignatures_needed,
                block_number=lambda: view.health().head.number,
                chain_reachable=lambda: view.health().reachable,
                pending_transactions=lambda: view.health().pending_transactions,
                payable_transactions=lambda: self._chain.purse.payable_transactions,
            )
        )
        self._granting = Granting(context)
        self._places = Places(
            context, self._keys, (self._chain, *self._anchor_chains.values()), self._datasets, self._vaults
        )
        self._rotating = Rotating(self._places, settings.settle_seconds, settings.retire_seconds)
        clients = read_client_certificates(map(_certificate, settings.client_certificates))
        services = Services(
            peer=PeerService(settings.member_id, Provider(context)),
            audit=AuditService(auditing, Witnessing(context, self._witnessed), auditing.finality),
            department=DepartmentService(
                granting=self._granting,
                requester=Requester(context),
                anchoring=self._anchoring,
                tracing=Tracing(context, auditing, self._chain.proofs),
                node=status,
            ),
            keys=KeysService(self._rotating, Compromising(self._places, self._rotating), self._list_keys),
        )
        gate = Gate(self._logger, random, self._metrics.call_ended)
        security = read_client_certificates(
            map(_certificate, settings.security_certificates), setting="security_certificates"
        )
        identities = Identities(view, settings.member_id, clients, self._clock, security)
        return Server(settings.listen, self._tls, identities, services, gate)


async def _ended(task: asyncio.Task[None]) -> None:
    """End a task that nobody waits for any more."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _certificate(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise ConfigurationInvalid(f"the client certificate {path} cannot be read: {cause.strerror}") from cause
