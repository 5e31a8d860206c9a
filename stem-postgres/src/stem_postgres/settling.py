"""`Broker.settle`, `extend` and `cancel` in words of SQL: what is sent, what replies mean. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from stem_core.plugin import (
    ACK,
    Ack,
    Cancellation,
    Cancelled,
    CancelStatus,
    DeadLetter,
    Delivery,
    Extended,
    ExtendStatus,
    Message,
    Record,
    Release,
    ReleaseWhy,
    RetryLater,
    Settled,
    Settlement,
    SettleOutcome,
    SettleStatus,
    storable,
)
from stem_postgres.arrays import Booleans, Bytes, Int4s, Int8s, Texts, columns
from stem_postgres.objections import objection_to_settlement, record_bytes
from stem_postgres.rows import (
    RECORD_COLUMNS,
    columns_of,
    error_bytes,
    message_of,
    record_columns,
)

__all__ = ["Batch", "cancel_arguments", "extended", "hand_back_arguments", "read_cancelled"]

_STATUSES: Final = {
    1: SettleStatus.ALREADY,
    2: SettleStatus.STALE,
    3: SettleStatus.GONE,
    4: SettleStatus.BUSY,
    5: SettleStatus.INVALID,
}
_DONE: Final = Settled(SettleStatus.DONE)
_WHYS: Final = {ReleaseWhy.PARKED: "p", ReleaseWhy.SNOOZE: "s"}
_NO_RECORD: Final = (False, 0, False, "", "", "", 0, b"")
_ACKNOWLEDGED: Final = ("a", 0, "", b"", 0)
_OUTCOME: Final = (Texts, Int8s, Texts, Int8s, Texts, Bytes, Int4s)
"""Of what kind are id and fence, and what `_outcome` returns."""

_OUTCOME_AND_RECORD: Final = (*_OUTCOME, Booleans, *RECORD_COLUMNS)
_HAS_RECORD: Final = len(_OUTCOME)
_NO_RECORDS: Final = [None] * len(_NO_RECORD)
_NO_FOLLOW_UPS: Final[list[list[Any] | None]] = [None] * 15

_CANCELLED: Final = (
    CancelStatus.CANCELLED,
    CancelStatus.REQUESTED,
    CancelStatus.FINISHED,
    CancelStatus.UNKNOWN,
)
_EXTENDED: Final = (ExtendStatus.LOST, ExtendStatus.HELD, ExtendStatus.CANCEL_REQUESTED)
_LOST: Final = Extended(ExtendStatus.LOST)


# ── settle ───────────────────────────────────────────────────────────────────


class Batch:
    """The settlements of one call.

    Attributes:
        arguments: what the function takes.
    """

    def __init__(self, settlements: Sequence[Settlement], wall_ms: int) -> None:
        self._count = len(settlements)
        self._objections: dict[int, str] = {}
        rows = [self._row(place, each, wall_ms) for place, each in enumerate(settlements)]
        is_recorded = any(row[_HAS_RECORD] for row in rows)
        kinds = _OUTCOME_AND_RECORD if is_recorded else _OUTCOME
        self.arguments = [
            *columns(rows if is_recorded else [row[:_HAS_RECORD] for row in rows], kinds),
            *([] if is_recorded else _NO_RECORDS),
            *_follow_up_arguments(settlements, self._objections),
        ]

    def _row(self, place: int, settlement: Settlement, wall_ms: int) -> tuple[Any, ...]:
        receipt = settlement.receipt
        objection = objection_to_settlement(settlement, wall_ms)
        record: tuple[Any, ...] = _NO_RECORD
        if settlement.record is not None and not objection:
            record, objection = _record(settlement.record)
        outcome = _outcome(settlement.outcome)
        if objection:
            self._objections[place] = objection
            outcome = ("i", 0, "", b"", 0)
        return (storable(receipt.id), receipt.fence, *outcome, *record)

    def replies(self, rows: Sequence[Sequence[Any]]) -> list[Settled]:
        """Read the reply: a row for each that was not done."""
        found = [_DONE] * self._count
        for n, status, detail in rows:
            found[n - 1] = Settled(_STATUSES[status], self._detail(n - 1, status, detail))
        return found

    def _detail(self, place: int, status: int, follow_up: str) -> str:
        if _STATUSES[status] is not SettleStatus.INVALID:
            return ""
        known = f"follow-up {follow_up}: this id is known with another body"
        return self._objections.get(place) or known


def _outcome(outcome: SettleOutcome) -> tuple[str, int, str, bytes, int]:
    """Return the letter, milliseconds, reason, error, and the attempt that this names."""
    if outcome is ACK:
        return _ACKNOWLEDGED
    match outcome:
        case Ack():
            return _ACKNOWLEDGED
        case RetryLater(after_ms, error):
            return "t", max(0, after_ms), "", error_bytes(error), 0
        case DeadLetter(reason, error, keep_ms):
            attempt = error.attempt if error is not None else 0
            return "b", max(0, keep_ms), reason.value, error_bytes(error), attempt
        case Release(after_ms, why):
            return _WHYS.get(why, "l"), max(0, after_ms), "", b"", 0


def _record(record: Record) -> tuple[tuple[Any, ...], str]:
    """Return *record* as arguments, or else why it cannot be kept."""
    data, objection = record_bytes(record)
    if objection:
        return _NO_RECORD, objection
    return (True, *record_columns(record, data)), ""


def _follow_up_arguments(
    settlements: Sequence[Settlement], objections: Mapping[int, str]
) -> list[list[Any] | None]:
    if not any(settlement.follow_ups for settlement in settlements):
        return _NO_FOLLOW_UPS
    owners: list[int] = []
    messages: list[Message] = []
    for place, settlement in enumerate(settlements):
        if place not in objections:
            owners += [place + 1] * len(settlement.follow_ups)
            messages += settlement.follow_ups
    if not messages:
        return _NO_FOLLOW_UPS
    return [Int4s(owners), *columns_of(messages)]


def hand_back_arguments(deliveries: Sequence[Delivery]) -> list[list[Any] | None]:
    """Return what lets *deliveries* be as if they had not been taken, but for their fences."""
    count = len(deliveries)
    return [
        Texts([each.receipt.id for each in deliveries]),
        Int8s([each.receipt.fence for each in deliveries]),
        ["h"] * count,
        [0] * count,
        [""] * count,
        [b""] * count,
        [0] * count,
        *_NO_RECORDS,
        *_NO_FOLLOW_UPS,
    ]


# ── extend and cancel ────────────────────────────────────────────────────────


def extended(row: Sequence[Any]) -> Extended:
    """Read a row of `extend`."""
    status, left_ms, reason = row
    return Extended(_EXTENDED[status], left_ms, reason) if status else _LOST


def cancel_arguments(cancellations: Sequence[Cancellation]) -> list[list[Any]]:
    """Return what the function takes of *cancellations*."""
    rows = [_cancel_row(each) for each in cancellations]
    return list(columns(rows, (Texts, Texts, Booleans, *RECORD_COLUMNS[1:])))


def _cancel_row(wish: Cancellation) -> tuple[Any, ...]:
    record, objection = _NO_RECORD, ""
    if wish.record is not None:
        made, objection = _record(wish.record)
        record = record if objection else made
    has_record, _, *rest = record
    return (storable(wish.id), storable(wish.reason), has_record, *rest)


def read_cancelled(row: Sequence[Any]) -> Cancelled:
    """Read a row of `cancel`."""
    status, fence, *message = row
    if status:
        return Cancelled(_CANCELLED[status])
    return Cancelled(CancelStatus.CANCELLED, message_of(message), fence)
