from kiteline.exchange.v1 import statement_pb2 as _statement_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListDatasetsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListDatasetsResponse(_message.Message):
    __slots__ = ("datasets",)
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    datasets: _containers.RepeatedCompositeFieldContainer[_statement_pb2.Dataset]
    def __init__(self, datasets: _Optional[_Iterable[_Union[_statement_pb2.Dataset, _Mapping]]] = ...) -> None: ...

class SubmitRequestRequest(_message.Message):
    __slots__ = ("request_note",)
    REQUEST_NOTE_FIELD_NUMBER: _ClassVar[int]
    request_note: bytes
    def __init__(self, request_note: _Optional[bytes] = ...) -> None: ...

class SubmitRequestResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetDecisionRequest(_message.Message):
    __slots__ = ("grant_id",)
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    grant_id: bytes
    def __init__(self, grant_id: _Optional[bytes] = ...) -> None: ...

class GetDecisionResponse(_message.Message):
    __slots__ = ("decision_note",)
    DECISION_NOTE_FIELD_NUMBER: _ClassVar[int]
    decision_note: bytes
    def __init__(self, decision_note: _Optional[bytes] = ...) -> None: ...

class ExchangeRequest(_message.Message):
    __slots__ = ("order_note", "receipt_note")
    ORDER_NOTE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_NOTE_FIELD_NUMBER: _ClassVar[int]
    order_note: bytes
    receipt_note: bytes
    def __init__(self, order_note: _Optional[bytes] = ..., receipt_note: _Optional[bytes] = ...) -> None: ...

class ExchangeResponse(_message.Message):
    __slots__ = ("delivery", "segment", "key_release", "complete")
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    KEY_RELEASE_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    delivery: Delivery
    segment: _statement_pb2.Segment
    key_release: KeyRelease
    complete: OrderComplete
    def __init__(self, delivery: _Optional[_Union[Delivery, _Mapping]] = ..., segment: _Optional[_Union[_statement_pb2.Segment, _Mapping]] = ..., key_release: _Optional[_Union[KeyRelease, _Mapping]] = ..., complete: _Optional[_Union[OrderComplete, _Mapping]] = ...) -> None: ...

class Delivery(_message.Message):
    __slots__ = ("delivery_note", "segment_digests", "version_note")
    DELIVERY_NOTE_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_NOTE_FIELD_NUMBER: _ClassVar[int]
    delivery_note: bytes
    segment_digests: _containers.RepeatedScalarFieldContainer[bytes]
    version_note: bytes
    def __init__(self, delivery_note: _Optional[bytes] = ..., segment_digests: _Optional[_Iterable[bytes]] = ..., version_note: _Optional[bytes] = ...) -> None: ...

class KeyRelease(_message.Message):
    __slots__ = ("release_note", "wrapped_secrets")
    RELEASE_NOTE_FIELD_NUMBER: _ClassVar[int]
    WRAPPED_SECRETS_FIELD_NUMBER: _ClassVar[int]
    release_note: bytes
    wrapped_secrets: bytes
    def __init__(self, release_note: _Optional[bytes] = ..., wrapped_secrets: _Optional[bytes] = ...) -> None: ...

class OrderComplete(_message.Message):
    __slots__ = ("last_sequence",)
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    last_sequence: int
    def __init__(self, last_sequence: _Optional[int] = ...) -> None: ...

class QueryRequest(_message.Message):
    __slots__ = ("order_note", "key", "key_salt", "receipt_notes")
    ORDER_NOTE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_SALT_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_NOTES_FIELD_NUMBER: _ClassVar[int]
    order_note: bytes
    key: str
    key_salt: bytes
    receipt_notes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, order_note: _Optional[bytes] = ..., key: _Optional[str] = ..., key_salt: _Optional[bytes] = ..., receipt_notes: _Optional[_Iterable[bytes]] = ...) -> None: ...

class QueryResponse(_message.Message):
    __slots__ = ("delivery_note", "sealed_answer", "wrapped_secret", "version_note")
    DELIVERY_NOTE_FIELD_NUMBER: _ClassVar[int]
    SEALED_ANSWER_FIELD_NUMBER: _ClassVar[int]
    WRAPPED_SECRET_FIELD_NUMBER: _ClassVar[int]
    VERSION_NOTE_FIELD_NUMBER: _ClassVar[int]
    delivery_note: bytes
    sealed_answer: bytes
    wrapped_secret: bytes
    version_note: bytes
    def __init__(self, delivery_note: _Optional[bytes] = ..., sealed_answer: _Optional[bytes] = ..., wrapped_secret: _Optional[bytes] = ..., version_note: _Optional[bytes] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("record", "salt", "proof", "granted_values", "leaf_hash")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    GRANTED_VALUES_FIELD_NUMBER: _ClassVar[int]
    LEAF_HASH_FIELD_NUMBER: _ClassVar[int]
    record: bytes
    salt: bytes
    proof: _statement_pb2.InclusionProof
    granted_values: bytes
    leaf_hash: bytes
    def __init__(self, record: _Optional[bytes] = ..., salt: _Optional[bytes] = ..., proof: _Optional[_Union[_statement_pb2.InclusionProof, _Mapping]] = ..., granted_values: _Optional[bytes] = ..., leaf_hash: _Optional[bytes] = ...) -> None: ...

class SubmitReceiptsRequest(_message.Message):
    __slots__ = ("receipt_notes",)
    RECEIPT_NOTES_FIELD_NUMBER: _ClassVar[int]
    receipt_notes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, receipt_notes: _Optional[_Iterable[bytes]] = ...) -> None: ...

class SubmitReceiptsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
