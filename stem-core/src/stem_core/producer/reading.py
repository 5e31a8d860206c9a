"""What became of a task: its record, else where the broker holds it, else nothing.

Rule of this module: it asks and translates. Nothing here changes a task but `cancel`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.messages import Cancellation, CancelStatus, Located, Place
from stem_core.model.codec import decode, decode_value
from stem_core.model.duration import Duration, format_ms, to_ms
from stem_core.model.envelope import Envelope
from stem_core.model.errors import (
    CapabilityMissing,
    DecodeError,
    NoResultBackend,
    ResultExpired,
    ResultTimeout,
    StoreError,
    StoreUnavailable,
    TaskCancelled,
    TaskFailed,
)
from stem_core.model.outcome import Record, State, TaskStatus, when
from stem_core.model.value import replace
from stem_core.producer.lane import Lane
from stem_core.producer.patience import PASSING

__all__ = [
    "cancel",
    "cancelled_record",
    "no_backend",
    "recorded",
    "status_of",
    "value_of",
    "wait_for",
]

_FIRST_LOOK_MS: Final = 1_000
_LONGEST_LOOK_MS: Final = 30_000
_LAST_LOOK_S: Final = 2.0
"""How long a store may take to say, when the caller's time is over, what there is by then."""

_STATES: Final = {
    Place.READY: State.QUEUED,
    Place.DELAYED: State.SCHEDULED,
    Place.PARKED: State.PARKED,
    Place.LEASED: State.RUNNING,
    Place.DEAD: State.DEAD,
}


# ── status ───────────────────────────────────────────────────────────────────


def _believe(record: Record) -> None:
    """Ask nobody who vouches for *record*."""


async def status_of(
    lane: Lane,
    id: str,
    until: float | None = None,
    *,
    check: Callable[[Record], None] = _believe,
) -> TaskStatus | None:
    """Return what is known about *id*, or None; not later than *until*.

    *check* raises for a terminal record that nobody vouches for.
    """
    until = lane.until() if until is None else until
    record = await _record(lane, id, until)
    if record is not None and record.state.is_terminal:
        check(record)
        return recorded(record)
    located = (await lane.lookup([id], until))[0]
    if located is not None:
        return _located(located, await _progress(lane, located, until))
    # It may have ended between the two questions.
    record = await _record(lane, id, until)
    if record is None:
        return None
    if record.state.is_terminal:
        check(record)
    return recorded(record)


async def _record(lane: Lane, id: str, until: float | None = None) -> Record | None:
    return (await lane.load([id], until))[0]


async def _progress(lane: Lane, located: Located, until: float) -> Any:
    if lane.backend is None or located.place is not Place.LEASED:
        return None
    asked = lane.from_backend(lane.backend.progress_of, [located.message.id], until)
    value = (await asked)[0]
    return None if value is None else decode_value(value)


def recorded(record: Record) -> TaskStatus:
    """Return what a record says, for a reader."""
    return TaskStatus(
        id=record.id,
        state=record.state,
        task=record.task,
        queue=record.queue,
        attempt=record.attempt,
        value=None if record.value is None else decode_value(record.value),
        error=record.error,
        reason=record.reason,
        meta=record.meta,
        enqueued_at=when(record.enqueued_at_ms),
        started_at=when(record.started_at_ms),
        finished_at=when(record.finished_at_ms),
        worker=record.worker,
    )


def _located(located: Located, progress: Any) -> TaskStatus:
    message, envelope = located.message, _shown(located)
    return TaskStatus(
        id=message.id,
        state=_STATES[located.place],
        task=message.task,
        queue=message.queue,
        attempt=located.attempt,
        error=located.errors[-1] if located.errors else None,
        reason=located.reason,
        meta=envelope.meta if envelope else {},
        progress=progress,
        enqueued_at=when(envelope.enqueued_at_ms) if envelope else None,
        finished_at=when(located.died_at_ms),
        run_at=when(located.run_at_ms),
        worker=located.worker,
        lapses=located.lapses,
        errors=located.errors,
    )


def _shown(located: Located) -> Envelope | None:
    """Return what a message says of itself, for people: nobody acts on it, so nobody verifies."""
    try:
        # A stored message was small enough for its producer; here it is only shown.
        return decode(located.message.body, max_bytes=len(located.message.body))
    except DecodeError:
        return None


# ── results ──────────────────────────────────────────────────────────────────


async def wait_for(lane: Lane, id: str, timeout: Duration | None) -> Record:
    """Return the terminal record of *id*; without *timeout* wait as long as it is alive.

    The timeout is the caller's own patience, so it runs by the machine's time even
    where a test has stopped the clock. An outage of the store counts toward it alone; without
    one, an outage is waited for as long as any other call waits for it.

    Raises:
        ResultTimeout: also where the store has not answered at the end.
        StoreError: there is no *timeout*, and the store is away; or a fault that does not pass.
        ResultExpired, NoResultBackend.
    """
    if lane.backend is None:
        raise no_backend()
    patience_ms = None if timeout is None else to_ms(timeout, field="timeout")
    until = None if patience_ms is None else _now() + patience_ms / 1000
    try:
        async with asyncio.timeout_at(until):
            return await _keep_waiting(lane, lane.backend, id, until)
    except TimeoutError:
        return await _at_last(lane, id, format_ms(patience_ms or 0))


async def _at_last(lane: Lane, id: str, patience: str) -> Record:
    """Look once more after a wait of *patience*: what had ended by then counts."""
    try:
        record = await _record(lane, id, _now() + _LAST_LOOK_S)
    except StoreUnavailable as error:
        fault = error.__cause__
        why = f": {fault.message}" if isinstance(fault, StoreError) else ""
        raise ResultTimeout(
            f"no result of {id} within {patience}: the result backend does not answer{why}",
            way_out="Ask again with the same id when it is back.",
        ) from error
    if record is not None and record.state.is_terminal:
        return record
    raise ResultTimeout(
        f"no result of {id} within {patience}; the task goes on",
        way_out="Ask again with the same id, or wait longer.",
    ) from None


async def _keep_waiting(lane: Lane, backend: ResultBackend, id: str, until: float | None) -> Record:
    """Wait while the broker knows *id*: a task can end without leaving a record.

    A store that is away is looked at until a little after *until*, which the caller watches.
    """
    late = None if until is None else until + _LAST_LOOK_S
    look_ms, failures = _FIRST_LOOK_MS, 0
    while True:
        record = await _ended(lane, id, late)
        if record is not None:
            return record
        try:
            record = await backend.wait(id, timeout_ms=look_ms)
        except StoreError as error:
            if error.fault not in PASSING:
                raise
            # Whoever cannot be told looks: that is patient, and names what does not pass.
            failures += 1
            await lane.pause(failures)
            continue
        if record is not None:
            return record
        look_ms, failures = min(2 * look_ms, _LONGEST_LOOK_MS), 0


async def _ended(lane: Lane, id: str, until: float | None) -> Record | None:
    """Return the terminal record of *id*, or None while the broker knows it.

    Raises:
        ResultExpired: nobody knows it.
    """
    record = await _record(lane, id, until)
    if record is not None and record.state.is_terminal:
        return record
    located = (await lane.lookup([id], until))[0]
    if located is not None and located.place is not Place.DEAD:
        return None
    # It may have ended between the two questions.
    record = await _record(lane, id, until)
    if record is not None and record.state.is_terminal:
        return record
    if located is not None:
        return _died(located)
    raise ResultExpired(
        f"nobody knows a result of {id}",
        way_out="It was never enqueued here, its retention is over, "
        "or it was enqueued with ignore_result.",
    )


def _now() -> float:
    return asyncio.get_running_loop().time()


def _died(located: Located) -> Record:
    """Return what the dead letters say, for a task that left no record."""
    message = located.message
    return Record(
        id=message.id,
        state=State.DEAD,
        fence=located.fence,
        attempt=located.attempt,
        task=message.task,
        queue=message.queue,
        error=located.errors[-1] if located.errors else None,
        reason=located.reason,
        finished_at_ms=located.died_at_ms,
    )


def no_backend() -> NoResultBackend:
    """Return the error of a Stem that has nobody to ask."""
    return NoResultBackend(
        "there is no result backend, so nobody remembers results",
        way_out="Set STEM_RESULT_BACKEND_URL, or Stem(backend=…).",
    )


def value_of(record: Record) -> Any:
    """Return the decoded value of a task that succeeded, or raise how else it ended.

    Raises:
        TaskFailed, TaskCancelled.
    """
    if record.state is State.SUCCEEDED:
        return None if record.value is None else decode_value(record.value)
    if record.state is State.CANCELLED:
        why = f": {record.reason}" if record.reason else ""
        raise TaskCancelled(f"{record.task} {record.id} was cancelled{why}")
    error = record.error
    raise TaskFailed(
        f"{record.task} {record.id} {_how_it_ended(record)}",
        task_id=record.id,
        type_name=error.type if error else "",
        state=record.state.value,
    )


def _how_it_ended(record: Record) -> str:
    """Say it with the reason in the first line, for the text of an error can have several."""
    error, reason, ended = record.error, record.reason, f"is {record.state.value}"
    if error is None:
        return f"{ended}: {reason or 'no reason is known'}"
    is_new = reason not in ("", record.state.value)
    label = "" if error.type == f"stem.{reason}" else error.type  # nobody raised that one
    told = ": ".join(filter(None, (label, error.message)))
    return f"{ended} ({reason}): {told}" if is_new else f"{ended}: {told}"


# ── cancelling ───────────────────────────────────────────────────────────────


async def cancel(
    lane: Lane, id: str, reason: str, *, now_ms: int, ttl_ms: int, until: float | None = None
) -> CancelStatus:
    """Ask that *id* does not run, or stops; not later than *until*.

    Raises:
        CapabilityMissing: this broker cannot cancel.
        StoreError: it is not known whether it was cancelled.
    """
    until = lane.until() if until is None else until
    if not lane.capabilities.cancel:
        raise CapabilityMissing(f"{lane.at} cannot cancel")
    located = (await lane.lookup([id], until))[0]
    record = None if located is None else cancelled_record(located, reason, now_ms, ttl_ms)
    wish = Cancellation(id=id, reason=reason, record=record if lane.atomic else None)
    reply = (await lane.cancel([wish], until))[0]
    is_ours = reply.status is CancelStatus.CANCELLED and not lane.atomic
    if is_ours and lane.backend is not None and record is not None:
        # Another store: whoever waits for the result learns it from here.
        await lane.from_backend(lane.backend.save, [replace(record, fence=reply.fence)], until)
    return reply.status


def cancelled_record(located: Located, reason: str, now_ms: int, ttl_ms: int) -> Record:
    """Return the record of a waiting task that is cancelled for *reason*."""
    message, envelope = located.message, _shown(located)
    return Record(
        id=message.id,
        state=State.CANCELLED,
        fence=located.fence,
        attempt=located.attempt,
        task=message.task,
        queue=message.queue,
        reason=reason,
        meta=envelope.meta if envelope else {},
        enqueued_at_ms=envelope.enqueued_at_ms if envelope else 0,
        finished_at_ms=now_ms,
        ttl_ms=ttl_ms,
    )
