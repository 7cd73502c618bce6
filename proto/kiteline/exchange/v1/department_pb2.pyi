from kiteline.exchange.v1 import statement_pb2 as _statement_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SharingType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SHARING_TYPE_UNSPECIFIED: _ClassVar[SharingType]
    SHARING_TYPE_UNCONDITIONAL: _ClassVar[SharingType]
    SHARING_TYPE_CONDITIONAL: _ClassVar[SharingType]
    SHARING_TYPE_NOT_SHARED: _ClassVar[SharingType]

class DatasetState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATASET_STATE_UNSPECIFIED: _ClassVar[DatasetState]
    DATASET_STATE_OFFERED: _ClassVar[DatasetState]
    DATASET_STATE_PURGED: _ClassVar[DatasetState]

class GrantState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GRANT_STATE_UNSPECIFIED: _ClassVar[GrantState]
    GRANT_STATE_REQUESTED: _ClassVar[GrantState]
    GRANT_STATE_APPROVED: _ClassVar[GrantState]
    GRANT_STATE_DENIED: _ClassVar[GrantState]
    GRANT_STATE_REVOKED: _ClassVar[GrantState]
    GRANT_STATE_CLOSED: _ClassVar[GrantState]
    GRANT_STATE_EXPIRED: _ClassVar[GrantState]
    GRANT_STATE_USED_UP: _ClassVar[GrantState]
SHARING_TYPE_UNSPECIFIED: SharingType
SHARING_TYPE_UNCONDITIONAL: SharingType
SHARING_TYPE_CONDITIONAL: SharingType
SHARING_TYPE_NOT_SHARED: SharingType
DATASET_STATE_UNSPECIFIED: DatasetState
DATASET_STATE_OFFERED: DatasetState
DATASET_STATE_PURGED: DatasetState
GRANT_STATE_UNSPECIFIED: GrantState
GRANT_STATE_REQUESTED: GrantState
GRANT_STATE_APPROVED: GrantState
GRANT_STATE_DENIED: GrantState
GRANT_STATE_REVOKED: GrantState
GRANT_STATE_CLOSED: GrantState
GRANT_STATE_EXPIRED: GrantState
GRANT_STATE_USED_UP: GrantState

class Field(_message.Message):
    __slots__ = ("name", "title")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    title: str
    def __init__(self, name: _Optional[str] = ..., title: _Optional[str] = ...) -> None: ...

class DescribeDatasetRequest(_message.Message):
    __slots__ = ("name", "title", "fields", "key_field", "level", "sharing_type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    SHARING_TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    title: str
    fields: _containers.RepeatedCompositeFieldContainer[Field]
    key_field: str
    level: int
    sharing_type: SharingType
    def __init__(self, name: _Optional[str] = ..., title: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., key_field: _Optional[str] = ..., level: _Optional[int] = ..., sharing_type: _Optional[_Union[SharingType, str]] = ...) -> None: ...

class DescribeDatasetResponse(_message.Message):
    __slots__ = ("dataset_id",)
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    dataset_id: bytes
    def __init__(self, dataset_id: _Optional[bytes] = ...) -> None: ...

class PublishRequest(_message.Message):
    __slots__ = ("dataset_id", "records", "lengths", "total_count")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    dataset_id: bytes
    records: bytes
    lengths: _containers.RepeatedScalarFieldContainer[int]
    total_count: int
    def __init__(self, dataset_id: _Optional[bytes] = ..., records: _Optional[bytes] = ..., lengths: _Optional[_Iterable[int]] = ..., total_count: _Optional[int] = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("sealed_count", "version_note", "transaction_hash")
    SEALED_COUNT_FIELD_NUMBER: _ClassVar[int]
    VERSION_NOTE_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_HASH_FIELD_NUMBER: _ClassVar[int]
    sealed_count: int
    version_note: bytes
    transaction_hash: bytes
    def __init__(self, sealed_count: _Optional[int] = ..., version_note: _Optional[bytes] = ..., transaction_hash: _Optional[bytes] = ...) -> None: ...

class PurgeDatasetRequest(_message.Message):
    __slots__ = ("dataset_id", "reason")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    dataset_id: bytes
    reason: str
    def __init__(self, dataset_id: _Optional[bytes] = ..., reason: _Optional[str] = ...) -> None: ...

class PurgeDatasetResponse(_message.Message):
    __slots__ = ("purge_note", "record_count", "root", "destroyed_bytes", "transaction_hash")
    PURGE_NOTE_FIELD_NUMBER: _ClassVar[int]
    RECORD_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    DESTROYED_BYTES_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_HASH_FIELD_NUMBER: _ClassVar[int]
    purge_note: bytes
    record_count: int
    root: bytes
    destroyed_bytes: int
    transaction_hash: bytes
    def __init__(self, purge_note: _Optional[bytes] = ..., record_count: _Optional[int] = ..., root: _Optional[bytes] = ..., destroyed_bytes: _Optional[int] = ..., transaction_hash: _Optional[bytes] = ...) -> None: ...

class ListCatalogueRequest(_message.Message):
    __slots__ = ("contains",)
    CONTAINS_FIELD_NUMBER: _ClassVar[int]
    contains: str
    def __init__(self, contains: _Optional[str] = ...) -> None: ...

class CatalogueEntry(_message.Message):
    __slots__ = ("dataset", "provider_name", "name", "title", "sharing_type", "level", "fields", "key_field", "state")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_NAME_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    SHARING_TYPE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    dataset: _statement_pb2.Dataset
    provider_name: str
    name: str
    title: str
    sharing_type: SharingType
    level: int
    fields: _containers.RepeatedCompositeFieldContainer[Field]
    key_field: str
    state: DatasetState
    def __init__(self, dataset: _Optional[_Union[_statement_pb2.Dataset, _Mapping]] = ..., provider_name: _Optional[str] = ..., name: _Optional[str] = ..., title: _Optional[str] = ..., sharing_type: _Optional[_Union[SharingType, str]] = ..., level: _Optional[int] = ..., fields: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., key_field: _Optional[str] = ..., state: _Optional[_Union[DatasetState, str]] = ...) -> None: ...

class ListCatalogueResponse(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[CatalogueEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[CatalogueEntry, _Mapping]]] = ...) -> None: ...

class RequestGrantRequest(_message.Message):
    __slots__ = ("dataset_id", "fields", "purpose", "expiry_seconds", "quota")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    QUOTA_FIELD_NUMBER: _ClassVar[int]
    dataset_id: bytes
    fields: _containers.RepeatedScalarFieldContainer[str]
    purpose: str
    expiry_seconds: int
    quota: int
    def __init__(self, dataset_id: _Optional[bytes] = ..., fields: _Optional[_Iterable[str]] = ..., purpose: _Optional[str] = ..., expiry_seconds: _Optional[int] = ..., quota: _Optional[int] = ...) -> None: ...

class RequestGrantResponse(_message.Message):
    __slots__ = ("grant_id", "transaction_hash")
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_HASH_FIELD_NUMBER: _ClassVar[int]
    grant_id: bytes
    transaction_hash: bytes
    def __init__(self, grant_id: _Optional[bytes] = ..., transaction_hash: _Optional[bytes] = ...) -> None: ...

class DecideGrantRequest(_message.Message):
    __slots__ = ("grant_id", "approve", "reason", "fields", "expiry_seconds", "quota")
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    APPROVE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    QUOTA_FIELD_NUMBER: _ClassVar[int]
    grant_id: bytes
    approve: bool
    reason: str
    fields: _containers.RepeatedScalarFieldContainer[str]
    expiry_seconds: int
    quota: int
    def __init__(self, grant_id: _Optional[bytes] = ..., approve: _Optional[bool] = ..., reason: _Optional[str] = ..., fields: _Optional[_Iterable[str]] = ..., expiry_seconds: _Optional[int] = ..., quota: _Optional[int] = ...) -> None: ...

class DecideGrantResponse(_message.Message):
    __slots__ = ("transaction_hash",)
    TRANSACTION_HASH_FIELD_NUMBER: _ClassVar[int]
    transaction_hash: bytes
    def __init__(self, transaction_hash: _Optional[bytes] = ...) -> None: ...

class RevokeGrantRequest(_message.Message):
    __slots__ = ("grant_id", "reason")
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    grant_id: bytes
    reason: str
    def __init__(self, grant_id: _Optional[bytes] = ..., reason: _Optional[str] = ...) -> None: ...

class RevokeGrantResponse(_message.Message):
    __slots__ = ("transaction_hash",)
    TRANSACTION_HASH_FIELD_NUMBER: _ClassVar[int]
    transaction_hash: bytes
    def __init__(self, transaction_hash: _Optional[bytes] = ...) -> None: ...

class ListGrantsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Grant(_message.Message):
    __slots__ = ("grant_id", "dataset_id", "requester_id", "provider_id", "state", "expiry_seconds", "quota", "used", "purpose", "fields", "last_sequence")
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    REQUESTER_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    QUOTA_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    grant_id: bytes
    dataset_id: bytes
    requester_id: str
    provider_id: str
    state: GrantState
    expiry_seconds: int
    quota: int
    used: int
    purpose: str
    fields: _containers.RepeatedScalarFieldContainer[str]
    last_sequence: int
    def __init__(self, grant_id: _Optional[bytes] = ..., dataset_id: _Optional[bytes] = ..., requester_id: _Optional[str] = ..., provider_id: _Optional[str] = ..., state: _Optional[_Union[GrantState, str]] = ..., expiry_seconds: _Optional[int] = ..., quota: _Optional[int] = ..., used: _Optional[int] = ..., purpose: _Optional[str] = ..., fields: _Optional[_Iterable[str]] = ..., last_sequence: _Optional[int] = ...) -> None: ...

class ListGrantsResponse(_message.Message):
    __slots__ = ("grants",)
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    grants: _containers.RepeatedCompositeFieldContainer[Grant]
    def __init__(self, grants: _Optional[_Iterable[_Union[Grant, _Mapping]]] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("grant_id",)
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    grant_id: bytes
    def __init__(self, grant_id: _Optional[bytes] = ...) -> None: ...

class FetchResponse(_message.Message):
    __slots__ = ("delivered_count", "verified_count", "total_count", "summary")
    DELIVERED_COUNT_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    delivered_count: int
    verified_count: int
    total_count: int
    summary: FetchSummary
    def __init__(self, delivered_count: _Optional[int] = ..., verified_count: _Optional[int] = ..., total_count: _Optional[int] = ..., summary: _Optional[_Union[FetchSummary, _Mapping]] = ...) -> None: ...

class FetchSummary(_message.Message):
    __slots__ = ("order_id", "record_count", "plaintext_bytes", "elapsed_milliseconds", "path", "root", "first_sequence", "last_sequence", "engine")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    RECORD_COUNT_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_BYTES_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    order_id: bytes
    record_count: int
    plaintext_bytes: int
    elapsed_milliseconds: int
    path: str
    root: bytes
    first_sequence: int
    last_sequence: int
    engine: str
    def __init__(self, order_id: _Optional[bytes] = ..., record_count: _Optional[int] = ..., plaintext_bytes: _Optional[int] = ..., elapsed_milliseconds: _Optional[int] = ..., path: _Optional[str] = ..., root: _Optional[bytes] = ..., first_sequence: _Optional[int] = ..., last_sequence: _Optional[int] = ..., engine: _Optional[str] = ...) -> None: ...

class QueryRecordRequest(_message.Message):
    __slots__ = ("grant_id", "key")
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    grant_id: bytes
    key: str
    def __init__(self, grant_id: _Optional[bytes] = ..., key: _Optional[str] = ...) -> None: ...

class QueryRecordResponse(_message.Message):
    __slots__ = ("fields", "values", "proven", "sequence", "record_index")
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    PROVEN_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RECORD_INDEX_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.RepeatedScalarFieldContainer[str]
    values: bytes
    proven: bool
    sequence: int
    record_index: int
    def __init__(self, fields: _Optional[_Iterable[str]] = ..., values: _Optional[bytes] = ..., proven: _Optional[bool] = ..., sequence: _Optional[int] = ..., record_index: _Optional[int] = ...) -> None: ...

class ReadRecordsRequest(_message.Message):
    __slots__ = ("grant_id",)
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    grant_id: bytes
    def __init__(self, grant_id: _Optional[bytes] = ...) -> None: ...

class ReadRecordsResponse(_message.Message):
    __slots__ = ("fields", "records", "lengths")
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.RepeatedScalarFieldContainer[str]
    records: bytes
    lengths: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, fields: _Optional[_Iterable[str]] = ..., records: _Optional[bytes] = ..., lengths: _Optional[_Iterable[int]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("grant_id",)
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    grant_id: bytes
    def __init__(self, grant_id: _Optional[bytes] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("allowed", "reason", "explanations")
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPLANATIONS_FIELD_NUMBER: _ClassVar[int]
    allowed: bool
    reason: str
    explanations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, allowed: _Optional[bool] = ..., reason: _Optional[str] = ..., explanations: _Optional[_Iterable[str]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("member_id", "member_name", "version", "engine", "listen_address", "log_size", "log_root", "anchored_size", "chain_reachable", "chain_id", "block_number", "dataset_count", "record_count", "pending_transactions", "uptime_seconds", "witnesses", "cosignatures_needed", "cosigned_by", "anchor_networks", "unanchored_seconds", "certificate_expiry_seconds")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    LISTEN_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LOG_SIZE_FIELD_NUMBER: _ClassVar[int]
    LOG_ROOT_FIELD_NUMBER: _ClassVar[int]
    ANCHORED_SIZE_FIELD_NUMBER: _ClassVar[int]
    CHAIN_REACHABLE_FIELD_NUMBER: _ClassVar[int]
    CHAIN_ID_FIELD_NUMBER: _ClassVar[int]
    BLOCK_NUMBER_FIELD_NUMBER: _ClassVar[int]
    DATASET_COUNT_FIELD_NUMBER: _ClassVar[int]
    RECORD_COUNT_FIELD_NUMBER: _ClassVar[int]
    PENDING_TRANSACTIONS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WITNESSES_FIELD_NUMBER: _ClassVar[int]
    COSIGNATURES_NEEDED_FIELD_NUMBER: _ClassVar[int]
    COSIGNED_BY_FIELD_NUMBER: _ClassVar[int]
    ANCHOR_NETWORKS_FIELD_NUMBER: _ClassVar[int]
    UNANCHORED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_EXPIRY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    member_id: str
    member_name: str
    version: str
    engine: str
    listen_address: str
    log_size: int
    log_root: bytes
    anchored_size: int
    chain_reachable: bool
    chain_id: int
    block_number: int
    dataset_count: int
    record_count: int
    pending_transactions: int
    uptime_seconds: int
    witnesses: _containers.RepeatedScalarFieldContainer[str]
    cosignatures_needed: int
    cosigned_by: _containers.RepeatedScalarFieldContainer[str]
    anchor_networks: _containers.RepeatedCompositeFieldContainer[AnchorNetwork]
    unanchored_seconds: int
    certificate_expiry_seconds: int
    def __init__(self, member_id: _Optional[str] = ..., member_name: _Optional[str] = ..., version: _Optional[str] = ..., engine: _Optional[str] = ..., listen_address: _Optional[str] = ..., log_size: _Optional[int] = ..., log_root: _Optional[bytes] = ..., anchored_size: _Optional[int] = ..., chain_reachable: _Optional[bool] = ..., chain_id: _Optional[int] = ..., block_number: _Optional[int] = ..., dataset_count: _Optional[int] = ..., record_count: _Optional[int] = ..., pending_transactions: _Optional[int] = ..., uptime_seconds: _Optional[int] = ..., witnesses: _Optional[_Iterable[str]] = ..., cosignatures_needed: _Optional[int] = ..., cosigned_by: _Optional[_Iterable[str]] = ..., anchor_networks: _Optional[_Iterable[_Union[AnchorNetwork, _Mapping]]] = ..., unanchored_seconds: _Optional[int] = ..., certificate_expiry_seconds: _Optional[int] = ...) -> None: ...

class AnchorNetwork(_message.Message):
    __slots__ = ("name", "reachable", "anchored_size")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    ANCHORED_SIZE_FIELD_NUMBER: _ClassVar[int]
    name: str
    reachable: bool
    anchored_size: int
    def __init__(self, name: _Optional[str] = ..., reachable: _Optional[bool] = ..., anchored_size: _Optional[int] = ...) -> None: ...

class AnchorNowRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AnchorNowResponse(_message.Message):
    __slots__ = ("checkpoint_note", "transaction_hash")
    CHECKPOINT_NOTE_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_HASH_FIELD_NUMBER: _ClassVar[int]
    checkpoint_note: bytes
    transaction_hash: bytes
    def __init__(self, checkpoint_note: _Optional[bytes] = ..., transaction_hash: _Optional[bytes] = ...) -> None: ...

class GetTrailRequest(_message.Message):
    __slots__ = ("grant_id",)
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    grant_id: bytes
    def __init__(self, grant_id: _Optional[bytes] = ...) -> None: ...

class TrailStep(_message.Message):
    __slots__ = ("member_id", "index", "time_milliseconds", "event", "outcome", "actor", "sequence", "proven", "note_digest", "anchor_state")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TIME_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PROVEN_FIELD_NUMBER: _ClassVar[int]
    NOTE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ANCHOR_STATE_FIELD_NUMBER: _ClassVar[int]
    member_id: str
    index: int
    time_milliseconds: int
    event: str
    outcome: str
    actor: str
    sequence: int
    proven: bool
    note_digest: bytes
    anchor_state: str
    def __init__(self, member_id: _Optional[str] = ..., index: _Optional[int] = ..., time_milliseconds: _Optional[int] = ..., event: _Optional[str] = ..., outcome: _Optional[str] = ..., actor: _Optional[str] = ..., sequence: _Optional[int] = ..., proven: _Optional[bool] = ..., note_digest: _Optional[bytes] = ..., anchor_state: _Optional[str] = ...) -> None: ...

class GetTrailResponse(_message.Message):
    __slots__ = ("steps", "findings")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[TrailStep]
    findings: _containers.RepeatedCompositeFieldContainer[TrailFinding]
    def __init__(self, steps: _Optional[_Iterable[_Union[TrailStep, _Mapping]]] = ..., findings: _Optional[_Iterable[_Union[TrailFinding, _Mapping]]] = ...) -> None: ...

class TrailFinding(_message.Message):
    __slots__ = ("kind", "says")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SAYS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    says: str
    def __init__(self, kind: _Optional[str] = ..., says: _Optional[str] = ...) -> None: ...

class GetMemberEvidenceRequest(_message.Message):
    __slots__ = ("member_id", "index")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    member_id: str
    index: int
    def __init__(self, member_id: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...

class GetMemberEvidenceResponse(_message.Message):
    __slots__ = ("evidence",)
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    evidence: bytes
    def __init__(self, evidence: _Optional[bytes] = ...) -> None: ...

class GetMemberRangeRequest(_message.Message):
    __slots__ = ("member_id", "first", "count", "anchored")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ANCHORED_FIELD_NUMBER: _ClassVar[int]
    member_id: str
    first: int
    count: int
    anchored: bool
    def __init__(self, member_id: _Optional[str] = ..., first: _Optional[int] = ..., count: _Optional[int] = ..., anchored: _Optional[bool] = ...) -> None: ...

class GetMemberRangeResponse(_message.Message):
    __slots__ = ("piece",)
    PIECE_FIELD_NUMBER: _ClassVar[int]
    piece: bytes
    def __init__(self, piece: _Optional[bytes] = ...) -> None: ...
