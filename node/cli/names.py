"""Ids as people type them: all 64 digits, or the first ones where they name one grant or dataset alone.

A beginning that fits two is refused, never guessed: a requester chooses its grants' ids and could make two look alike.
"""

from __future__ import annotations

from collections.abc import Iterable

import typer

from kiteline.exchange.v1 import department_pb2 as pb
from node.errors import DatasetUnknown, GrantUnknown
from node.rpc.client import Client

WHOLE = 64  # hexadecimal digits of 32 bytes
SHORTEST = 8  # digits that are taken as a beginning
SHOWN = 12  # digits that tables show

GRANT_HELP = "The grant: its 64 hexadecimal digits, or the first 8 or more as `kiteline grants` shows them."
DATASET_HELP = "The dataset: its 64 hexadecimal digits, or the first 8 or more as `kiteline catalogue` shows them."


def grant_id(client: Client, text: str) -> bytes:
    """The grant that a person means. Raises GrantUnknown where no grant of this department, or more than one, begins so."""
    if _is_whole(text, "grant"):
        return bytes.fromhex(text)
    grants = client.department.ListGrants(pb.ListGrantsRequest()).grants
    found = _beginning(text, (grant.grant_id for grant in grants))
    if len(found) != 1:
        raise GrantUnknown(_which("grant of this department", text, found), beginning=text)
    return found[0]


def dataset_id(client: Client, text: str) -> bytes:
    """The dataset that a person means. Raises DatasetUnknown where none in the catalogue, or more than one, begins so."""
    if _is_whole(text, "dataset"):
        return bytes.fromhex(text)
    entries = client.department.ListCatalogue(pb.ListCatalogueRequest()).entries
    found = _beginning(text, (entry.dataset.dataset_id for entry in entries))
    if len(found) != 1:
        raise DatasetUnknown(_which("dataset of the catalogue", text, found), beginning=text)
    return found[0]


def short(identity: str) -> str:
    """What a table shows of an id; enough for every command."""
    return identity[:SHOWN]


def _is_whole(text: str, what: str) -> bool:
    if any(char not in "0123456789abcdef" for char in text) or not SHORTEST <= len(text) <= WHOLE:
        raise typer.BadParameter(
            f"a {what} is named by its 64 lower-case hexadecimal digits, or by the first 8 or more"
        )
    return len(text) == WHOLE


def _beginning(text: str, ids: Iterable[bytes]) -> list[bytes]:
    return [identity for identity in ids if identity.hex().startswith(text)]


def _which(what: str, text: str, found: list[bytes]) -> str:
    if not found:
        return f"no {what} begins with {text}; any other is named by all its 64 digits"
    return f"more than one {what} begins with {text}: {', '.join(identity.hex() for identity in found)}"
