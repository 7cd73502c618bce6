from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class InclusionProof(_message.Message):
    __slots__ = ("index", "size", "path")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    index: int
    size: int
    path: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, index: _Optional[int] = ..., size: _Optional[int] = ..., path: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Segment(_message.Message):
    __slots__ = ("sequence", "position", "blob")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    position: int
    blob: bytes
    def __init__(self, sequence: _Optional[int] = ..., position: _Optional[int] = ..., blob: _Optional[bytes] = ...) -> None: ...

class Dataset(_message.Message):
    __slots__ = ("dataset_id", "provider_id", "description_note", "version_note", "record_count")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_NOTE_FIELD_NUMBER: _ClassVar[int]
    VERSION_NOTE_FIELD_NUMBER: _ClassVar[int]
    RECORD_COUNT_FIELD_NUMBER: _ClassVar[int]
    dataset_id: bytes
    provider_id: str
    description_note: bytes
    version_note: bytes
    record_count: int
    def __init__(self, dataset_id: _Optional[bytes] = ..., provider_id: _Optional[str] = ..., description_note: _Optional[bytes] = ..., version_note: _Optional[bytes] = ..., record_count: _Optional[int] = ...) -> None: ...
