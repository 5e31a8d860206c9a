"""Messages, their errors and records as the server keeps them, and back.

Rule of this module: pure. What SQL must decide by is a column; what nobody asks about while a
message waits is one JSON text in `more`, absent for most messages.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import msgspec

from stem_core.plugin import (
    Delivery,
    Fault,
    Located,
    Message,
    Place,
    Receipt,
    Record,
    State,
    StemError,
    StoreError,
    TaskError,
    UniqueKey,
    decode_record,
    replace,
)
from stem_postgres.arrays import Booleans, Bytes, Int2s, Int8s, Texts, columns

__all__ = [
    "RECORD_COLUMNS",
    "columns_of",
    "error_bytes",
    "locate",
    "message_of",
    "read_delivery",
    "read_record",
    "record_columns",
    "row_of",
]

_KINDS: Final = {"finished": 1, "started": 2, "window": 3}
_WAITING, _PARKED, _LEASED, _DEAD = range(4)
"""The values of the column `place`; 3 stands for the table of the dead."""


class _More(msgspec.Struct, omit_defaults=True, gc=False):
    """What was published beside the columns. A default is not written."""

    delay_ms: int = 0
    not_before_ms: int = 0
    expires_at_ms: int = 0
    max_lapses: int = 5
    unique: UniqueKey | None = None
    partition: str = ""
    limit_keys: tuple[str, ...] = ()
    content_type: str = ""
    key_id: str = ""
    algorithm: str = ""
    signature: bytes = b""


_JSON: Final = "application/json"
"""The content type of nearly all, which is not written."""

_log: Final = logging.getLogger("stem.postgres")
_write: Final = msgspec.json.Encoder().encode
_read_more: Final = msgspec.json.Decoder(_More).decode
_read_error: Final = msgspec.json.Decoder(TaskError).decode


_COLUMNS: Final = (
    Texts, Texts, Texts, Int2s, Int8s, Int8s, Int8s, Int8s, Int8s, Int2s, Texts, Int8s, Bytes,
    Bytes,
)  # fmt: skip
"""Of what kind each value of `row_of` is."""

_STATES: Final = {state: (state.is_terminal, state.value) for state in State}

RECORD_COLUMNS: Final = (Int8s, Booleans, Texts, Texts, Texts, Int8s, Bytes)
"""Of what kind each value of `record_columns` is."""


# ── messages ─────────────────────────────────────────────────────────────────


def columns_of(messages: Sequence[Message]) -> Sequence[list[Any]]:
    """Return what is written of *messages*, column by column, as `publish` takes them."""
    return columns(map(row_of, messages), _COLUMNS)


def row_of(message: Message) -> tuple[Any, ...]:
    """Return what is written of *message*, as `admit` takes it."""
    unique = message.unique
    kind, key, window_ms = 0, "", 0
    if unique is not None:
        kind, key, window_ms = _KINDS[unique.until], unique.key, unique.window_ms
    return (
        message.id, message.queue, message.task, 9 - message.priority, message.lease_ms,
        message.dedupe_for_ms, _digest_of(message.body), max(0, message.delay_ms),
        message.not_before_ms, kind, key, window_ms, _more_of(message), message.body,
    )  # fmt: skip


def _digest_of(body: bytes) -> int:
    """Return 64 bits by which two bodies of one id are told apart once the body is gone."""
    return int.from_bytes(blake2b(body, digest_size=8).digest(), "big", signed=True)


def _more_of(message: Message) -> bytes:
    if _says_no_more(message):
        return b""
    data = _write(
        _More(
            message.delay_ms,
            message.not_before_ms,
            message.expires_at_ms,
            message.max_lapses,
            message.unique,
            message.partition,
            message.limit_keys,
            "" if message.content_type == _JSON else message.content_type,
            message.key_id,
            message.algorithm,
            message.signature,
        )
    )
    return b"" if data == b"{}" else data


def _says_no_more(message: Message) -> bool:
    """Decide quickly whether all of it is as most messages have it."""
    return (
        message.delay_ms == 0
        and message.not_before_ms == 0
        and message.expires_at_ms == 0
        and message.max_lapses == 5
        and message.unique is None
        and not message.limit_keys
        and message.content_type == _JSON
        and not (message.partition or message.key_id or message.algorithm or message.signature)
    )


def message_of(row: Sequence[Any]) -> Message:
    """Return id, queue, task, rank, lease, dedupe, more and body as the message of the publish."""
    id, queue, task, rank, lease_ms, dedupe_ms, more, body = row
    if more is None:  # as most messages have it
        return Message(
            id=id,
            queue=queue,
            task=task,
            body=body,
            priority=9 - rank,
            lease_ms=lease_ms,
            dedupe_for_ms=dedupe_ms,
        )
    rest = _rest_of(id, more)
    return Message(
        id=id,
        queue=queue,
        task=task,
        body=body,
        priority=9 - rank,
        delay_ms=rest.delay_ms,
        not_before_ms=rest.not_before_ms,
        expires_at_ms=rest.expires_at_ms,
        lease_ms=lease_ms,
        max_lapses=rest.max_lapses,
        dedupe_for_ms=dedupe_ms,
        unique=rest.unique,
        partition=rest.partition,
        limit_keys=rest.limit_keys,
        content_type=rest.content_type or _JSON,
        key_id=rest.key_id,
        algorithm=rest.algorithm,
        signature=rest.signature,
    )


_PLAIN: Final = _More()


def _rest_of(id: str, more: bytes) -> _More:
    """Read the column `more`. A damaged one must not stop its queue: the worker, which compares
    with the signed body, buries the message."""
    try:
        return _read_more(more)
    except msgspec.MsgspecError as error:
        _log.error("message %s is damaged: %s", id, error)
        return _PLAIN


def read_delivery(row: Sequence[Any]) -> Delivery:
    """Return a row of `fetch` as a delivery."""
    now_ms, until_ms = row[1], row[4]
    fence, failed, lapses, releases, parked_ms, cancel_reason, errors = row[13:20]
    message = message_of(row[5:13])
    return Delivery(
        message=message,
        receipt=Receipt(message.id, message.queue, fence),
        attempt=failed + 1,
        lapses=lapses,
        releases=releases,
        parked_ms=0 if parked_ms is None else max(1, now_ms - parked_ms),
        lease_ms=max(0, until_ms - now_ms),
        cancel_requested=cancel_reason is not None,
        cancel_reason=cancel_reason or "",
        errors=_errors(errors) if errors else (),
    )


def locate(row: Sequence[Any]) -> Located:
    """Describe a row of the statements in ``lookup.sql``."""
    now_ms, place = row[0], row[1]
    fence, base, failed, lapses, releases, ready_ms, until_ms, worker = row[10:18]
    cancel_reason, errors, reason, died_at_ms = row[18:22]
    where = _place(place, ready_ms > now_ms)
    is_leased = where is Place.LEASED
    waits = ready_ms > now_ms and where in (Place.DELAYED, Place.PARKED)
    return Located(
        place=where,
        message=message_of(row[2:10]),
        fence=fence if fence > base else 0,
        attempt=failed + 1 if is_leased else failed,
        lapses=lapses,
        releases=releases,
        run_at_ms=ready_ms if waits else 0,
        lease_ms=max(0, until_ms - now_ms) if is_leased else 0,
        worker=(worker or "") if is_leased else "",
        cancel_requested=cancel_reason is not None,
        cancel_reason=cancel_reason or "",
        reason=reason or "",
        died_at_ms=died_at_ms,
        errors=_errors(errors),
    )


def _place(place: int, lies_ahead: bool) -> Place:
    if place == _WAITING:
        return Place.DELAYED if lies_ahead else Place.READY
    return {_PARKED: Place.PARKED, _LEASED: Place.LEASED, _DEAD: Place.DEAD}[place]


# ── errors ───────────────────────────────────────────────────────────────────


def error_bytes(error: TaskError | None) -> bytes:
    """Return *error* as it is kept among those of its message; empty for none."""
    return b"" if error is None else _write(error)


def _errors(kept: Iterable[bytes] | None) -> tuple[TaskError, ...]:
    return tuple(map(_error, kept)) if kept else ()


def _error(data: bytes) -> TaskError:
    try:
        return _read_error(data)
    except msgspec.MsgspecError as error:
        return TaskError(type="stem.unreadable", message=f"a stored error is damaged: {error}")


# ── records ──────────────────────────────────────────────────────────────────


def record_columns(record: Record, data: bytes) -> tuple[Any, ...]:
    """Return fence, whether it is terminal, state, names, time and bytes, as `offer` takes them."""
    ttl_ms = record.ttl_ms
    return (
        record.fence, *_STATES[record.state], _name(record.task), _name(record.queue),
        ttl_ms if ttl_ms > 0 else 0, data,
    )  # fmt: skip


@lru_cache(maxsize=256)  # tasks and queues are few, and asked about with each record
def _name(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return text
    return text.encode(errors="replace").decode().replace("\0", "")


def read_record(row: Sequence[Any]) -> Record:
    """Return a row of the statements in ``records.sql``. Its columns count, not its JSON."""
    _, fence, reopened, data = row
    try:
        record = decode_record(data)
    except StemError as error:
        raise StoreError(f"a stored record cannot be read: {error}", fault=Fault.DATA) from None
    if record.fence != fence:
        record = replace(record, fence=fence)
    if reopened:
        record = replace(record, state=State.QUEUED, value=None, reason="", finished_at_ms=0)
    return record
