"""`Broker.settle`, `extend` and `cancel` in words of the scripts, and back.

Pure: what is sent, and what replies mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from stem_core.plugin import (
    Ack,
    Cancellation,
    Cancelled,
    CancelStatus,
    DeadLetter,
    Delivery,
    Extended,
    ExtendStatus,
    Extension,
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
from stem_redis.line import Arg
from stem_redis.objections import objection_to_settlement, record_bytes
from stem_redis.packing import error_bytes, readable
from stem_redis.publishing import arguments as follow_up_arguments

__all__ = [
    "cancel_arguments",
    "extend_arguments",
    "extend_replies",
    "hand_back_arguments",
    "read_cancelled",
    "record_arguments",
    "settle_arguments",
    "settle_replies",
]

_STATUSES: Final = (
    SettleStatus.DONE,
    SettleStatus.ALREADY,
    SettleStatus.STALE,
    SettleStatus.GONE,
    SettleStatus.FULL,
    SettleStatus.INVALID,
)
_PLAIN: Final = tuple(Settled(status) for status in _STATUSES)
_INVALID: Final = 5
_EXTENDED: Final = (ExtendStatus.LOST, ExtendStatus.HELD, ExtendStatus.CANCEL_REQUESTED)
_CANCELLED: Final = (
    CancelStatus.CANCELLED,
    CancelStatus.REQUESTED,
    CancelStatus.FINISHED,
    CancelStatus.UNKNOWN,
)
_LOST: Final = Extended(ExtendStatus.LOST)
_WHYS: Final = {ReleaseWhy.PARKED: "p", ReleaseWhy.SNOOZE: "s"}


# ── settle ───────────────────────────────────────────────────────────────────


def settle_arguments(settlements: Sequence[Settlement]) -> tuple[list[Arg], dict[int, str]]:
    """Return the arguments, and by position why a settlement can never be kept."""
    args: list[Arg] = []
    objections: dict[int, str] = {}
    for place, settlement in enumerate(settlements):
        receipt, objection = settlement.receipt, objection_to_settlement(settlement)
        record: Sequence[Arg] = ()
        if settlement.record is not None and not objection:
            record, objection = record_arguments(settlement.record)
        args += (receipt.id, receipt.fence)
        if objection:
            objections[place] = objection
            args.append("i")
        elif settlement.follow_ups or record:
            args += _whole(settlement, record)
        else:
            letter, more = _outcome(settlement.outcome)
            args += (letter, *more)
    return args, objections


def _whole(settlement: Settlement, record: Sequence[Arg]) -> Sequence[Arg]:
    letter, more = _outcome(settlement.outcome)
    follow_ups = settlement.follow_ups
    letters = f"{letter}{'R' if record else ''}{'F' if follow_ups else ''}"
    behind: Sequence[Arg] = ()
    if follow_ups:
        behind = (len(follow_ups), *follow_up_arguments(follow_ups))
    return (letters, *more, *record, *behind)


def _outcome(outcome: SettleOutcome) -> tuple[str, Sequence[Arg]]:
    match outcome:
        case Ack():
            return "a", ()
        case RetryLater(after_ms, error):
            return "t", (max(0, after_ms), error_bytes(error))
        case DeadLetter(reason, error, keep_ms):
            attempt = error.attempt if error is not None else 0
            return "b", (max(0, keep_ms), reason.value, error_bytes(error), attempt)
        case Release(after_ms, why):
            return _WHYS.get(why, "l"), (max(0, after_ms),)


def record_arguments(record: Record) -> tuple[Sequence[Arg], str]:
    """Return fence, whether it is terminal, its time and bytes; or else why it cannot be kept."""
    data, objection = record_bytes(record)
    if objection:
        return (), objection
    return (record.fence, int(record.state.is_terminal), max(0, record.ttl_ms), data), ""


def settle_replies(reply: Sequence[Any], objections: dict[int, str]) -> list[Settled]:
    """Read the reply of the script."""
    return [
        _PLAIN[status]
        if status != _INVALID
        else Settled(SettleStatus.INVALID, objections.get(place) or _detail(detail.decode()))
        for place, (status, detail) in enumerate(zip(reply[::2], reply[1::2], strict=True))
    ]


def _detail(text: str) -> str:
    id, _, why = text.partition(" ")
    return f"follow-up {id}: {why or 'this id is known with another body'}"


def hand_back_arguments(deliveries: Sequence[Delivery]) -> list[Arg]:
    """Return what lets *deliveries* be as if they had not been taken, but for their fences."""
    args: list[Arg] = []
    for delivery in deliveries:
        args += (delivery.receipt.id, delivery.receipt.fence, "h")
    return args


# ── extend ───────────────────────────────────────────────────────────────────


def extend_arguments(extensions: Sequence[Extension]) -> list[Arg]:
    """Return the three arguments of each of *extensions*."""
    args: list[Arg] = []
    for each in extensions:
        args += (each.receipt.id, each.receipt.fence, max(0, each.lease_ms))
    return args


def extend_replies(extensions: Sequence[Extension], reply: Sequence[Any]) -> list[Extended]:
    """Read the reply of the script."""
    return [
        Extended(_EXTENDED[status], max(0, each.lease_ms), why.decode(errors="replace"))
        if status
        else _LOST
        for each, status, why in zip(extensions, reply[::2], reply[1::2], strict=True)
    ]


# ── cancel ───────────────────────────────────────────────────────────────────


def cancel_arguments(cancellations: Sequence[Cancellation]) -> list[Arg]:
    """Return the four arguments of each of *cancellations*."""
    args: list[Arg] = []
    for each in cancellations:
        data, ttl_ms = b"", 0
        if each.record is not None:
            data, ttl_ms = record_bytes(each.record)[0], each.record.ttl_ms
        args += (each.id, storable(each.reason), data, ttl_ms)
    return args


def read_cancelled(cancellations: Sequence[Cancellation], reply: Sequence[Any]) -> list[Cancelled]:
    """Read the reply of the script."""
    return [
        Cancelled(
            _CANCELLED[status],
            readable(each.id, "", data) if status == 0 else None,
            int(fence or 0),
        )
        for each, status, data, fence in zip(
            cancellations, reply[::3], reply[1::3], reply[2::3], strict=True
        )
    ]
