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
    "is_small",
    "objection_to",
    "objection_to_settlement",
    "record_bytes",
    "refuse_too_much",
]

MAX_BATCH: Final = 500
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
MAX_PAYLOAD: Final = 4 * 1024 * 1024
MAX_DELAY_MS: Final = 10 * 365 * 86_400_000
_MAX_NAME: Final = 65_535


def objection_to(message: Message) -> str:
    """Say why *message* can never be kept; empty when it can."""
    if len(message.body) > MAX_PAYLOAD:
        return f"the body has {len(message.body)} bytes, more than {MAX_PAYLOAD}"
    if not 0 <= message.priority <= 9:
        return f"priority {message.priority} is not one of 0 to 9"
    if type(message.lease_ms) is not int or not 0 < message.lease_ms <= MAX_DELAY_MS:
        return (
            f"a lease of {message.lease_ms!r} is not a whole number of milliseconds "
            f"from 1 to {MAX_DELAY_MS}"
        )
    if message.delay_ms > MAX_DELAY_MS:
        return f"a delay of {message.delay_ms} ms is more than {MAX_DELAY_MS}"
    id, queue, unique = message.id, message.queue, message.unique
    if unique is None and id.isascii() and queue.isascii() and len(id) + len(queue) <= _MAX_NAME:
        return ""  # as nearly all of them are
    key = "" if unique is None else unique.key
    for what, text in (("id", id), ("queue", queue), ("unique key", key)):
        if objection := _objection_to_text(what, text):
            return objection
    return ""


def is_small(message: Message) -> bool:
    """Say without a doubt that there is no objection to id and body of *message*."""
    id = message.id
    return id.isascii() and len(id) <= _MAX_NAME and len(message.body) <= MAX_PAYLOAD


def _objection_to_text(what: str, text: str) -> str:
    if len(text) <= _MAX_NAME and text.isascii():
        return ""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return f"the {what} holds half a surrogate pair"
    return f"the {what} has {size} bytes, more than {_MAX_NAME}" if size > _MAX_NAME else ""


def refuse_too_much(messages: Sequence[Message], sent: Sequence[Message]) -> None:
    """Raise `ValueError` for more than one call may hold; *sent* are those to keep."""
    if len(messages) > MAX_BATCH:
        raise ValueError(f"{len(messages)} messages in one call, more than {MAX_BATCH}")
    size = sum([len(message.body) for message in sent])
    if size > MAX_BATCH_BYTES:
        raise ValueError(f"{size} bytes of bodies in one call, more than {MAX_BATCH_BYTES}")


def objection_to_settlement(settlement: Settlement) -> str:
    """Say why *settlement* can never be kept, whatever the store holds; empty when it can."""
    outcome, record = settlement.outcome, settlement.record
    if outcome is ACK and record is None and not settlement.follow_ups:
        return ""  # as nearly all are whose results nobody wants
    wait_ms = getattr(outcome, "after_ms", 0) or getattr(outcome, "keep_ms", 0)
    if wait_ms > MAX_DELAY_MS:
        return f"a wait of {wait_ms} ms is more than {MAX_DELAY_MS}"
    if record is not None and record.id != settlement.receipt.id:
        return f"the record is that of {record.id}"
    if (size := _size_of(settlement)) > MAX_BATCH_BYTES:
        return f"value and follow-ups have {size} bytes, more than {MAX_BATCH_BYTES}"
    bodies: dict[str, bytes] = {}
    for message in settlement.follow_ups:
        if objection := objection_to(message):
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
    try:
        return encode_record(record), ""
    except (EnqueueError, StemError) as error:
        return b"", str(error)
