"""What a raised exception means, as an outcome. Errors become data here and nowhere else.

Rule of this module: what an exception says of itself is other people's code. It may
raise whatever it likes, `SystemExit` too, and only costs its own text.
"""

from __future__ import annotations

import asyncio
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
from stem_core.model.outcome import Reason, TaskError, storable
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
_NAMELESS: Final = "stem.nameless"

_SHORTEST_SNOOZE_MS: Final = 100
"""See `Snooze`."""


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
        case Cause.SHUTDOWN if not issubclass(type(error), TaskSignal):
            return Handed(ReleaseWhy.SHUTDOWN)
        case Cause.HARD_LIMIT:
            told = SoftTimeLimitExceeded("the hard time limit is over")
            told.__traceback__ = _frames(error)
            return _failed(told, attempt, now_ms)
        case _:
            return _by_its_own(error, attempt, now_ms)


def _by_its_own(error: BaseException, attempt: int, now_ms: int) -> Outcome:
    try:
        match error:
            case Retry(after=after) if after is not None:
                return _failed(error, attempt, now_ms, to_ms(after, field="Retry.after"))
            case Snooze(after=after, reason=reason):
                after_ms = max(_SHORTEST_SNOOZE_MS, to_ms(after, field="Snooze.after"))
                return Handed(ReleaseWhy.SNOOZE, after_ms, _text(reason))
            case Discard(reason=reason):
                return Discarded(_text(reason))
            case Reject():
                told = error_of(error, attempt, now_ms)
                return Refused(reason=Reason.REJECTED, error=told)
            case asyncio.CancelledError(args=()):
                told_why = asyncio.CancelledError(
                    "cancelled by itself or its libraries, not by Stem"
                )
                told_why.__traceback__ = _frames(error)
                return _failed(told_why, attempt, now_ms)
            case _:
                return _failed(error, attempt, now_ms)
    except InvalidOption as unusable:  # Retry("soon"): the mistake is the failure
        return _failed(unusable, attempt, now_ms)
    except BaseException:  # it does not let itself be looked at
        return _failed(error, attempt, now_ms)


def _failed(
    error: BaseException, attempt: int, now_ms: int, asked_after_ms: int | None = None
) -> Failed:
    return Failed(
        error=error_of(error, attempt, now_ms),
        error_names=_names(error),
        asked_after_ms=asked_after_ms,
        timed_out=issubclass(type(error), SoftTimeLimitExceeded),
    )


def error_of(error: BaseException, attempt: int, now_ms: int) -> TaskError:
    """Return *error* as data: texts of bounded length, whatever its own methods do."""
    return TaskError(
        type=_names(error)[0],
        message=_text(error),
        traceback=_trace(error),
        attempt=attempt,
        at_ms=now_ms,
    )


def _names(error: BaseException) -> tuple[str, ...]:
    try:
        return names_of(type(error))
    except BaseException:  # its metaclass hides them
        return (_NAMELESS,)


def _text(said: object) -> str:
    """Return the text of an exception, or of the reason that it gives, bounded."""
    try:
        return storable(str.__str__(str(said)))  # a plain one: __str__ may return a subclass
    except BaseException as second:
        return f"<no text: its __str__ raised {_names(second)[0]}>"


def _trace(error: BaseException) -> str:
    try:
        own = _from_the_task(error.__traceback__)
        return "".join(traceback.format_exception(type(error), error, own, limit=-_MOST_FRAMES))
    except BaseException as second:  # notes and causes too
        return f"<no traceback: formatting it raised {_names(second)[0]}>"


def _frames(error: BaseException) -> TracebackType | None:
    try:
        return error.__traceback__
    except BaseException:
        return None


def _from_the_task(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of this room, from the outside in."""
    while trace and trace.tb_next and trace.tb_frame.f_code.co_filename.startswith(_HERE):
        trace = trace.tb_next
    return trace
