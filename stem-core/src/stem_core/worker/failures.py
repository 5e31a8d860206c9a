"""What a raised exception means, as an outcome. Errors become data here and nowhere else."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType
from typing import Final

from stem_core.contracts.messages import ReleaseWhy
from stem_core.model.duration import to_ms
from stem_core.model.errors import (
    Discard,
    InvalidOption,
    Reject,
    Retry,
    Snooze,
    SoftTimeLimitExceeded,
    TaskSignal,
)
from stem_core.model.outcome import Reason, TaskError
from stem_core.model.retry import names_of
from stem_core.worker.outcomes import (
    Cause,
    Discarded,
    Dropped,
    Failed,
    Handed,
    Outcome,
    Refused,
    Stopped,
)

__all__ = ["error_of", "outcome_of"]

_HERE: Final = str(Path(__file__).parent)
_MOST_FRAMES: Final = 40


def outcome_of(
    error: BaseException,
    *,
    cause: Cause | None,
    cancel_reason: str = "",
    attempt: int,
    now_ms: int,
) -> Outcome:
    """Return what it means that a task raised *error*.

    *cause* is given when Stem had told the task to end: then what it raised on its
    way out is not held against it.
    """
    match cause:
        case Cause.LEASE_LOST:
            return Dropped()
        case Cause.CANCEL:
            return Stopped(cancel_reason or cause.value)
        case Cause.SHUTDOWN if not isinstance(error, TaskSignal):
            return Handed(ReleaseWhy.SHUTDOWN)
        case Cause.HARD_LIMIT:
            told = SoftTimeLimitExceeded("the hard time limit is over")
            told.__traceback__ = error.__traceback__
            return _failed(told, attempt, now_ms)
        case _:
            return _by_its_own(error, attempt, now_ms)


def _by_its_own(error: BaseException, attempt: int, now_ms: int) -> Outcome:
    try:
        match error:
            case Retry(after=after) if after is not None:
                return _failed(error, attempt, now_ms, to_ms(after, field="Retry.after"))
            case Snooze(after=after, reason=reason):
                after_ms = to_ms(after, field="Snooze.after")
                return Handed(ReleaseWhy.SNOOZE, after_ms, str(reason))
            case Discard(reason=reason):
                return Discarded(str(reason))
            case Reject():
                told = error_of(error, attempt, now_ms)
                return Refused(reason=Reason.REJECTED, error=told)
            case _:
                return _failed(error, attempt, now_ms)
    except InvalidOption as unusable:  # Retry("soon"): the mistake is the failure
        return _failed(unusable, attempt, now_ms)


def _failed(
    error: BaseException, attempt: int, now_ms: int, asked_after_ms: int | None = None
) -> Failed:
    return Failed(
        error=error_of(error, attempt, now_ms),
        error_names=names_of(type(error)),
        asked_after_ms=asked_after_ms,
        timed_out=isinstance(error, SoftTimeLimitExceeded),
    )


def error_of(error: BaseException, attempt: int, now_ms: int) -> TaskError:
    """Return *error* as data: texts of bounded length, whatever its own methods do."""
    return TaskError(
        type=names_of(type(error))[0],
        message=_text(error),
        traceback=_trace(error),
        attempt=attempt,
        at_ms=now_ms,
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # its __str__ is other people's code
        return f"<no text: its __str__ raised {type(second).__name__}>"


def _trace(error: BaseException) -> str:
    try:
        own = _from_the_task(error.__traceback__)
        return "".join(traceback.format_exception(type(error), error, own, limit=-_MOST_FRAMES))
    except Exception as second:  # notes and causes too are other people's code
        return f"<no traceback: formatting it raised {type(second).__name__}>"


def _from_the_task(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of this room, from the outside in."""
    while trace and trace.tb_next and trace.tb_frame.f_code.co_filename.startswith(_HERE):
        trace = trace.tb_next
    return trace
