"""Between values and bytes: the one codec of envelopes, results and records.

Strict JSON in both directions, by the one rule set of `strict_json`: what `encode`
accepts `decode` gives back equal, and what `decode` refuses `encode` never writes. Rule
of this module: bytes come from strangers, so every failure is one error of our own tree.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NoReturn

import msgspec

from stem_core.model.envelope import MAX_INSTANT_MS, WIRE_VERSION, Envelope, check_envelope
from stem_core.model.errors import (
    EnqueueError,
    InvalidOption,
    MalformedEnvelope,
    NotEncodable,
    ResultCorrupt,
    UnsupportedVersion,
)
from stem_core.model.options import TaskOptions
from stem_core.model.outcome import Record, TaskError
from stem_core.model.seal import UNSIGNED, Seal
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
from stem_core.model.wire import AnyVersion, WireError, WireRecord, WireSeal

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
    "options_text",
]

_RECORD_VERSION: Final = 1

_write: Final = msgspec.json.Encoder().encode
_read_envelope: Final = msgspec.json.Decoder(Envelope).decode
_read_version: Final = msgspec.json.Decoder(AnyVersion).decode
_read_record: Final = msgspec.json.Decoder(WireRecord).decode
_read_any: Final = msgspec.json.Decoder().decode


# ── envelopes ────────────────────────────────────────────────────────────────


def encode(
    envelope: Envelope,
    *,
    max_bytes: int = MAX_BODY,
    checked: dict[str, object] | None = None,
) -> bytes:
    """Return the body of *envelope*: compact JSON, fields in a fixed order, defaults left out.

    *checked* are options that were encoded before and that nobody changes; they are not
    looked at again when they are those of *envelope*.

    Raises:
        EnqueueError: `NotEncodable` with the path of the value, `PayloadTooLarge`,
            `InvalidName` or `InvalidOption`.
    """
    if type(envelope) is not Envelope:  # a subclass may have fields that decode refuses
        raise NotEncodable(f"an Envelope is needed, got {type(envelope).__name__}")
    check_envelope(envelope)
    meta, options, continuations = envelope.meta, envelope.options, envelope.continuations
    check_object(envelope.args, "args", max_bytes)
    if meta or type(meta) is not dict:
        check_object(meta, "meta", max_bytes)
    if options is not checked and (options or type(options) is not dict):
        _check_options(options, max_bytes)
    if continuations or type(continuations) is not tuple:
        _check_continuations(continuations, max_bytes)
    try:
        body = _write(envelope)
    except (TypeError, ValueError) as error:
        raise unwritable(error, msgspec.structs.asdict(envelope)) from None
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
        envelope = _read_envelope(body)
    except UNREADABLE as error:
        _refuse(body, error)
    if envelope.version != WIRE_VERSION:
        _refuse(body, None)
    try:
        check_envelope(envelope)
    except (EnqueueError, ValueError) as error:
        raise MalformedEnvelope(f"not an envelope: {error}") from error
    if envelope.options:
        _read_options(_write(envelope.options))
    if _write(envelope) != body:
        _check_spelling(body)
    return envelope


def _check_spelling(body: bytes) -> None:
    """Return if *body* says what we read in it, though we would have written it in another way."""
    try:
        _read_version(body)
    except UNREADABLE as error:
        raise MalformedEnvelope(f"not an envelope: {error}") from error
    if (key := duplicate_key(body)) is not None:
        raise MalformedEnvelope(f"the key {key!a:.60} occurs twice in one object")


def options_of(envelope: Envelope) -> TaskOptions:
    """Return the options that were given with *envelope*. Cheap for options seen before.

    Raises:
        MalformedEnvelope: not for an envelope that `decode` returned.
    """
    return _read_options(options_text(envelope))


def options_text(envelope: Envelope) -> bytes:
    """Return the options of *envelope* as they are written: what is the same asks for the same."""
    return _write(envelope.options)


def _read_options(data: bytes) -> TaskOptions:
    # Few different options are in use at a time; large ones would only fill the memory.
    return _remembered_options(data) if len(data) <= 1024 else _parse_options(data)


def _parse_options(data: bytes) -> TaskOptions:
    return TaskOptions.from_given(_read_any(data))


_remembered_options: Final = lru_cache(maxsize=1024)(_parse_options)


def _refuse(body: bytes, cause: Exception | None) -> NoReturn:
    """Raise what says most about a *body* that is no envelope of our version."""
    try:
        version = _read_version(body).version
    except msgspec.ValidationError as error:
        version, cause = 0, error  # says more than what its other fields are like
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


def _check_options(options: dict[str, object], max_bytes: int) -> None:
    check_object(options, "options", max_bytes)
    try:
        _read_options(_write(options))
    except MalformedEnvelope as error:
        raise InvalidOption(error.message) from error


def _check_continuations(messages: object, max_bytes: int) -> None:
    if type(messages) is not tuple:
        raise NotEncodable("continuations: a tuple is needed")
    for place, message in enumerate(messages):
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


_SHORT: Final = 64
"""Bytes of a value that says what many say: nothing, a number, yes."""

_is_value: Final = lru_cache(maxsize=256)(decode_value)


def encode_record(record: Record) -> bytes:
    """Return *record* as one JSON object, for stores that keep it as a blob.

    Lone surrogates in an error's text are escaped: what a task failed with must
    never prevent that its failure is stored.

    Raises:
        NotEncodable: the meta is no JSON.
        ResultCorrupt: the value is not what `encode_value` returns.
    """
    value = record.value
    if value is not None:
        (decode_value if len(value) > _SHORT else _is_value)(value)
    if record.meta != {}:
        check_object(record.meta, "meta", MAX_BODY)
    wire = _to_wire_record(record)
    try:
        return _write(wire)
    except (TypeError, ValueError):
        _escape(wire)
    try:
        return _write(wire)
    except (TypeError, ValueError) as error:
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
    instants = (wire.enqueued_at_ms, wire.started_at_ms, wire.finished_at_ms)
    if min(instants) < 0 or max(instants) > MAX_INSTANT_MS:
        raise ResultCorrupt("a record with an instant outside the years 1970 to 9999")
    return _from_wire_record(wire)


def _to_wire_record(record: Record) -> WireRecord:
    error, seal = record.error, record.seal
    return WireRecord(
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
        seal=None if seal is UNSIGNED or seal.is_empty else _to_wire_seal(seal),
    )


def _to_wire_seal(seal: Seal) -> WireSeal:
    return WireSeal(alg=seal.algorithm, key=seal.key_id, sig=seal.signature)


def _to_wire_error(error: TaskError) -> WireError:
    return WireError(error.type, error.message, error.traceback, error.attempt, error.at_ms)


def _from_wire_record(wire: WireRecord) -> Record:
    return Record(
        id=wire.id,
        state=wire.state,
        fence=wire.fence,
        attempt=wire.attempt,
        task=wire.task,
        queue=wire.queue,
        value=None if wire.value is msgspec.UNSET else bytes(wire.value),
        error=None if wire.error is None else TaskError(**msgspec.structs.asdict(wire.error)),
        reason=wire.reason,
        meta=wire.meta,
        enqueued_at_ms=wire.enqueued_at_ms,
        started_at_ms=wire.started_at_ms,
        finished_at_ms=wire.finished_at_ms,
        worker=wire.worker,
        ttl_ms=wire.ttl_ms,
        seal=(UNSIGNED if wire.seal is None else Seal(wire.seal.alg, wire.seal.key, wire.seal.sig)),
    )


def _escape(wire: WireRecord) -> None:
    """Make the texts that a failing task or its host chose such that they can be written."""
    wire.reason = _escaped(wire.reason)
    wire.worker = _escaped(wire.worker)
    if wire.error is not None:
        wire.error.type = _escaped(wire.error.type)
        wire.error.message = _escaped(wire.error.message)
        wire.error.traceback = _escaped(wire.error.traceback)


def _escaped(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
