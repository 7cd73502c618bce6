"""What a node logs: one event a step, and the subject that it is about."""

from __future__ import annotations

import re
from enum import StrEnum

from crypto.credit_code import check_credit_code
from crypto.errors import CreditCodeInvalid
from node.errors import SubjectInvalid

NOBODY = "-"  # stands for an actor or a subject that there is not
_SUBJECT_ID = re.compile(r"(grant|dataset):[0-9a-f]{64}")


class Event(StrEnum):
    """The steps of the life of data, and what else a node must account for."""

    DATASET_DESCRIBED = "DATASET_DESCRIBED"
    VERSION_PUBLISHED = "VERSION_PUBLISHED"
    DATASET_PURGED = "DATASET_PURGED"
    REQUEST_SENT = "REQUEST_SENT"
    REQUEST_RECEIVED = "REQUEST_RECEIVED"
    DECISION_MADE = "DECISION_MADE"
    DECISION_RECEIVED = "DECISION_RECEIVED"
    GRANT_REVOKED = "GRANT_REVOKED"
    ORDER_SENT = "ORDER_SENT"
    ORDER_RECEIVED = "ORDER_RECEIVED"
    DELIVERY_SENT = "DELIVERY_SENT"
    DELIVERY_RECEIVED = "DELIVERY_RECEIVED"
    RECEIPT_SENT = "RECEIPT_SENT"
    RECEIPT_RECEIVED = "RECEIPT_RECEIVED"
    KEYS_RELEASED = "KEYS_RELEASED"
    KEYS_RECEIVED = "KEYS_RECEIVED"
    TRANSFER_COMPLETED = "TRANSFER_COMPLETED"
    TRANSFER_VERIFIED = "TRANSFER_VERIFIED"
    TRANSFER_MISMATCH = "TRANSFER_MISMATCH"
    ACCESS_REFUSED = "ACCESS_REFUSED"
    CHECKPOINT_ANCHORED = "CHECKPOINT_ANCHORED"
    CHECKPOINT_COSIGNED = "CHECKPOINT_COSIGNED"
    FINALITY_STATED = "FINALITY_STATED"
    AUDIT_READ = "AUDIT_READ"
    ROTATION_BEGUN = "ROTATION_BEGUN"
    ROTATION_PREPARED = "ROTATION_PREPARED"
    ROTATION_UNDONE = "ROTATION_UNDONE"
    ROTATION_COMMITTED = "ROTATION_COMMITTED"
    KEY_RETIRED = "KEY_RETIRED"
    KEY_COMPROMISED = "KEY_COMPROMISED"
    NODE_STARTED = "NODE_STARTED"
    NODE_STOPPED = "NODE_STOPPED"


def grant_subject(grant_id: bytes) -> str:
    """The subject of an entry about a grant."""
    return f"grant:{grant_id.hex()}"


def dataset_subject(dataset_id: bytes) -> str:
    """The subject of an entry about a dataset."""
    return f"dataset:{dataset_id.hex()}"


def member_subject(member_id: str) -> str:
    """The subject of an entry about a member."""
    return f"member:{member_id}"


def check_subject(subject: str) -> str:
    """Return a subject that names a grant, a dataset or a member. Raises SubjectInvalid."""
    kind, _, name = subject.partition(":")
    try:
        if kind == "member":
            check_credit_code(name)
        elif not _SUBJECT_ID.fullmatch(subject):
            raise SubjectInvalid(
                "a subject is grant:, dataset: and 64 hexadecimal digits, or member: and a credit code"
            )
    except CreditCodeInvalid as cause:
        raise SubjectInvalid(f"the member's id is malformed: {cause}") from cause
    return subject
