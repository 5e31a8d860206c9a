"""What becomes of a delivery: one outcome gives one settlement.

Rule of this module: it computes. Time and dice are arguments, and what it returns
is a value; `settler` does what it says.
"""

from __future__ import annotations

from stem_core.contracts.messages import (
    ACK,
    DeadLetter,
    Message,
    Release,
    RetryLater,
    Settlement,
    SettleOutcome,
)
from stem_core.model.outcome import Reason, Record, State, TaskError
from stem_core.model.retry import GiveUp, RetryAfter
from stem_core.model.retry import decide as decide_retry
from stem_core.model.value import Value
from stem_core.worker.outcomes import (
    Discarded,
    Dropped,
    Failed,
    Handed,
    Lapsed,
    Outcome,
    Refused,
    Returned,
    Stopped,
)
from stem_core.worker.run import Run

__all__ = ["Books", "decide"]


class Books(Value, frozen=True, gc=False, kw_only=True):
    """What a worker writes down, and for how long, in milliseconds.

    Attributes:
        worker: who writes.
        keeps_records: there is a result backend.
        success_ms, failure_ms: how long the records of successes, and of all other
            ends, are kept.
        dead_ms: how long dead letters are kept, whatever becomes of their records.
    """

    worker: str = ""
    keeps_records: bool = True
    success_ms: int = 86_400_000
    failure_ms: int = 7 * 86_400_000
    dead_ms: int = 30 * 86_400_000


def decide(
    outcome: Outcome, run: Run, books: Books, *, now_ms: int, roll: float
) -> Settlement | None:
    """Return the one settlement of *outcome*; None when there is none to make.

    *now_ms* is wall time, *roll* a number in [0, 1). *run* is read and not changed.
    """
    match outcome:
        case Returned():
            record = _record(
                run, books, State.SUCCEEDED, now_ms, books.success_ms, value=outcome.value
            )
            return _settlement(run, ACK, record, _follow_ups(run))
        case Failed():
            return _after_failure(outcome, run, books, now_ms, roll)
        case Handed(why, after_ms):
            return _settlement(run, Release(after_ms, why), None)
        case Discarded(reason):
            return _end(run, books, State.DISCARDED, reason, now_ms)
        case Stopped(reason):
            return _end(run, books, State.CANCELLED, reason, now_ms)
        case Refused(reason=why, error=error, claims_id=claims_id):
            return _bury(run, books, why, error, now_ms, claims_id=claims_id)
        case Dropped() | Lapsed():
            return None


def _after_failure(failed: Failed, run: Run, books: Books, now_ms: int, roll: float) -> Settlement:
    assert run.plan is not None  # only what was admitted can run, and fail
    effective = run.plan.effective
    decision = decide_retry(
        effective.retry_policy,
        max_retries=effective.max_retries,
        attempt=run.delivery.attempt,
        error_names=failed.error_names,
        dice=roll,
        asked_after_ms=failed.asked_after_ms,
    )
    match decision:
        case RetryAfter(delay_ms):
            return _settlement(run, RetryLater(delay_ms, failed.error), None)
        case GiveUp(why):
            return _bury(run, books, _reason(failed, why), failed.error, now_ms)


def _reason(failed: Failed, why: str) -> Reason:
    if failed.timed_out:
        return Reason.TIMED_OUT
    return Reason.REJECTED if why == "never-retry-on" else Reason.MAX_RETRIES_EXHAUSTED


def _end(run: Run, books: Books, state: State, reason: str, now_ms: int) -> Settlement:
    record = _record(run, books, state, now_ms, books.failure_ms, reason=reason)
    return _settlement(run, ACK, record)


def _bury(
    run: Run,
    books: Books,
    reason: Reason,
    error: TaskError | None,
    now_ms: int,
    *,
    claims_id: bool = True,
) -> Settlement:
    # What came too late is "expired" to whoever asks for its result; its message is kept
    # with the dead letters all the same, for nothing ends without leaving a trace.
    state = State.EXPIRED if reason is Reason.EXPIRED else State.DEAD
    record = None
    if claims_id:
        why = reason.value
        record = _record(run, books, state, now_ms, books.failure_ms, reason=why, error=error)
    return _settlement(run, DeadLetter(reason, error, books.dead_ms), record)


def _settlement(
    run: Run,
    outcome: SettleOutcome,
    record: Record | None,
    follow_ups: tuple[Message, ...] = (),
) -> Settlement:
    if run.published_now:  # not known to be there: they go with whatever end this is
        follow_ups += tuple(run.published_now.values())
    return Settlement(
        receipt=run.delivery.receipt, outcome=outcome, record=record, follow_ups=follow_ups
    )


def _follow_ups(run: Run) -> tuple[Message, ...]:
    """What the task enqueued; it counts only if the task succeeded."""
    return tuple(run.context.follow_ups) if run.context is not None else ()


def _record(
    run: Run,
    books: Books,
    state: State,
    now_ms: int,
    ttl_ms: int,
    *,
    value: bytes | None = None,
    reason: str = "",
    error: TaskError | None = None,
) -> Record | None:
    if not books.keeps_records or (run.plan is not None and run.plan.effective.ignore_result):
        return None
    message, envelope, attempt = run.delivery.message, run.envelope, run.delivery.attempt
    return Record(
        id=message.id,
        state=state,
        fence=run.delivery.receipt.fence,
        attempt=attempt if run.started_ms else attempt - 1,
        task=message.task,
        queue=message.queue,
        value=value,
        error=error,
        reason=reason,
        meta=envelope.meta if envelope is not None else {},
        enqueued_at_ms=envelope.enqueued_at_ms if envelope is not None else 0,
        started_at_ms=run.started_ms,
        finished_at_ms=now_ms,
        worker=books.worker,
        ttl_ms=ttl_ms,
    )
