"""`kiteline audit mirror`: follow another member's log through the own node, so that it can be put back, or shown, when it is needed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from audit.errors import StoreAbsent
from audit.keeping.mirror import Mirror
from crypto.credit_code import check_credit_code
from crypto.engine import load_engine
from kiteline.exchange.v1 import department_pb2 as pb
from node.app.settings import load
from node.cli.connection import connected
from node.cli.known import chain_says
from node.cli.output import Output
from node.cli.session import DEFAULT_CONFIG, ConfigOption, JSONOption, holding
from node.errors import PeerUnavailable, RangeInvalid
from node.exchange.context import audit_origin
from node.rpc.client import Client
from node.rpc.errors import NodeUnavailable

mirror_epilog = "Example: kiteline audit mirror --member 113707000042591160 --to /mirrors/health --once"


def mirror(
    member: Annotated[str, typer.Option(help="Whose log: the member's credit code.")],
    to: Annotated[Path, typer.Option(help="Directory of the mirror; made if it is absent.", file_okay=False)],
    once: Annotated[bool, typer.Option("--once", help="Stop when everything is here that there is now.")] = False,
    interval: Annotated[int, typer.Option(min=1, help="Seconds between two looks.")] = 60,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Follow another member's log through the own node. Nothing is kept that does not lead to a head which the member signed."""
    with holding(as_json=as_json) as output, _stopping() as stop:
        check_credit_code(member)
        while True:
            document: dict[str, object] = {}
            try:
                with connected(config) as client:
                    document = _follow(client, member, to, config, output)
                if not once:
                    output.note(f"{document['entries']:,} entries, signed head at {document['signed_head']:,}")
            except (NodeUnavailable, PeerUnavailable) as why:
                if once:
                    raise
                output.note(f"{why.reason} {why}; trying again")
            if once or stop.wait(interval):
                output.result(document)
                return


def _follow(client: Client, member: str, to: Path, config: Path, output: Output) -> dict[str, object]:
    """One look: everything that the member's log has now."""
    # The member may have rotated its keys since the last look.
    settings = load(config)
    keys, engine = chain_says(settings, member).keys, load_engine(settings.engine)

    def fetch(first: int, count: int) -> bytes:
        wanted = pb.GetMemberRangeRequest(member_id=member, first=first, count=count, anchored=False)
        return b"".join(answer.piece for answer in client.department.GetMemberRange(wanted))

    try:
        opened = Mirror.open(to, engine, keys)
    except StoreAbsent:
        # Asked first: a member that refuses leaves no empty mirror behind.
        fetch(0, 1)
        opened = Mirror.create(to, audit_origin(member), engine, keys)
    with opened, output.progress("entries", None) as bar:
        try:
            opened.follow(fetch, bar.to)
        except RangeInvalid:
            # It has fewer entries than are here. What it signs now says whether it is the same log still.
            opened.compare(fetch(0, 1))
            raise
        signed = opened.head.size if opened.head is not None else 0
        return {"member": member, "mirror": str(to), "entries": opened.size, "signed_head": signed}


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, so that a mirror ends between two steps."""
    stop = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
