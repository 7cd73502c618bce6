"""The signed head of this node's audit log as it is now."""

from __future__ import annotations

from audit.checkpoint import Checkpoint
from node.exchange.context import Context, audit_origin


async def signed_head(context: Context) -> tuple[bytes, Checkpoint]:
    """A checkpoint over every entry that is durable now, as a note and as a value."""
    size = context.tree.size
    head = Checkpoint(audit_origin(context.member_id), size, context.tree.root_at(size), context.clock())
    return await context.notary.sign_text(head.to_text()), head
