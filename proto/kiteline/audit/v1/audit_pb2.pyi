from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class GetCheckpointRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCheckpointResponse(_message.Message):
    __slots__ = ("checkpoint_note", "anchored_note")
    CHECKPOINT_NOTE_FIELD_NUMBER: _ClassVar[int]
    ANCHORED_NOTE_FIELD_NUMBER: _ClassVar[int]
    checkpoint_note: bytes
    anchored_note: bytes
    def __init__(self, checkpoint_note: _Optional[bytes] = ..., anchored_note: _Optional[bytes] = ...) -> None: ...

class ListEntriesRequest(_message.Message):
    __slots__ = ("grant_id", "dataset_id", "member_id")
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    grant_id: bytes
    dataset_id: bytes
    member_id: str
    def __init__(self, grant_id: _Optional[bytes] = ..., dataset_id: _Optional[bytes] = ..., member_id: _Optional[str] = ...) -> None: ...

class ListEntriesResponse(_message.Message):
    __slots__ = ("checkpoint_note", "index", "entry", "path")
    CHECKPOINT_NOTE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    checkpoint_note: bytes
    index: int
    entry: bytes
    path: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, checkpoint_note: _Optional[bytes] = ..., index: _Optional[int] = ..., entry: _Optional[bytes] = ..., path: _Optional[_Iterable[bytes]] = ...) -> None: ...

class GetConsistencyRequest(_message.Message):
    __slots__ = ("old_size", "new_size")
    OLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    NEW_SIZE_FIELD_NUMBER: _ClassVar[int]
    old_size: int
    new_size: int
    def __init__(self, old_size: _Optional[int] = ..., new_size: _Optional[int] = ...) -> None: ...

class GetConsistencyResponse(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, path: _Optional[_Iterable[bytes]] = ...) -> None: ...

class GetEvidenceRequest(_message.Message):
    __slots__ = ("index",)
    INDEX_FIELD_NUMBER: _ClassVar[int]
    index: int
    def __init__(self, index: _Optional[int] = ...) -> None: ...

class GetEvidenceResponse(_message.Message):
    __slots__ = ("evidence",)
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    evidence: bytes
    def __init__(self, evidence: _Optional[bytes] = ...) -> None: ...

class GetRangeRequest(_message.Message):
    __slots__ = ("first", "count", "anchored")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ANCHORED_FIELD_NUMBER: _ClassVar[int]
    first: int
    count: int
    anchored: bool
    def __init__(self, first: _Optional[int] = ..., count: _Optional[int] = ..., anchored: _Optional[bool] = ...) -> None: ...

class GetRangeResponse(_message.Message):
    __slots__ = ("piece",)
    PIECE_FIELD_NUMBER: _ClassVar[int]
    piece: bytes
    def __init__(self, piece: _Optional[bytes] = ...) -> None: ...

class CosignRequest(_message.Message):
    __slots__ = ("checkpoint_note", "old_size", "path")
    CHECKPOINT_NOTE_FIELD_NUMBER: _ClassVar[int]
    OLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    checkpoint_note: bytes
    old_size: int
    path: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, checkpoint_note: _Optional[bytes] = ..., old_size: _Optional[int] = ..., path: _Optional[_Iterable[bytes]] = ...) -> None: ...

class CosignResponse(_message.Message):
    __slots__ = ("cosignature_line",)
    COSIGNATURE_LINE_FIELD_NUMBER: _ClassVar[int]
    cosignature_line: str
    def __init__(self, cosignature_line: _Optional[str] = ...) -> None: ...

class StateFinalityRequest(_message.Message):
    __slots__ = ("chain_id", "block_number", "block_hash")
    CHAIN_ID_FIELD_NUMBER: _ClassVar[int]
    BLOCK_NUMBER_FIELD_NUMBER: _ClassVar[int]
    BLOCK_HASH_FIELD_NUMBER: _ClassVar[int]
    chain_id: int
    block_number: int
    block_hash: bytes
    def __init__(self, chain_id: _Optional[int] = ..., block_number: _Optional[int] = ..., block_hash: _Optional[bytes] = ...) -> None: ...

class StateFinalityResponse(_message.Message):
    __slots__ = ("finality_note",)
    FINALITY_NOTE_FIELD_NUMBER: _ClassVar[int]
    finality_note: bytes
    def __init__(self, finality_note: _Optional[bytes] = ...) -> None: ...
