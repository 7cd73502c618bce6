"""Refusals on the wire: a gRPC status with one google.rpc.ErrorInfo (AIP-193), and back to the same class.

The reason is what programs compare; the status code is what libraries and proxies understand. A reason that has no row
below is FAILED_PRECONDITION. What comes from another node is text that a stranger wrote: it is cut and made printable
before anything else sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo  # type: ignore[import-untyped]  # generated without types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # likewise

from crypto.errors import Refusal, refusals_by_reason
from node.errors import NodeError, PeerUnavailable, RequestTooLarge

DOMAIN = "kiteline"
DETAILS_KEY = "grpc-status-details-bin"  # where gRPC libraries look for a google.rpc.Status

# Trailers are headers of HTTP/2, for which most implementations take 8 KiB in all.
MAX_MESSAGE_CHARACTERS = 500
MAX_DETAILS = 16
MAX_DETAIL_CHARACTERS = 200

_CODES: Mapping[grpc.StatusCode, frozenset[str]] = {
    grpc.StatusCode.INVALID_ARGUMENT: frozenset(
        {
            "CREDIT_CODE_INVALID",
            "DECRYPTION_FAILED",
            "ENCODING_INVALID",
            "EVIDENCE_INVALID",
            "EVIDENCE_MALFORMED",
            "KEY_INVALID",
            "PROOF_INVALID",
            "RECEIPT_INVALID",
            "RECORD_INVALID",
            "STATEMENT_INVALID",
            "SUBJECT_INVALID",
            "TERMS_INVALID",
        }
    ),
    grpc.StatusCode.UNAUTHENTICATED: frozenset({"SIGNATURE_INVALID"}),
    grpc.StatusCode.PERMISSION_DENIED: frozenset(
        {
            "DATASET_NOT_SHARED",
            "GRANT_EXPIRED",
            "GRANT_FIELDS",
            "GRANT_NOT_APPROVED",
            "GRANT_REVOKED",
            "KEY_COMPROMISED",
            "NOT_A_MEMBER",
            "NOT_AN_AUDITOR",
            "NOT_THIS_DEPARTMENT",
        }
    ),
    grpc.StatusCode.NOT_FOUND: frozenset(
        {
            "DATASET_UNKNOWN",
            "ENTRY_UNKNOWN",
            "FETCH_UNKNOWN",
            "GRANT_UNKNOWN",
            "RECORD_UNKNOWN",
            "STORE_ABSENT",
        }
    ),
    grpc.StatusCode.ALREADY_EXISTS: frozenset({"DATASET_EXISTS", "GRANT_DECIDED", "STORE_EXISTS"}),
    grpc.StatusCode.OUT_OF_RANGE: frozenset({"RANGE_INVALID"}),
    grpc.StatusCode.ABORTED: frozenset({"ORDER_REPLAYED", "STORE_LOCKED", "WITNESS_BEHIND"}),
    grpc.StatusCode.RESOURCE_EXHAUSTED: frozenset(
        {"DISK_FULL", "GRANT_USED_UP", "RECEIPTS_OUTSTANDING", "REQUEST_TOO_LARGE"}
    ),
    grpc.StatusCode.UNAVAILABLE: frozenset({"CHAIN_UNAVAILABLE", "LOG_CLOSED", "PEER_UNAVAILABLE"}),
    grpc.StatusCode.DATA_LOSS: frozenset(
        {"DELIVERY_INVALID", "ROOT_MISMATCH", "LOG_FORKED", "STORE_BEHIND", "STORE_DAMAGED"}
    ),
    grpc.StatusCode.INTERNAL: frozenset({"INTERNAL"}),
}
_CODE_OF = {reason: code for code, reasons in _CODES.items() for reason in reasons}

_UNREACHED = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN}
)


class PeerRefused(NodeError):
    """Another node refused with a reason that this program does not know; the instance keeps that node's reason."""

    reason = "PEER_REFUSED"
    seen_by = "caller"
    remedy = "Look the reason up in the documentation of the other node's version."


class NodeUnavailable(NodeError):
    """The department's own node does not answer."""

    reason = "NODE_UNAVAILABLE"
    seen_by = "caller"
    remedy = "Start the node with `kiteline serve`, or correct `listen` in the configuration that was given."


def status_code(reason: str) -> grpc.StatusCode:
    """The canonical code of a reason."""
    return _CODE_OF.get(reason, grpc.StatusCode.FAILED_PRECONDITION)


def trailers(refusal: Refusal) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that carries a refusal's reason and details."""
    details = list(refusal.details.items())[:MAX_DETAILS]
    info = ErrorInfo(
        reason=refusal.reason,
        domain=DOMAIN,
        metadata={name: printable(value, MAX_DETAIL_CHARACTERS) for name, value in details},
    )
    status = Status(code=status_code(refusal.reason).value[0], message=message_of(refusal))
    status.details.add().Pack(info)
    return ((DETAILS_KEY, status.SerializeToString()),)


def message_of(refusal: Refusal) -> str:
    """The refusal's sentence, for people."""
    return printable(str(refusal), MAX_MESSAGE_CHARACTERS)


def refusal_of(
    code: grpc.StatusCode,
    message: str | None,
    trailing_metadata: Iterable[tuple[str, str | bytes]] | None,
    *,
    peer: str,
    unreached: type[Refusal] = PeerUnavailable,
) -> Refusal:
    """The refusal that a failed call stands for.

    Args:
        code: the call's status.
        message: its text.
        trailing_metadata: its trailers.
        peer: whom the call was made to, for the details.
        unreached: what it means that nobody answered.
    """
    text = printable(message or "", MAX_MESSAGE_CHARACTERS)
    info = _error_info(trailing_metadata)
    if info is not None:
        return _rebuilt(info, text, peer)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return RequestTooLarge(f"the message is above the limit of its receiver: {text}", peer=peer)
    if code in _UNREACHED:
        return unreached(f"no answer from {peer}: {text}", peer=peer, status=code.name)
    return unreached(f"{peer} did not serve the call: {code.name} {text}", peer=peer, status=code.name)


def known_reasons() -> dict[str, type[Refusal]]:
    """Every class that states a reason, by it."""
    import_module("audit.errors")  # for its classes; crypto's and node's are imported above
    return refusals_by_reason()


def printable(text: str, limit: int) -> str:
    """At most `limit` characters of a text, on one line."""
    return "".join(char if char.isprintable() else "�" for char in text[:limit])


def _error_info(trailing_metadata: Iterable[tuple[str, str | bytes]] | None) -> ErrorInfo | None:
    for key, value in trailing_metadata or ():
        if key != DETAILS_KEY or not isinstance(value, bytes):
            continue
        try:
            status = Status.FromString(value)
            for detail in status.details:
                info = ErrorInfo()
                if detail.Unpack(info) and info.domain == DOMAIN and info.reason:
                    return info
        except DecodeError:
            return None
    return None


def _rebuilt(info: ErrorInfo, message: str, peer: str) -> Refusal:
    reason = printable(info.reason, MAX_DETAIL_CHARACTERS)
    kind = known_reasons().get(reason, PeerRefused)
    # A class may ask more of its constructor than the wire carries; the base takes just this.
    refusal = kind.__new__(kind)
    details = {
        printable(name, MAX_DETAIL_CHARACTERS): printable(value, MAX_DETAIL_CHARACTERS)
        for name, value in sorted(info.metadata.items())[:MAX_DETAILS]
    }
    Refusal.__init__(refusal, message)
    refusal.details = {"peer": peer} | details
    if kind is PeerRefused:
        refusal.__dict__["reason"] = reason
    return refusal
