"""What a running node says of itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from importlib.metadata import version

from audit.checkpoint import log_id
from audit.entry import parse_entry
from node.app.settings import Settings
from node.exchange.context import Context, audit_origin
from node.model.events import Event
from node.ports import ChainView
from node.rpc.faces import AnchorNetworkStatus, NodeStatus


class Status:
    """See node.rpc.faces.StatusFace. `cosigned_by`: who signed the newest head to be anchored; `begun`: time.monotonic() at the start;
    `certificate_expiry_seconds`: of the certificate that the node shows, Unix time.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what a node says of itself comes from many places
        self,
        settings: Settings,
        context: Context,
        address: Callable[[], str],
        cosigned_by: Callable[[], tuple[str, ...]],
        begun: float,
        certificate_expiry_seconds: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._cosigned_by = cosigned_by
        self._context = context
        self._address = address
        self._begun = begun
        self._certificate_expiry_seconds = certificate_expiry_seconds
        self._log_id = log_id(audit_origin(settings.member_id))

    def anchored_size(self) -> int:
        """Entries of the log that the chain covers."""
        return self._anchored_on(self._context.view)

    def _anchored_on(self, view: ChainView) -> int:
        anchor = view.newest_anchor(self._settings.member_id, self._log_id)
        return anchor.size if anchor is not None else 0

    def unanchored_seconds(self) -> int:
        """How long the oldest entry that no anchor covers has waited. An anchor is logged after the head that it is of, and needs none itself."""
        context = self._context
        for raw in context.log.entries(self.anchored_size(), context.tree.size):
            entry = parse_entry(raw)
            if entry.event != Event.CHECKPOINT_ANCHORED:
                return max(0, context.clock() - entry.time_ms) // 1_000
        return 0

    async def status(self) -> NodeStatus:
        """How the node is now."""
        context, settings = self._context, self._settings
        health = context.view.health()
        size = context.tree.size
        own = [
            one
            for one in context.view.datasets()
            if one.provider_id == settings.member_id and not context.is_purged(one.dataset_id)
        ]
        return NodeStatus(
            member_id=settings.member_id,
            member_name=settings.name,
            version=version("kiteline"),
            engine=context.engine.name,
            listen_address=self._address(),
            log_size=size,
            log_root=context.tree.root_at(size),
            anchored_size=self.anchored_size(),
            chain_reachable=health.reachable,
            chain_id=health.chain_id,
            block_number=health.head.number,
            dataset_count=len(own),
            record_count=sum(dataset.size for dataset in own),
            pending_transactions=health.pending_transactions,
            uptime_seconds=int(time.monotonic() - self._begun),
            witnesses=settings.witnesses,
            cosignatures_needed=settings.cosignatures_needed,
            cosigned_by=self._cosigned_by(),
            certificate_expiry_seconds=self._certificate_expiry_seconds(),
            unanchored_seconds=await asyncio.to_thread(self.unanchored_seconds),
            anchor_networks=tuple(
                AnchorNetworkStatus(one.name, one.view.health().reachable, self._anchored_on(one.view))
                for one in context.anchor_networks
            ),
        )
