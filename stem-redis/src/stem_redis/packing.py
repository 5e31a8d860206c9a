"""Messages, rows, errors and records as the bytes that the server keeps, and back.

Rule of this module: pure. The layouts are those of lua/parts/state.lua and records.lua.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import astuple

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

__all__ = [
    "Row",
    "digest_of",
    "error_bytes",
    "fixed_row",
    "locate",
    "message_bytes",
    "names_in",
    "names_in_row",
    "plain_row_around",
    "queue_of",
    "read_delivery",
    "read_errors",
    "read_message",
    "read_record",
    "read_row",
    "readable",
    "wait_of",
]

_CHANGING: Final = Struct("<BBBIIIQQQQQQQ")
_FIXED: Final = Struct("<QQBBQ")
_HEAD: Final = Struct("<BQQ")
_LENGTH: Final = Struct("<I")
_DIGEST_SIZE: Final = 8
_blank: Final = blake2b(digest_size=_DIGEST_SIZE)
_KINDS: Final = {"finished": 1, "started": 2, "window": 3}
_PLACES: Final = (Place.READY, Place.DELAYED, Place.PARKED, Place.LEASED, Place.DEAD)
_LONGEST_MS: Final = 100 * 365 * 86_400_000
_REOPENED: Final = 2


# ── messages ─────────────────────────────────────────────────────────────────


_write: Final = msgspec.msgpack.Encoder().encode
_read: Final = msgspec.msgpack.Decoder(Message).decode
_read_fields: Final = msgspec.msgpack.Decoder(list[Any]).decode
_UNIQUE: Final = Message.__struct_fields__.index("unique")
_write_error: Final = msgspec.json.Encoder().encode
_read_error: Final = msgspec.json.Decoder(TaskError).decode


def message_bytes(message: Message) -> bytes:
    """Return *message* as one text of bytes: its fields in their order, and so of its claim."""
    if message.unique is None:
        return _write(message)
    fields = list(astuple(message))
    fields[_UNIQUE] = astuple(message.unique)
    return _write(fields)


def read_message(data: bytes) -> Message:
    """Return what `message_bytes` wrote.

    Raises:
        StoreError: *data* is anything else.
    """
    try:
        try:
            return _read(data)
        except msgspec.ValidationError:
            return _with_claim(_read_fields(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(f"this is no message of Stem: {error}", fault=Fault.DATA) from None


def readable(id: str, queue: str, data: bytes) -> Message:
    """Return what `message_bytes` wrote; from anything else a message with *data* for its body,
    so that one that somebody has overwritten hides no other. The worker that reads it, buries it.
    """
    try:
        return read_message(data)
    except StoreError:
        return Message(id=id, queue=queue, task="", body=data)


def _with_claim(fields: list[Any]) -> Message:
    if len(fields) > _UNIQUE and isinstance(fields[_UNIQUE], list):
        names = UniqueKey.__struct_fields__
        fields[_UNIQUE] = dict(zip(names, fields[_UNIQUE], strict=False))
    return msgspec.convert(fields, Message)


def fixed_row(message: Message) -> bytes:
    """Return what the scripts must know of *message* and never change."""
    unique = message.unique
    before, queue = _same_for_many(
        message.lease_ms,
        message.dedupe_for_ms,
        message.priority,
        0 if unique is None else _KINDS[unique.until],
        0 if unique is None else unique.window_ms,
        message.queue,
    )
    if unique is None:
        return b"".join((before, digest_of(message.body), queue, b"\0\0"))
    key = unique.key.encode()
    size = len(key).to_bytes(2, "little")
    return b"".join((before, digest_of(message.body), queue, size, key))


def plain_row_around(message: Message) -> tuple[bytes, bytes]:
    """Return what stands before and behind the digest in the fixed row of *message* and of all
    like it: of its queue and priority, its lease and its dedupe window, and without a claim."""
    before, queue = _same_for_many(
        message.lease_ms, message.dedupe_for_ms, message.priority, 0, 0, message.queue
    )
    return before, queue + b"\0\0"


def digest_of(body: bytes) -> bytes:
    """Return what tells one body from another of the same id."""
    digest = _blank.copy()  # made anew with its arguments it takes twice as long
    digest.update(body)
    return digest.digest()


@lru_cache(256)
def _same_for_many(
    lease_ms: int, dedupe_for_ms: int, priority: int, kind: int, window_ms: int, queue: str
) -> tuple[bytes, bytes]:
    """Return what stands in the fixed row before the digest of a body, and the queue behind it."""
    dedupe_ms = min(max(0, dedupe_for_ms), _LONGEST_MS)
    window_ms = min(max(0, window_ms), _LONGEST_MS)
    name = queue.encode()
    before = _FIXED.pack(lease_ms, dedupe_ms, priority, kind, window_ms)
    return before, len(name).to_bytes(2, "little") + name


def wait_of(message: Message) -> str:
    """Return when *message* may be taken, as the scripts read it."""
    if message.not_before_ms:
        return f"@{message.not_before_ms}"
    return f"+{message.delay_ms}" if message.delay_ms > 0 else ""


# ── rows ─────────────────────────────────────────────────────────────────────


class Row(NamedTuple):
    """What the scripts keep of one message and change; instants in milliseconds, 0 for never."""

    place: int
    held: int
    cancel: int
    failed: int
    lapses: int
    releases: int
    fence: int
    base: int
    settled: int
    turn: int
    due_ms: int
    parked_at_ms: int
    died_at_ms: int


def read_row(data: bytes) -> Row:
    """Return the changing part of a row."""
    return Row._make(_CHANGING.unpack_from(data))


def names_in(fixed: bytes) -> Sequence[str]:
    """Return queue and unique key in what `fixed_row` wrote; nothing for anything else."""
    queue, rest = _name_at(fixed, _FIXED.size + _DIGEST_SIZE)
    key, end = _name_at(fixed, rest)
    return (queue, key) if end == len(fixed) else ()


def names_in_row(row: bytes) -> Sequence[str]:
    """Return queue and unique key in a row; nothing for what is none."""
    return names_in(row[_CHANGING.size :])


def _name_at(data: bytes, at: int) -> tuple[str, int]:
    """Return the text behind its length, and where it ends."""
    end = at + 2 + int.from_bytes(data[at : at + 2], "little")
    return data[at + 2 : end].decode(errors="replace"), end


def queue_of(row: bytes) -> str:
    """Return the queue in a row; empty for what is none."""
    return next(iter(names_in_row(row)), "")


def read_delivery(now_ms: int, kept: Sequence[bytes]) -> Delivery:
    """Return a message that was leased at *now_ms*: row, bytes, errors, why to cancel it."""
    row, message_data, errors, reason = kept
    message = read_message(message_data)
    _, _, cancel, failed, lapses, releases, fence, _, _, _, due_ms, parked_at_ms, _ = (
        _CHANGING.unpack_from(row)
    )
    return Delivery(
        message=message,
        receipt=Receipt(message.id, message.queue, fence),
        attempt=failed + 1,
        lapses=lapses,
        releases=releases,
        parked_ms=max(1, now_ms - parked_at_ms) if parked_at_ms else 0,
        lease_ms=max(0, due_ms - now_ms),
        cancel_requested=bool(cancel),
        cancel_reason=reason.decode(errors="replace") if reason else "",
        errors=read_errors(errors) if errors else (),
    )


def locate(now_ms: int, id: str, kept: Sequence[bytes | None]) -> Located:
    """Describe a message at *now_ms*: row, bytes, errors, why to cancel it, holder, why dead."""
    row_data = kept[0] or b""
    row, message = read_row(row_data), readable(id, queue_of(row_data), kept[1] or b"")
    place = _PLACES[row.place]
    is_leased, is_dead = place is Place.LEASED, place is Place.DEAD
    waits = row.due_ms and (place is Place.DELAYED or place is Place.PARKED)
    return Located(
        place=place,
        message=message,
        fence=row.fence if row.fence > row.base else 0,
        attempt=row.failed + 1 if is_leased else row.failed,
        lapses=row.lapses,
        releases=row.releases,
        run_at_ms=row.due_ms if waits else 0,
        lease_ms=max(0, row.due_ms - now_ms) if is_leased else 0,
        worker=_text(kept[4]) if is_leased else "",
        cancel_requested=bool(row.cancel),
        cancel_reason=_text(kept[3]) if row.cancel else "",
        reason=_text(kept[5]) if is_dead else "",
        died_at_ms=row.died_at_ms if is_dead else 0,
        errors=read_errors(kept[2] or b""),
    )


def _text(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace")


# ── errors ───────────────────────────────────────────────────────────────────


def error_bytes(error: TaskError | None) -> bytes:
    """Return *error* as it is kept among those of its message; empty for none."""
    return b"" if error is None else _write_error(error)


def read_errors(data: bytes) -> tuple[TaskError, ...]:
    """Return the errors in *data*: each stands behind its length. One that somebody has
    overwritten hides none that stand before it."""
    errors, at = [], 0
    try:
        while at < len(data):
            (length,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size
            errors.append(_read_error(data[at : at + length]))
            at += length
    except (struct.error, msgspec.MsgspecError, ValueError, RecursionError) as error:
        errors.append(
            TaskError(type="stem.unreadable", message=f"a stored error is damaged: {error}")
        )
    return tuple(errors)


# ── records ──────────────────────────────────────────────────────────────────


def read_record(data: bytes) -> Record:
    """Return the record behind its head. The head's fence is the one that counts.

    Raises:
        StoreError: it is none.
    """
    flags, fence, _ = _HEAD.unpack_from(data)
    try:
        record = decode_record(data[_HEAD.size :])
    except StemError as error:
        raise StoreError(f"a stored record cannot be read: {error}", fault=Fault.DATA) from None
    if record.fence != fence:
        record = replace(record, fence=fence)
    if flags & _REOPENED:
        record = replace(record, state=State.QUEUED, value=None, reason="", finished_at_ms=0)
    return record
