from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_KIND_UNSPECIFIED: _ClassVar[KeyKind]
    KEY_KIND_SIGNING: _ClassVar[KeyKind]
    KEY_KIND_ENCRYPTION: _ClassVar[KeyKind]
    KEY_KIND_ACCOUNT: _ClassVar[KeyKind]
    KEY_KIND_TLS: _ClassVar[KeyKind]
    KEY_KIND_AT_REST: _ClassVar[KeyKind]

class RotationMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROTATION_MODE_UNSPECIFIED: _ClassVar[RotationMode]
    ROTATION_MODE_THROUGH: _ClassVar[RotationMode]
    ROTATION_MODE_HOLD: _ClassVar[RotationMode]
    ROTATION_MODE_DRILL: _ClassVar[RotationMode]
KEY_KIND_UNSPECIFIED: KeyKind
KEY_KIND_SIGNING: KeyKind
KEY_KIND_ENCRYPTION: KeyKind
KEY_KIND_ACCOUNT: KeyKind
KEY_KIND_TLS: KeyKind
KEY_KIND_AT_REST: KeyKind
ROTATION_MODE_UNSPECIFIED: RotationMode
ROTATION_MODE_THROUGH: RotationMode
ROTATION_MODE_HOLD: RotationMode
ROTATION_MODE_DRILL: RotationMode

class Key(_message.Message):
    __slots__ = ("kind", "number", "state", "digest", "since_ms")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    kind: KeyKind
    number: int
    state: str
    digest: bytes
    since_ms: int
    def __init__(self, kind: _Optional[_Union[KeyKind, str]] = ..., number: _Optional[int] = ..., state: _Optional[str] = ..., digest: _Optional[bytes] = ..., since_ms: _Optional[int] = ...) -> None: ...

class Rotation(_message.Message):
    __slots__ = ("kind", "number", "step", "mode", "begun_ms")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    BEGUN_MS_FIELD_NUMBER: _ClassVar[int]
    kind: KeyKind
    number: int
    step: str
    mode: RotationMode
    begun_ms: int
    def __init__(self, kind: _Optional[_Union[KeyKind, str]] = ..., number: _Optional[int] = ..., step: _Optional[str] = ..., mode: _Optional[_Union[RotationMode, str]] = ..., begun_ms: _Optional[int] = ...) -> None: ...

class ListKeysRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListKeysResponse(_message.Message):
    __slots__ = ("member_id", "keys", "rotation")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    ROTATION_FIELD_NUMBER: _ClassVar[int]
    member_id: str
    keys: _containers.RepeatedCompositeFieldContainer[Key]
    rotation: Rotation
    def __init__(self, member_id: _Optional[str] = ..., keys: _Optional[_Iterable[_Union[Key, _Mapping]]] = ..., rotation: _Optional[_Union[Rotation, _Mapping]] = ...) -> None: ...

class RotateKeyRequest(_message.Message):
    __slots__ = ("kind", "mode")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    kind: KeyKind
    mode: RotationMode
    def __init__(self, kind: _Optional[_Union[KeyKind, str]] = ..., mode: _Optional[_Union[RotationMode, str]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("what", "done", "total")
    WHAT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    what: str
    done: int
    total: int
    def __init__(self, what: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("kind", "number", "step", "report")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    kind: KeyKind
    number: int
    step: str
    report: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, kind: _Optional[_Union[KeyKind, str]] = ..., number: _Optional[int] = ..., step: _Optional[str] = ..., report: _Optional[_Iterable[str]] = ...) -> None: ...

class RotateKeyResponse(_message.Message):
    __slots__ = ("progress", "outcome")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    outcome: Outcome
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., outcome: _Optional[_Union[Outcome, _Mapping]] = ...) -> None: ...

class CommitRotationRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CommitRotationResponse(_message.Message):
    __slots__ = ("progress", "outcome")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    outcome: Outcome
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., outcome: _Optional[_Union[Outcome, _Mapping]] = ...) -> None: ...

class UndoRotationRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UndoRotationResponse(_message.Message):
    __slots__ = ("outcome",)
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    def __init__(self, outcome: _Optional[_Union[Outcome, _Mapping]] = ...) -> None: ...

class DeclareCompromiseRequest(_message.Message):
    __slots__ = ("kind", "since_seconds", "number")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SINCE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    kind: KeyKind
    since_seconds: int
    number: int
    def __init__(self, kind: _Optional[_Union[KeyKind, str]] = ..., since_seconds: _Optional[int] = ..., number: _Optional[int] = ...) -> None: ...

class AffectedEntry(_message.Message):
    __slots__ = ("index", "time_ms", "event", "subject", "note_digest")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    NOTE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    index: int
    time_ms: int
    event: str
    subject: str
    note_digest: bytes
    def __init__(self, index: _Optional[int] = ..., time_ms: _Optional[int] = ..., event: _Optional[str] = ..., subject: _Optional[str] = ..., note_digest: _Optional[bytes] = ...) -> None: ...

class Declaration(_message.Message):
    __slots__ = ("kind", "old_number", "new_number", "epochs", "transaction_hashes")
    KIND_FIELD_NUMBER: _ClassVar[int]
    OLD_NUMBER_FIELD_NUMBER: _ClassVar[int]
    NEW_NUMBER_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_HASHES_FIELD_NUMBER: _ClassVar[int]
    kind: KeyKind
    old_number: int
    new_number: int
    epochs: _containers.RepeatedScalarFieldContainer[int]
    transaction_hashes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, kind: _Optional[_Union[KeyKind, str]] = ..., old_number: _Optional[int] = ..., new_number: _Optional[int] = ..., epochs: _Optional[_Iterable[int]] = ..., transaction_hashes: _Optional[_Iterable[bytes]] = ...) -> None: ...

class DeclareCompromiseResponse(_message.Message):
    __slots__ = ("progress", "declaration", "entry")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    declaration: Declaration
    entry: AffectedEntry
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., declaration: _Optional[_Union[Declaration, _Mapping]] = ..., entry: _Optional[_Union[AffectedEntry, _Mapping]] = ...) -> None: ...
