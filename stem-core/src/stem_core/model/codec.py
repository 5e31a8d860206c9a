"""Between values and bytes: the one codec of envelopes, results and records.

Strict JSON in both directions, by the one rule set of `strict_json`: what `encode`
accepts `decode` gives back equal, and what `decode` refuses `encode` never writes. Rule
of this module: bytes come from strangers, so every failure is one error of our own tree.

msgspec does the work on structs rather than straight on the attrs classes: only
structs refuse unknown fields and leave out defaults.
"""

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, NoReturn

import msgspec
from attrs import evolve

from stem_core.model.envelope import (
    MAX_INSTANT_MS,
    RESERVED,
    WIRE_VERSION,
    Envelope,
    check_envelope,
)
from stem_core.model.errors import (
    EnqueueError,
    InvalidOption,
    MalformedEnvelope,
    NotEncodable,
    ResultCorrupt,
    UnsupportedVersion,
)
from stem_core.model.options import TaskOptions
from stem_core.model.outcome import Record, State, TaskError
from stem_core.model.strict_json import (
    JSON,
    MAX_BODY,
    MAX_DEPTH,
    UNREADABLE,
    check_json,
    check_object,
    duplicate_key,
    fault_of_bytes,
    too_large,
    unwritable,
)

__all__ = [
    "JSON",
    "MAX_BODY",
    "MAX_DEPTH",
    "check_json",
    "decode",
    "decode_record",
    "decode_value",
    "encode",
    "encode_record",
    "encode_value",
    "options_of",
]

_RECORD_VERSION: Final = 1


# ── the wire ─────────────────────────────────────────────────────────────────


class _Wire(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An envelope as it is written: these names, this order, defaults left out."""

    version: int
    id: str
    task: str
    namespace: str
    queue: str
    enqueued_at_ms: int
    args: dict[str, Any] = {}
    headers: dict[str, str] = {}
    meta: dict[str, Any] = {}
    not_before_ms: int | None = None
    delay_ms: int | None = None
    expires_at_ms: int | None = None
    priority: int = 0
    options: dict[str, Any] = {}
    parent: str | None = None
    root: str | None = None
    continuations: tuple[dict[str, Any], ...] = ()


class _WireWithReserved(_Wire, forbid_unknown_fields=True, omit_defaults=True):
    """The names that version 1 keeps free, in a type of their own: absent, they cost nothing."""

    key_id: str | None = None
    issuer: str | None = None
    schema: str | None = None
    partition: str | None = None
    content_type: str | None = None
    compression: str | None = None
    reference: str | None = None


class _AnyVersion(msgspec.Struct):
    """As much of an envelope as every version will have."""

    version: int


class _WireError(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    type: str
    message: str = ""
    traceback: str = ""
    attempt: int = 0
    at_ms: int = 0


class _WireRecord(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A record as it is written. The value is embedded as the JSON that it is."""

    version: int
    id: str
    state: State
    ttl_ms: int
    fence: int = 0
    attempt: int = 0
    task: str = ""
    queue: str = ""
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: _WireError | None = None
    reason: str = ""
    meta: dict[str, Any] = {}
    enqueued_at_ms: int = 0
    started_at_ms: int = 0
    finished_at_ms: int = 0
    worker: str = ""


_FIELDS: Final = _Wire.__struct_fields__
_fields_of: Final = attrgetter(*_FIELDS)
_write: Final = msgspec.json.Encoder().encode
_read_envelope: Final = msgspec.json.Decoder(_Wire).decode
_read_reserved: Final = msgspec.json.Decoder(_WireWithReserved).decode
_read_version: Final = msgspec.json.Decoder(_AnyVersion).decode
_read_record: Final = msgspec.json.Decoder(_WireRecord).decode
_read_any: Final = msgspec.json.Decoder().decode

_instants_of: Final = attrgetter("enqueued_at_ms", "started_at_ms", "finished_at_ms")


# ── envelopes ────────────────────────────────────────────────────────────────


def encode(envelope: Envelope, *, max_bytes: int = MAX_BODY) -> bytes:
    """Return the body of *envelope*: compact JSON, fields in a fixed order, defaults left out.

    Raises:
        EnqueueError: `NotEncodable` with the path of the value, `PayloadTooLarge`,
            `InvalidName` or `InvalidOption`.
    """
    check_envelope(envelope)
    _check_contents(envelope, max_bytes)
    values = _fields_of(envelope)
    try:
        body = _write(_with_reserved(envelope, values) if envelope.reserved else _Wire(*values))
    except ValueError as error:
        raise unwritable(error, dict(zip(_FIELDS, values, strict=True))) from None
    if len(body) > max_bytes:
        raise too_large(len(body), max_bytes)
    return body


def decode(body: bytes, *, max_bytes: int = MAX_BODY) -> Envelope:
    """Return the envelope in *body*, completely checked, its options too.

    Raises:
        UnsupportedVersion: a newer release wrote it; park it.
        MalformedEnvelope: anything else is wrong with it.
    """
    if fault := fault_of_bytes(body, max_bytes):
        raise MalformedEnvelope(fault)
    try:
        wire = _read(body)
    except UNREADABLE as error:
        _refuse(body, error)
    if wire.version != WIRE_VERSION:
        _refuse(body, None)
    envelope = _to_envelope(wire)
    try:
        check_envelope(envelope)
    except (EnqueueError, ValueError) as error:
        raise MalformedEnvelope(f"not an envelope: {error}") from error
    if envelope.options:
        _read_options(_write(envelope.options))
    if _write(wire) != body and (key := duplicate_key(body)) is not None:
        raise MalformedEnvelope(f"the key {key!a:.60} occurs twice in one object")
    return envelope


def options_of(envelope: Envelope) -> TaskOptions:
    """Return the options that were given with *envelope*. Cheap for options seen before.

    Raises:
        MalformedEnvelope: not for an envelope that `decode` returned.
    """
    return _read_options(_write(envelope.options))


def _read_options(data: bytes) -> TaskOptions:
    # Few different options are in use at a time; large ones would only fill the memory.
    return _remembered_options(data) if len(data) <= 1024 else _parse_options(data)


def _parse_options(data: bytes) -> TaskOptions:
    return TaskOptions.from_given(_read_any(data))


_remembered_options: Final = lru_cache(maxsize=1024)(_parse_options)


def _with_reserved(envelope: Envelope, values: tuple[Any, ...]) -> _WireWithReserved:
    wire = _WireWithReserved(*values)
    for name, value in envelope.reserved.items():
        setattr(wire, name, value)
    return wire


def _read(body: bytes) -> _Wire:
    try:
        return _read_envelope(body)
    except msgspec.ValidationError:
        return _read_reserved(body)


def _to_envelope(wire: _Wire) -> Envelope:
    values = msgspec.structs.asdict(wire)
    reserved = {}
    if type(wire) is not _Wire:
        taken = [(name, values.pop(name)) for name in RESERVED]
        reserved = {name: value for name, value in taken if value is not None}
    values["reserved"] = reserved
    # The class has neither converters nor validators, so its __init__ would do the
    # same, field by field, in twice the time.
    envelope = object.__new__(Envelope)
    object.__setattr__(envelope, "__dict__", values)
    return envelope


def _refuse(body: bytes, cause: Exception | None) -> NoReturn:
    """Raise what says most about a *body* that is no envelope of our version."""
    try:
        version = _read_version(body).version
    except UNREADABLE:
        version = 0
    if version > WIRE_VERSION:
        raise UnsupportedVersion(
            f"wire version {version!s:.20}, this release reads up to {WIRE_VERSION}",
            way_out="Upgrade this worker, or let a newer one take it.",
        ) from cause
    if cause is None:
        raise MalformedEnvelope(f"there is no wire version {version!s:.20}")
    raise MalformedEnvelope(f"not an envelope: {cause}") from cause


def _check_contents(envelope: Envelope, max_bytes: int) -> None:
    check_object(envelope.args, "args", max_bytes)
    if envelope.meta:
        check_object(envelope.meta, "meta", max_bytes)
    if envelope.options:
        check_object(envelope.options, "options", max_bytes)
        try:
            options_of(envelope)
        except MalformedEnvelope as error:
            raise InvalidOption(error.message) from error
    if type(envelope.continuations) is not tuple:
        raise NotEncodable("continuations: a tuple is needed")
    for place, message in enumerate(envelope.continuations):
        # One deeper: they stand in a list of their own.
        check_object(message, f"continuations[{place}]", max_bytes, depth=3)


# ── values and records ───────────────────────────────────────────────────────


def encode_value(value: object, *, max_bytes: int = MAX_BODY) -> bytes:
    """Return a task's result as strict JSON.

    Raises:
        NotEncodable: with the path of what JSON cannot carry.
        PayloadTooLarge: it is longer than *max_bytes*.
    """
    check_json(value, "result", max_bytes=max_bytes)
    try:
        data = _write(value)
    except ValueError as error:
        raise unwritable(error, {"result": value}) from None
    if len(data) > max_bytes:
        raise too_large(len(data), max_bytes)
    return data


def decode_value(data: bytes) -> JSON:
    """Return what `encode_value` wrote.

    Raises:
        ResultCorrupt: *data* is anything else.
    """
    if fault := fault_of_bytes(data, None):
        raise ResultCorrupt(fault)
    try:
        value: JSON = _read_any(data)
    except UNREADABLE as error:
        raise ResultCorrupt(f"not a result: {error}") from error
    if _write(value) != data and (key := duplicate_key(data)) is not None:
        raise ResultCorrupt(f"the key {key!a:.60} occurs twice in one object")
    return value


def encode_record(record: Record) -> bytes:
    """Return *record* as one JSON object, for stores that keep it as a blob.

    Lone surrogates in an error's text are escaped: what a task failed with must
    never prevent that its failure is stored.

    Raises:
        NotEncodable: the meta is no JSON.
        ResultCorrupt: the value is not what `encode_value` returns.
    """
    if record.value is not None:
        decode_value(record.value)
    if record.meta:
        check_object(record.meta, "meta", MAX_BODY)
    try:
        return _write(_to_wire_record(record))
    except UnicodeEncodeError:
        printable = evolve(
            record,
            error=record.error and _printable(record.error),
            reason=_escaped(record.reason),
            worker=_escaped(record.worker),
        )
    try:
        return _write(_to_wire_record(printable))
    except ValueError as error:
        raise unwritable(
            error, {"meta": record.meta, "record": [record.id, record.task, record.queue]}
        ) from None


def decode_record(data: bytes) -> Record:
    """Return what `encode_record` wrote.

    Raises:
        ResultCorrupt: *data* is anything else.
    """
    if fault := fault_of_bytes(data, None):
        raise ResultCorrupt(fault)
    try:
        wire = _read_record(data)
    except UNREADABLE as error:
        raise ResultCorrupt(f"not a record: {error}") from error
    if wire.version != _RECORD_VERSION:
        raise ResultCorrupt(
            f"a record of version {wire.version!s:.20}, this release reads {_RECORD_VERSION}",
            way_out="Upgrade this process.",
        )
    if _write(wire) != data and (key := duplicate_key(data)) is not None:
        raise ResultCorrupt(f"the key {key!a:.60} occurs twice in one object")
    if not all(0 <= instant <= MAX_INSTANT_MS for instant in _instants_of(wire)):
        raise ResultCorrupt("a record with an instant outside the years 1970 to 9999")
    return _from_wire_record(wire)


def _to_wire_record(record: Record) -> _WireRecord:
    error = record.error
    return _WireRecord(
        version=_RECORD_VERSION,
        id=record.id,
        state=record.state,
        ttl_ms=record.ttl_ms,
        fence=record.fence,
        attempt=record.attempt,
        task=record.task,
        queue=record.queue,
        value=msgspec.UNSET if record.value is None else msgspec.Raw(record.value),
        error=None if error is None else _to_wire_error(error),
        reason=record.reason,
        meta=record.meta,
        enqueued_at_ms=record.enqueued_at_ms,
        started_at_ms=record.started_at_ms,
        finished_at_ms=record.finished_at_ms,
        worker=record.worker,
    )


def _to_wire_error(error: TaskError) -> _WireError:
    return _WireError(error.type, error.message, error.traceback, error.attempt, error.at_ms)


def _from_wire_record(wire: _WireRecord) -> Record:
    values = msgspec.structs.asdict(wire)
    del values["version"]
    values["value"] = None if wire.value is msgspec.UNSET else bytes(wire.value)
    values["error"] = wire.error and TaskError(**msgspec.structs.asdict(wire.error))
    return Record(**values)


def _printable(error: TaskError) -> TaskError:
    return evolve(
        error,
        type=_escaped(error.type),
        message=_escaped(error.message),
        traceback=_escaped(error.traceback),
    )


def _escaped(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
