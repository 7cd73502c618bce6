"""The errors of `node`: one class a reason. Programs compare the reason; people read the sentence.

A caller from outside is told the reason and no policy detail; the provider's officer gets everything from `explain`.
"""

from __future__ import annotations

from crypto.errors import Refusal


class NodeError(Refusal):
    """Base of the errors of this package."""


class ConfigurationInvalid(NodeError):
    """The configuration, the network file, the contracts file, an admission file or the environment lacks something or has something ill-formed."""

    reason = "CONFIGURATION_INVALID"
    seen_by = "operator"
    remedy = (
        "Mend what the message names; docs/operator.md lists every setting with its unit and bounds, and "
        "`kiteline init` writes a complete file."
    )


class PortTaken(NodeError):
    """The address to listen on is in use or not allowed."""

    reason = "PORT_TAKEN"
    seen_by = "operator"
    remedy = (
        "Stop the other program, or change `listen` in the table that the message is about ([node] or [metrics]); a chain takes "
        "`--port` and `--peer-port`."
    )


class ChainUnavailable(NodeError):
    """No endpoint of the chain answers, or not in time. What was sent may still be mined: it is journaled."""

    reason = "CHAIN_UNAVAILABLE"
    seen_by = "operator, caller, peer"
    remedy = (
        "Start the chain, or correct `endpoints` in the network file; a running node goes on by itself when "
        "the chain is back."
    )


class TransactionPending(ChainUnavailable):
    """A transaction was journaled and handed to the chain, and no final block holds it yet."""

    reason = "TRANSACTION_PENDING"
    remedy = (
        "Nothing is lost: the node goes on sending it. The same command again waits for the same transaction; "
        "`kiteline chain status` shows how many wait."
    )


class ChainMismatch(NodeError):
    """An endpoint serves another chain than configured, or other code at a contract's address."""

    reason = "CHAIN_MISMATCH"
    seen_by = "operator"
    remedy = (
        "Compare the network file and the contracts file with another member's; if they agree, the endpoint "
        "serves another chain: use one of the consortium's."
    )


class ChainStoreUnusable(NodeError):
    """The chain index or the transaction journal is absent, there already, damaged, or cannot be written."""

    reason = "CHAIN_STORE_UNUSABLE"
    seen_by = "operator"
    remedy = (
        "Make space or correct the permissions; with the node stopped, `chain-index` in the data directory "
        "may be deleted and is built anew, `chain-journal` never."
    )


class TransactionRefused(NodeError):
    """A contract refused the transaction; the message carries the contract's own error."""

    reason = "TRANSACTION_REFUSED"
    seen_by = "caller, operator"
    remedy = (
        "Read the contract's error in the message: the member lacks the role, the thing was decided before, "
        "or the state on the chain is another than was assumed."
    )


class AccountUnfunded(TransactionRefused):
    """The account that signs has not enough money for the transaction, on a network where transactions are paid for. Nothing was sent."""

    reason = "ACCOUNT_UNFUNDED"
    seen_by = "caller, operator"
    remedy = (
        "Have whoever holds the network's treasury run `kiteline chain fund` for the account that the message names, then do it again; "
        "a node's own anchors and receipts are made up for by themselves."
    )


class ProposalInvalid(NodeError):
    """The proposal could not be carried out as the chain stands, would change nothing, or is made already."""

    reason = "PROPOSAL_INVALID"
    seen_by = "operator"
    remedy = (
        "Look at `kiteline chain proposals` and at the members on the chain, and propose what is still to be changed."
    )


class NotAMember(NodeError):
    """The TLS certificate or the signature belongs to no active member."""

    reason = "NOT_A_MEMBER"
    seen_by = "operator, peer"
    remedy = (
        "Have the consortium admit or reinstate the member (`kiteline chain admit`), with the certificate "
        "that its node shows."
    )


class KeyCompromised(NodeError):
    """A member's key in force is declared compromised, so nothing is sealed to it and nothing accepted under it."""

    reason = "KEY_COMPROMISED"
    seen_by = "caller, peer"
    remedy = "The member whose key it is rotates its keys, then the same call goes on."


class NotAnAuditor(NodeError):
    """The caller may not read this log."""

    reason = "NOT_AN_AUDITOR"
    seen_by = "auditor, caller, peer"
    remedy = "Ask as a member with the auditor's role, or about a grant that you are a side of."


class NotThisDepartment(NodeError):
    """The caller's client certificate is not one that this node's configuration lists."""

    reason = "NOT_THIS_DEPARTMENT"
    seen_by = "caller"
    remedy = (
        "Use a client certificate that `client_certificates` in the node's configuration lists; add it there "
        "and start the node again."
    )


class StatementInvalid(NodeError):
    """A note's text is not a well-formed statement, or contradicts what it is about."""

    reason = "STATEMENT_INVALID"
    seen_by = "peer, caller"
    remedy = "Correct the line that the message names; docs/formats.md gives every statement's form."


class SubjectInvalid(NodeError):
    """A subject asked about is not of a known form."""

    reason = "SUBJECT_INVALID"
    seen_by = "auditor, caller"
    remedy = "Name a grant or dataset by its 64 hexadecimal digits, or a member by its credit code."


class DatasetUnknown(NodeError):
    """No such dataset here or on the chain."""

    reason = "DATASET_UNKNOWN"
    seen_by = "caller, peer"
    remedy = "List the catalogue and use an id given there."


class DatasetExists(NodeError):
    """A dataset of that name exists with another description."""

    reason = "DATASET_EXISTS"
    seen_by = "caller"
    remedy = "Publish under another name, or with the title, fields, key field, level and sharing type that it has."


class DatasetNotShared(NodeError):
    """The dataset's sharing type forbids a request."""

    reason = "DATASET_NOT_SHARED"
    seen_by = "caller, peer"
    remedy = "Nothing can be requested of it; ask the provider for the legal basis."


class DatasetPurged(NodeError):
    """The dataset is purged: its provider destroyed its records and withdrew it from the catalogue. What was delivered before stays provable."""

    reason = "DATASET_PURGED"
    seen_by = "caller, peer"
    remedy = (
        "Nothing can be published to it or had of it any more; its provider's log has the reason. New data goes into a dataset "
        "of another name."
    )


class RecordInvalid(NodeError):
    """A record to publish is not as the dataset's description says."""

    reason = "RECORD_INVALID"
    seen_by = "caller"
    remedy = "Correct the row that the message names and publish again; no version was made."


class RecordUnknown(NodeError):
    """No record has that key."""

    reason = "RECORD_UNKNOWN"
    seen_by = "caller, peer"
    remedy = "Check the key; the question and its answer are in both sides' logs."


class GrantUnknown(NodeError):
    """No such grant on the chain, or not between these members."""

    reason = "GRANT_UNKNOWN"
    seen_by = "caller, peer"
    remedy = (
        "`kiteline grants` lists this department's; a new request is on the chain within a block, and only "
        "the provider can decide, revoke or explain."
    )


class GrantUndecided(NodeError):
    """The provider's officer has not decided yet."""

    reason = "GRANT_UNDECIDED"
    seen_by = "caller, peer"
    remedy = "Wait for the provider's officer; `kiteline grants` shows when."


class GrantDecided(NodeError):
    """The request was decided before."""

    reason = "GRANT_DECIDED"
    seen_by = "caller"
    remedy = "Revoke the grant, or ask the requester to request again."


class RequestNotOnChain(NodeError):
    """The request note's digest is not on the chain."""

    reason = "REQUEST_NOT_ON_CHAIN"
    seen_by = "peer"
    remedy = "Send the request's transaction first and wait for its block."


class TermsInvalid(NodeError):
    """A decision widens what was asked, or names unknown fields, or a time that has passed."""

    reason = "TERMS_INVALID"
    seen_by = "caller"
    remedy = "Approve at most what was asked: fewer fields, an earlier expiry, a lower quota."


class GrantNotApproved(NodeError):
    """The grant is requested, denied or closed, so nothing is released under it."""

    reason = "GRANT_NOT_APPROVED"
    seen_by = "caller, peer"
    remedy = "See the grant's state with `kiteline grants`: wait for the decision, or request again."


class GrantExpired(NodeError):
    """The grant's period is over."""

    reason = "GRANT_EXPIRED"
    seen_by = "caller, peer"
    remedy = "Request a new grant."


class GrantRevoked(NodeError):
    """The provider revoked the grant."""

    reason = "GRANT_REVOKED"
    seen_by = "caller, peer"
    remedy = "Ask the provider why; the digest of its reason is on the chain."


class GrantUsedUp(NodeError):
    """The grant's quota of orders is used."""

    reason = "GRANT_USED_UP"
    seen_by = "caller, peer"
    remedy = "Request a new grant."


class GrantFields(NodeError):
    """The grant covers some fields only, and a bulk transfer carries whole records."""

    reason = "GRANT_FIELDS"
    seen_by = "caller, peer"
    remedy = "Query record by record (`kiteline query`), or request all fields."


class OrderReplayed(NodeError):
    """An order note came again where it must be new, is too old, or differs from the one of the same id."""

    reason = "ORDER_REPLAYED"
    seen_by = "peer"
    remedy = (
        "Make a new order with the clock right (`max_clock_skew_seconds`); to go on with an interrupted one, "
        "send the very same note."
    )


class RangeInvalid(NodeError):
    """A range of records or entries is empty or beyond the end, or the dataset has no records yet."""

    reason = "RANGE_INVALID"
    seen_by = "peer, caller, auditor"
    remedy = (
        "Ask within the size that the newest checkpoint states; for a dataset without records, wait until its"
        " provider publishes."
    )


class ReceiptInvalid(NodeError):
    """A receipt does not match the delivery, or does not name the receipt before it."""

    reason = "RECEIPT_INVALID"
    seen_by = "peer"
    remedy = "Sign a receipt for the delivery as sent; keep both notes as evidence if they differ."


class ReceiptsOutstanding(NodeError):
    """Too many answers under this grant have no receipt yet."""

    reason = "RECEIPTS_OUTSTANDING"
    seen_by = "peer, caller"
    remedy = "Hand in the receipts; a Kiteline node does so by itself with its next query."


class DeliveryInvalid(NodeError):
    """What the provider sent does not match what it signed. The notes are kept as evidence."""

    reason = "DELIVERY_INVALID"
    seen_by = "caller"
    remedy = "Run `kiteline trail` on the grant and hand the evidence to the auditor."


class RootMismatch(NodeError):
    """The records opened do not lead to the root on the chain. The transfer is kept as evidence."""

    reason = "ROOT_MISMATCH"
    seen_by = "caller"
    remedy = "Run `kiteline trail` on the grant and hand the evidence to the auditor."


class PeerUnavailable(NodeError):
    """The other node does not answer, or not in time."""

    reason = "PEER_UNAVAILABLE"
    seen_by = "caller"
    remedy = (
        "Try again; an interrupted fetch goes on where its last receipt left it. If it lasts, check the "
        "member's endpoint on the chain and the way to it."
    )


class FetchUnknown(NodeError):
    """This node has fetched nothing under that grant."""

    reason = "FETCH_UNKNOWN"
    seen_by = "caller"
    remedy = "Run `kiteline fetch` with the grant first."


class FetchUnfinished(NodeError):
    """The fetch was interrupted or is still running."""

    reason = "FETCH_UNFINISHED"
    seen_by = "caller"
    remedy = "Run `kiteline fetch` with the grant again; it goes on where it stopped."


class EntryUnknown(NodeError):
    """The log has no entry of that index."""

    reason = "ENTRY_UNKNOWN"
    seen_by = "auditor"
    remedy = "Ask for an index that `kiteline trail` shows; the newest checkpoint states the log's size."


class NotAnchored(NodeError):
    """No checkpoint that covers the entry is on the chain yet."""

    reason = "NOT_ANCHORED"
    seen_by = "auditor"
    remedy = "Wait for the next scheduled anchor, or run `kiteline chain anchor` on the node whose log it is."


class BlockNotFinal(NodeError):
    """The block is not final as this node's own endpoints have it, or it does not follow that chain. It states nothing about it."""

    reason = "BLOCK_NOT_FINAL"
    seen_by = "peer"
    remedy = "Ask again when the network's rule of finality is met; if it goes on, compare the block with this member's operator."


class CosignaturesMissing(NodeError):
    """Fewer witnesses than are needed cosigned the log's head, so that it is not anchored yet."""

    reason = "COSIGNATURES_MISSING"
    seen_by = "operator, officer"
    remedy = (
        "Wait: it is tried again on schedule. If it goes on, ask the witnesses that `kiteline status` names as silent."
    )


class FileUnusable(NodeError):
    """A file to read or to write is missing, of an unknown kind, damaged, or cannot be written."""

    reason = "FILE_UNUSABLE"
    seen_by = "caller"
    remedy = (
        "Check the path and its permissions; data is .csv, .jsonl or .parquet, text in UTF-8, and what is "
        "written needs a folder with enough space."
    )


class FileExists(NodeError):
    """A file that is to be written exists."""

    reason = "FILE_EXISTS"
    seen_by = "caller"
    remedy = "Choose another name, or overwrite it with --force."


class AuthorityUnusable(NodeError):
    """A certificate authority's directory is absent, there already, damaged, or cannot be written."""

    reason = "AUTHORITY_UNUSABLE"
    seen_by = "operator"
    remedy = (
        "Name the directory that `kiteline ca create` made; if its index was changed, put the newest copy of it back."
    )


class AuthorityHeld(NodeError):
    """Another command acts as this certificate authority."""

    reason = "AUTHORITY_HELD"
    seen_by = "operator"
    remedy = "Run the command again when the other one has ended."


class SerialUnknown(NodeError):
    """No certificate of this serial number is there to be revoked."""

    reason = "SERIAL_UNKNOWN"
    seen_by = "operator"
    remedy = "`kiteline ca list` shows the serial numbers, and which are revoked already."


class RequestTooLarge(NodeError):
    """A message or a batch is above the stated limit."""

    reason = "REQUEST_TOO_LARGE"
    seen_by = "caller, peer"
    remedy = (
        "Send less at a time; the limits are in the proto comments, the one of a publication is "
        "`max_publish_gigabytes`."
    )


class ChainProgramUnavailable(NodeError):
    """The program that runs the network is not on this machine, and could not be built."""

    reason = "CHAIN_PROGRAM_UNAVAILABLE"
    seen_by = "operator"
    remedy = (
        "Install the program that the message names, in the version that the network file asks for, or Go to have it built; "
        "the README of the network's folder says more."
    )


class ChainProgramFailed(NodeError):
    """A process of the network on this machine ended by itself, or the network was not ready in time. All its processes are stopped."""

    reason = "CHAIN_PROGRAM_FAILED"
    seen_by = "operator"
    remedy = "Read what the process printed, in the message or in the file that it names, and run the command again."


class NetworkNotRunning(NodeError):
    """No `kiteline chain up` holds the state directory, or it is only starting or ending."""

    reason = "NETWORK_NOT_RUNNING"
    seen_by = "operator"
    remedy = (
        "Start the network with `kiteline chain up` on that directory, and wait until it has printed its processes."
    )


class NetworkHeld(NodeError):
    """Another command runs the network of the state directory, or is changing its validators."""

    reason = "NETWORK_HELD"
    seen_by = "operator"
    remedy = "Wait for the other command, or end the network with `kiteline chain down`."


class ValidatorUnknown(NodeError):
    """The network of the state directory has no validator of that number."""

    reason = "VALIDATOR_UNKNOWN"
    seen_by = "operator"
    remedy = "`kiteline chain status --state` lists the validators with their numbers."


class ValidatorsTooFew(NodeError):
    """So few validators run, or would be left, that the network could make no blocks. Nothing was changed."""

    reason = "VALIDATORS_TOO_FEW"
    seen_by = "operator"
    remedy = "Bring those back that are down with `kiteline chain restart-validator`, then run the command again."


class KeyStoreInvalid(NodeError):
    """The key store's manifest is absent, ill-formed, of another version or contradicts the files beside it."""

    reason = "KEY_STORE_INVALID"
    seen_by = "operator"
    remedy = "Bring the `keys` directory back from the newest backup (docs/operator.md, Recovery); nothing in it is edited by hand."


class KeyStateInvalid(NodeError):
    """A key is not in the state that the step needs. Nothing was changed."""

    reason = "KEY_STATE_INVALID"
    seen_by = "operator"
    remedy = "Look at `kiteline keys list`: the state of each key stands there, and what may be done next."


class KeysNotInForce(NodeError):
    """The keys in the key store are not those that the chain has in force for this member: they were rotated elsewhere, or the store is an old copy."""

    reason = "KEYS_NOT_IN_FORCE"
    seen_by = "operator"
    remedy = (
        "Use the key store that rotated last, or restore from the newest backup; if it is lost, have the consortium recover the member "
        "(`kiteline chain propose recovery`)."
    )


class RotationUnderWay(NodeError):
    """A rotation of this node's keys is under way, and there is one at a time."""

    reason = "ROTATION_UNDER_WAY"
    seen_by = "operator"
    remedy = (
        "`kiteline keys list` shows it: let it end, or finish it with `kiteline keys commit` or `kiteline keys undo`."
    )


class NoRotation(NodeError):
    """No rotation is under way that could be committed or undone."""

    reason = "NO_ROTATION"
    seen_by = "operator"
    remedy = "Begin one with `kiteline keys rotate`."


class RotationCommitted(NodeError):
    """The rotation has passed its commit point and can no longer be undone."""

    reason = "ROTATION_COMMITTED"
    seen_by = "operator"
    remedy = "Let it end, then rotate again if the new key is not wanted."


class RotationSuperseded(NodeError):
    """This member's keys were changed on the chain while the rotation was under way: by another machine, or by the council. The rotation was undone."""

    reason = "ROTATION_SUPERSEDED"
    seen_by = "operator"
    remedy = "Find out which machine rotated; one machine alone may hold a member's keys. Then follow the remedy of KEYS_NOT_IN_FORCE."


class NotASecurityOfficer(NodeError):
    """The caller's client certificate is not one that this node's configuration lists under `security_certificates`."""

    reason = "NOT_A_SECURITY_OFFICER"
    seen_by = "caller"
    remedy = "Use a certificate of the security team; those of the department's programs change no keys."


class KeyAgentUnavailable(NodeError):
    """The process that holds the keys does not answer at the socket that the configuration names."""

    reason = "KEY_AGENT_UNAVAILABLE"
    seen_by = "operator, caller"
    remedy = "Start it with `kiteline keys agent serve`; the node goes on by itself when it answers."


class KeyStoreHeld(NodeError):
    """Another process has the key store open and may change it."""

    reason = "KEY_STORE_HELD"
    seen_by = "operator"
    remedy = "Ask the running node or agent with `kiteline keys`, or stop it first."


class InternalError(NodeError):
    """A defect of the node. The log and the store are as they were before the call."""

    reason = "INTERNAL"
    seen_by = "caller, peer, operator"
    remedy = (
        "Report it: with the incident number the operator finds the trace in the node's log, and a command "
        "shows its own with KITELINE_DEBUG=1."
    )
