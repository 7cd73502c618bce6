"""The errors of `audit`."""

from __future__ import annotations

from crypto.errors import Refusal


class AuditError(Refusal):
    """Base of the errors of this package."""


class StoreAbsent(AuditError):
    """There is no store where one was to be opened. Opening never creates."""

    reason = "STORE_ABSENT"
    seen_by = "operator"
    remedy = (
        "Check `data_directory` and that its disk is mounted; a new node is made by `kiteline init`, a lost "
        "one restored from its backup."
    )


class StoreExists(AuditError):
    """There is a store where a new one was to be created. Creating never overwrites."""

    reason = "STORE_EXISTS"
    seen_by = "operator"
    remedy = "Open the store that is there, or choose an empty directory."


class StoreLocked(AuditError):
    """Another process, or another part of this one, writes to the store."""

    reason = "STORE_LOCKED"
    seen_by = "operator, caller"
    remedy = "Stop the other node on this data directory; for a dataset, wait until the other publication ends."


class StoreVersion(AuditError):
    """The store is of another format than this program writes."""

    reason = "STORE_VERSION"
    seen_by = "operator"
    remedy = (
        "Run the version of Kiteline that wrote the store; CHANGELOG.md says which version changed the "
        "format, and how to move."
    )


class StoreDamaged(AuditError):
    """The store contradicts itself or cannot be read. Nothing is appended to it."""

    reason = "STORE_DAMAGED"
    seen_by = "operator, auditor"
    remedy = (
        "Stop the node, keep the directory as it is, and restore from the backup; the anchors show what must be there."
    )


class StoreBehind(AuditError):
    """The store holds less than its last signed checkpoint or its anchor on the chain. It refuses to append."""

    reason = "STORE_BEHIND"
    seen_by = "operator, auditor"
    remedy = (
        "Restore a newer backup, or an auditor's mirror of this log, with `kiteline audit restore`; if none has as many entries, keep the disk"
        " and tell the authority: appending here would fork the log before everyone's eyes."
    )


class DiskFull(AuditError):
    """The disk, or the address space that was reserved for the store, is used up. Nothing was changed."""

    reason = "DISK_FULL"
    seen_by = "operator, caller, peer"
    remedy = (
        "Free space, and the node goes on by itself; if the disk has room, raise the map size that belongs to"
        " the store (`log_map_gigabytes`, `dataset_map_gigabytes`) and start the node again."
    )


class LogClosed(AuditError):
    """The log was closed, or stopped after a fault, and takes no more entries."""

    reason = "LOG_CLOSED"
    seen_by = "operator, caller"
    remedy = "Read the node's log for the fault, mend it and start the node again; what was acknowledged is on disk."


class EntryInvalid(AuditError):
    """A log entry is not in its one spelling."""

    reason = "ENTRY_INVALID"
    seen_by = "auditor"
    remedy = "Keep it: an entry in a log that its own software cannot have written is evidence."


class EvidenceMalformed(AuditError):
    """An evidence file, or a trust file, is not in its one spelling."""

    reason = "EVIDENCE_MALFORMED"
    seen_by = "auditor"
    remedy = (
        "Make sure that it is the file that was meant, then ask for it again; one changed character is enough"
        " to spoil it."
    )


class EvidenceInvalid(AuditError):
    """A link of an evidence file does not hold."""

    reason = "EVIDENCE_INVALID"
    seen_by = "auditor"
    remedy = "Read which link does not hold and keep the file: somebody signed or sent something false."


class LogForked(AuditError):
    """Two signed heads of one log contradict each other, or the store contradicts one of them."""

    reason = "LOG_FORKED"
    seen_by = "operator, auditor, peer"
    remedy = (
        "Keep both heads: together they prove the fork. Append nothing; restore the store that the newest head is of."
    )


class WitnessBehind(AuditError):
    """The witness knows the log at another size than the path begins at; `size` says which."""

    reason = "WITNESS_BEHIND"
    seen_by = "peer"
    remedy = "Ask again with the consistency path from the size that the witness names."


class ClockWentBack(AuditError):
    """The clock is behind the time of what the log has signed already."""

    reason = "CLOCK_WENT_BACK"
    seen_by = "operator"
    remedy = "Set the clock right, then start the node; entries must stand in the order of their times."


class EntryArchived(AuditError):
    """The epoch of the entry is archived: its head and tiles are here, its entries elsewhere. Proofs and roots still work."""

    reason = "ENTRY_ARCHIVED"
    seen_by = "operator, auditor, peer"
    remedy = "The message names the archive: put the epoch back with `kiteline audit archive --restore`, or read the entry there."


class ArchiveRefused(AuditError):
    """The epoch may not be archived, or not be put back: it is open, too young, or not in that state. Nothing was changed."""

    reason = "ARCHIVE_REFUSED"
    seen_by = "operator"
    remedy = "Wait until the epoch is full and its newest entry older than `retention_days`; the message says which of them it is."


class CopyInvalid(AuditError):
    """A copy of a log does not verify against a signed head. The copy was deleted, and nothing else changed."""

    reason = "COPY_INVALID"
    seen_by = "operator, auditor"
    remedy = "Run `kiteline audit check` on what was copied: if that holds, the disk that was copied to does not."
