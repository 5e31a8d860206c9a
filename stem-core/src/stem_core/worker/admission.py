"""Whether a delivery may run here and now. Pure: facts in, None or an outcome out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

from stem_core.contracts.messages import Delivery, ReleaseWhy
from stem_core.model.envelope import Envelope
from stem_core.model.errors import CapabilityMissing, UnknownTask
from stem_core.model.outcome import Reason, TaskError
from stem_core.model.retry import names_of
from stem_core.worker.outcomes import Cause, Handed, Outcome, Refused, Stopped

__all__ = ["admit", "is_suspect", "park", "unknown_task"]

_EARLY_BY_MS: Final = 5_000
"""How far a worker's clock may be behind the broker's before it sends a message back."""

_LONGEST_PARK_MS: Final = 60_000


def admit(
    delivery: Delivery, envelope: Envelope, *, now_ms: int, epitaph: str = ""
) -> Outcome | None:
    """Return None if the task may run, else what becomes of it.

    *epitaph* tells how its last process died, if that is known.
    """
    if envelope.expires_at_ms is not None and now_ms >= envelope.expires_at_ms:
        late_ms = now_ms - envelope.expires_at_ms
        return _refused(Reason.EXPIRED, f"it expired {late_ms} ms before it could start", now_ms)
    if delivery.lapses >= delivery.message.max_lapses:
        return _refused(Reason.POISON, _poison(delivery.lapses, epitaph), now_ms)
    if delivery.cancel_requested:
        return Stopped(delivery.cancel_reason or Cause.CANCEL.value)
    if envelope.not_before_ms is not None and now_ms < envelope.not_before_ms - _EARLY_BY_MS:
        return Handed(ReleaseWhy.EARLY, envelope.not_before_ms - now_ms, "not before its time")
    return None


def is_suspect(delivery: Delivery) -> bool:
    """Decide whether *delivery* may be what ends its workers, so that it must run in a child.

    From its second lapse in a row on: of a first one every neighbour of the guilty has one,
    and all that a killed worker held. Where the second makes it poison, from the first.
    """
    return delivery.lapses >= max(1, min(2, delivery.message.max_lapses - 1))


def park(delivery: Delivery, reason: Reason, error: TaskError, *, limit_ms: int) -> Outcome:
    """Return what becomes of a message that this worker cannot run, and another one might.

    It comes back after 1, 2, 4 … 60 seconds, until it has been parked for *limit_ms*.
    """
    if delivery.parked_ms >= limit_ms:
        return Refused(reason=reason, error=error)
    # As long again as it has waited, and a second more: that doubles, and only parking counts.
    after_ms = min(_LONGEST_PARK_MS, delivery.parked_ms + 1000)
    return Handed(ReleaseWhy.PARKED, after_ms, error.message)


def unknown_task(name: str, *, known: Iterable[str], complaint: str, now_ms: int) -> TaskError:
    """Return the error of a message whose task this worker cannot run.

    *complaint* says what it cannot do; empty when it does not know the name at all.
    """
    kind: type[Exception] = CapabilityMissing if complaint else UnknownTask
    if complaint:
        text = f"this worker cannot run {name!r} as asked: {complaint}"
    else:
        near = difflib.get_close_matches(name, list(known), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        text = f"no task {name!r} is registered in this worker{hint}"
    return TaskError(type=names_of(kind)[0], message=text, at_ms=now_ms)


def _refused(reason: Reason, text: str, now_ms: int) -> Refused:
    return Refused(
        reason=reason, error=TaskError(type=f"stem.{reason.value}", message=text, at_ms=now_ms)
    )


def _poison(lapses: int, epitaph: str) -> str:
    text = f"its lease lapsed {lapses} times in a row: it may be what ends its workers"
    return f"{text}. The last time {epitaph}" if epitaph else text
