"""Messages and their errors as rows, and back.

Rule of this module: pure. What SQL must decide by is a column; what nobody asks about
while a message waits is one JSON text in `more`, empty for most messages.
"""

from __future__ import annotations

import logging
from hashlib import blake2b
from typing import Any, Final

import msgspec

from stem_core.contracts.messages import Delivery, Located, Message, Place, Receipt, UniqueKey
from stem_core.model.outcome import TaskError

__all__ = [
    "DEAD",
    "DELAYED",
    "ENDED",
    "IN_ROW",
    "LEASED",
    "MAX_ERRORS",
    "PARKED",
    "PLACES",
    "READY",
    "delivery_of",
    "digest_of",
    "error_text",
    "fits_in_row",
    "is_text",
    "locate",
    "more_of",
    "read_error",
    "says_the_usual",
]

READY, DELAYED, PARKED, LEASED, DEAD, ENDED = range(6)
"""The values of the column `place`."""

PLACES: Final = (Place.READY, Place.DELAYED, Place.PARKED, Place.LEASED, Place.DEAD)
MAX_ERRORS: Final = 20

IN_ROW: Final = 1024
"""The largest body that stands in the row of its message: half a page."""


class _More(msgspec.Struct, omit_defaults=True, gc=False):
    """What was published beside the columns. A default is not written."""

    delay_ms: int = 0
    not_before_ms: int = 0
    expires_at_ms: int = 0
    max_lapses: int = 5
    unique: UniqueKey | None = None
    partition: str = ""
    limit_keys: tuple[str, ...] = ()
    content_type: str = "application/json"
    key_id: str = ""
    algorithm: str = ""
    signature: bytes = b""


_USUAL: Final = _More()
_log: Final = logging.getLogger("stem.sqlite")
_write: Final = msgspec.json.Encoder().encode
_read_more: Final = msgspec.json.Decoder(_More).decode
_read_error: Final = msgspec.json.Decoder(TaskError).decode


def fits_in_row(body: bytes) -> bool:
    """Decide whether *body* stands in the row of its message."""
    return len(body) <= IN_ROW


def is_text(text: str) -> bool:
    """Decide whether the store could hold *text*: half a surrogate pair it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def digest_of(body: bytes) -> int:
    """Return 64 bits by which two bodies of one id are told apart once the body is gone."""
    return int.from_bytes(blake2b(body, digest_size=8).digest(), "big", signed=True)


def says_the_usual(message: Message) -> bool:
    """Decide whether *message* needs no `more`: whatever stands there has its default."""
    return (
        message.max_lapses == _USUAL.max_lapses
        and type(message.max_lapses) is int
        and not message.expires_at_ms
        and not message.key_id
        and not message.partition
        and not message.limit_keys
        and not message.algorithm
        and not message.signature
        and not message.delay_ms
        and not message.not_before_ms
        and message.unique is None
        and message.content_type == _USUAL.content_type
    )


def more_of(message: Message) -> str | None:
    """Return the column `more` of *message*."""
    if says_the_usual(message):
        return None
    text = _write(
        _More(
            message.delay_ms,
            message.not_before_ms,
            message.expires_at_ms,
            message.max_lapses,
            message.unique,
            message.partition,
            message.limit_keys,
            message.content_type,
            message.key_id,
            message.algorithm,
            message.signature,
        )
    )
    return None if text == b"{}" else text.decode()


def error_text(error: TaskError) -> str:
    """Return *error* as JSON text."""
    return _write(error).decode()


def read_error(text: str) -> TaskError:
    """Return what `error_text` wrote."""
    try:
        return _read_error(text)
    except msgspec.MsgspecError as error:
        return TaskError(type="stem.unreadable", message=f"a stored error is damaged: {error}")


def _rest_of(id: str, more: str) -> _More:
    """Read the column `more`. A damaged one must not stop its queue: the worker, which compares
    with the signed body, buries the message."""
    try:
        return _read_more(more)
    except msgspec.MsgspecError as error:
        _log.error("message %s is damaged: %s", id, error)
        return _More()


def _message(
    id: str,
    queue: str,
    task: str,
    rank: int,
    lease_ms: int,
    dedupe_ms: int,
    more: str | None,
    body: bytes,
) -> Message:
    if more is None:
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
        content_type=rest.content_type,
        key_id=rest.key_id,
        algorithm=rest.algorithm,
        signature=rest.signature,
    )


def delivery_of(
    row: tuple[Any, ...], body: bytes, errors: tuple[TaskError, ...], now_ms: int
) -> Delivery:
    """Return a row of `fetch.ready`, which is leased in this step, as a delivery."""
    (_, id, queue, task, rank, lease_ms, dedupe_ms, more, _) = row[:9]
    (fence, failed, lapses, releases, first_parked_ms, cancel_reason) = row[9:15]
    return Delivery(
        message=_message(id, queue, task, rank, lease_ms, dedupe_ms, more, body),
        receipt=Receipt(id, queue, fence + 1),
        attempt=failed + 1,
        lapses=lapses,
        releases=releases,
        parked_ms=0 if first_parked_ms is None else max(1, now_ms - first_parked_ms),
        lease_ms=lease_ms,
        cancel_requested=cancel_reason is not None,
        cancel_reason=cancel_reason or "",
        errors=errors,
    )


def locate(
    row: tuple[Any, ...],
    body: bytes,
    errors: tuple[TaskError, ...],
    *,
    now_ms: int,
    wall_ms: int,
) -> Located:
    """Describe a row of `lookup.located`; *now_ms* and *wall_ms* are one instant on two clocks."""
    (id, _, queue, task, rank, lease_ms, dedupe_ms, more, _) = row[:9]
    (fence, base, place, due_ms, failed, lapses, releases, worker) = row[9:17]
    (cancel_reason, reason, died_at_ms) = row[17:20]
    is_leased, is_dead = place == LEASED, place == DEAD
    waits = place in (DELAYED, PARKED)
    return Located(
        place=PLACES[place],
        message=_message(id, queue, task, rank, lease_ms, dedupe_ms, more, body),
        fence=fence if fence > base else 0,
        attempt=failed + 1 if is_leased else failed,
        lapses=lapses,
        releases=releases,
        run_at_ms=wall_ms + (now_ms if due_ms is None else due_ms) - now_ms if waits else 0,
        lease_ms=max(0, (due_ms or 0) - now_ms) if is_leased else 0,
        worker=(worker or "") if is_leased else "",
        cancel_requested=cancel_reason is not None,
        cancel_reason=cancel_reason or "",
        reason=(reason or "") if is_dead else "",
        died_at_ms=(died_at_ms or 0) if is_dead else 0,
        errors=errors,
    )
