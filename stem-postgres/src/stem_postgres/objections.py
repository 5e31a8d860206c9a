"""Why something can never be kept, said before it is sent. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stem_core.plugin import (
    ACK,
    EnqueueError,
    Message,
    Record,
    Settlement,
    StemError,
    encode_record,
)

__all__ = [
    "MAX_BATCH",
    "MAX_BATCH_BYTES",
    "MAX_DELAY_MS",
    "MAX_PAYLOAD",
    "is_text",
    "objection_to",
    "objection_to_settlement",
    "record_bytes",
    "refuse_too_much",
]

MAX_BATCH: Final = 1_000
MAX_BATCH_BYTES: Final = 16 * 1024 * 1024
MAX_PAYLOAD: Final = 16 * 1024 * 1024
MAX_DELAY_MS: Final = 10 * 365 * 86_400_000
_LONGEST_MS: Final = 100 * 365 * 86_400_000
_MAX_NAME: Final = 1_000
"""Bytes of a name: an index of the server takes no more than 2700 in a row."""


def is_text(text: str) -> bool:
    """Decide whether the server can hold *text*: neither NUL nor half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def objection_to(message: Message, wall_ms: int) -> str:
    """Say why *message* can never be kept; empty when it can."""
    if len(message.body) > MAX_PAYLOAD:
        return f"the body has {len(message.body)} bytes, more than {MAX_PAYLOAD}"
    if not _is_whole(message.priority, 9):
        return f"priority {message.priority!r} is not one of 0 to 9"
    if not _is_whole(message.lease_ms, MAX_DELAY_MS) or not message.lease_ms:
        return (
            f"a lease of {message.lease_ms!r} is not a whole number of milliseconds "
            f"from 1 to {MAX_DELAY_MS}"
        )
    if max(message.delay_ms, message.not_before_ms - wall_ms) > MAX_DELAY_MS:
        return f"a delay of more than {MAX_DELAY_MS} ms"
    if not _is_whole(message.dedupe_for_ms, _LONGEST_MS):
        return f"dedupe_for_ms={message.dedupe_for_ms!r} is not a whole number in bounds"
    if message.unique is not None and not _is_whole(message.unique.window_ms, _LONGEST_MS):
        return f"a window of {message.unique.window_ms!r} ms is not a whole number in bounds"
    return _objection_to_texts(message)


def _is_whole(number: object, most: int) -> bool:
    return type(number) is int and 0 <= number <= most


def _objection_to_texts(message: Message) -> str:
    names = message.id + message.queue + message.task
    rest = message.key_id + message.algorithm + message.partition + message.content_type
    is_plain = message.unique is None and not message.limit_keys and len(names) <= 250
    if is_plain and names.isascii() and rest.isascii() and "\0" not in names:
        return ""
    return _objection_to_each(message)


def _objection_to_each(message: Message) -> str:
    key = "" if message.unique is None else message.unique.key
    columns = (("id", message.id), ("queue", message.queue), ("unique key", key))
    for what, text in (*columns, ("task", message.task)):
        if not is_text(text):
            return f"the {what} holds NUL or half a surrogate pair"
        if what != "task" and len(text) > 250 and len(text.encode()) > _MAX_NAME:
            return f"the {what} has more than {_MAX_NAME} bytes"
    rest = (message.key_id, message.algorithm, message.partition, message.content_type)
    try:
        "".join((*rest, *message.limit_keys)).encode()
    except UnicodeEncodeError:
        return "a name in it is no valid Unicode"
    return ""


def refuse_too_much(messages: Sequence[Message], sent: Sequence[Message]) -> None:
    """Raise `ValueError` for more than one call may hold; *sent* are those to keep."""
    if len(messages) > MAX_BATCH:
        raise ValueError(f"{len(messages)} messages in one call, more than {MAX_BATCH}")
    size = sum([len(message.body) for message in sent])
    if size > MAX_BATCH_BYTES:
        raise ValueError(f"{size} bytes of bodies in one call, more than {MAX_BATCH_BYTES}")


def objection_to_settlement(settlement: Settlement, wall_ms: int) -> str:
    """Say why *settlement* can never be kept, whatever the store holds; empty when it can."""
    outcome, record = settlement.outcome, settlement.record
    if (
        outcome is ACK
        and not settlement.follow_ups
        and (record is None or record.id == settlement.receipt.id)
    ):
        return ""  # as nearly all are; whether a record can be kept is asked when it is written
    wait_ms = getattr(outcome, "after_ms", 0) or getattr(outcome, "keep_ms", 0)
    if wait_ms > MAX_DELAY_MS:
        return f"a wait of {wait_ms} ms is more than {MAX_DELAY_MS}"
    if record is not None and record.id != settlement.receipt.id:
        return f"the record is that of {record.id}"
    if (size := _size_of(settlement)) > MAX_BATCH_BYTES:
        return f"value and follow-ups have {size} bytes, more than {MAX_BATCH_BYTES}"
    bodies: dict[str, bytes] = {}
    for message in settlement.follow_ups:
        if objection := objection_to(message, wall_ms):
            return f"follow-up {message.id}: {objection}"
        if bodies.setdefault(message.id, message.body) != message.body:
            return f"follow-up {message.id}: this id is known with another body"
    return ""


def _size_of(settlement: Settlement) -> int:
    value = settlement.record.value if settlement.record is not None else None
    return len(value or b"") + sum([len(message.body) for message in settlement.follow_ups])


def record_bytes(record: Record) -> tuple[bytes, str]:
    """Return *record* as it is kept, or else why it cannot be."""
    if record.value is not None and len(record.value) > MAX_PAYLOAD:
        return b"", f"the value has {len(record.value)} bytes, more than {MAX_PAYLOAD}"
    if not is_text(record.id):
        return b"", "the id holds NUL or half a surrogate pair"
    try:
        return encode_record(record), ""
    except (EnqueueError, StemError) as error:
        return b"", str(error)
