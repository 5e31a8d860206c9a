"""What becomes of a delivery: one outcome gives one settlement.

Rule of this module: it computes. Time and dice are arguments, and what it returns
is a value; `settler` does what it says.
"""

from __future__ import annotations

from attrs import field, frozen

from stem_core.contracts.messages import (
    ACK,
    DeadLetter,
    Delivery,
    Message,
    Release,
    RetryLater,
    Settlement,
    SettleOutcome,
)
from stem_core.model.envelope import Envelope
from stem_core.model.options import Effective
from stem_core.model.outcome import Reason, Record, State, TaskError
from stem_core.model.retry import GiveUp, RetryAfter
from stem_core.model.retry import decide as decide_retry
from stem_core.worker.outcomes import (
    Discarded,
    Dropped,
    Failed,
    Handed,
    Outcome,
    Refused,
    Returned,
    Stopped,
)

__all__ = ["Case", "Retention", "decide"]


@frozen(kw_only=True)
class Retention:
    """How long records and dead letters are kept, in milliseconds."""

    success_ms: int = 86_400_000
    failure_ms: int = 7 * 86_400_000
    dead_ms: int = 30 * 86_400_000


@frozen(slots=False, kw_only=True)
class Case:
    """All that a decision takes into account, but for the outcome itself.

    Attributes:
        delivery: what was delivered.
        envelope, effective: what was asked, and the options that hold; None when the
            delivery never got so far.
        started_ms, now_ms: wall times; *started_ms* is 0 when it never ran.
        roll: a number in [0, 1).
        worker: who decides.
        retention: how long things are kept.
        keeps_record: somebody keeps records, and this task has not declined.
        follow_ups: what the task enqueued; published only if it succeeded.
        published_now: what it enqueued for at once and is not known to be there yet.
    """

    delivery: Delivery
    envelope: Envelope | None = None
    effective: Effective | None = None
    started_ms: int = 0
    now_ms: int
    roll: float = 0.0
    worker: str = ""
    retention: Retention = field(factory=Retention)
    keeps_record: bool = True
    follow_ups: tuple[Message, ...] = ()
    published_now: tuple[Message, ...] = ()


def decide(outcome: Outcome, case: Case) -> Settlement | None:
    """Return the one settlement of *outcome*; None when there is none to make."""
    match outcome:
        case Returned(value):
            ttl_ms = case.retention.success_ms
            record = _record(case, State.SUCCEEDED, ttl_ms=ttl_ms, value=value)
            return _settlement(case, ACK, record, case.follow_ups)
        case Failed():
            return _after_failure(outcome, case)
        case Handed(why, after_ms):
            return _settlement(case, Release(after_ms, why), None)
        case Discarded(reason):
            return _settlement(case, ACK, _record(case, State.DISCARDED, reason=reason))
        case Stopped(reason):
            return _settlement(case, ACK, _record(case, State.CANCELLED, reason=reason))
        case Refused(reason=reason, error=error, claims_id=claims_id):
            return _bury(case, reason, error, claims_id=claims_id)
        case Dropped():
            return None


def _after_failure(failed: Failed, case: Case) -> Settlement:
    assert case.effective is not None  # only what was admitted can run, and fail
    decision = decide_retry(
        case.effective.retry_policy,
        max_retries=case.effective.max_retries,
        attempt=case.delivery.attempt,
        error_names=failed.error_names,
        dice=case.roll,
        asked_after_ms=failed.asked_after_ms,
    )
    match decision:
        case RetryAfter(delay_ms):
            return _settlement(case, RetryLater(delay_ms, failed.error), None)
        case GiveUp(why):
            return _bury(case, _reason(failed, why), failed.error)


def _reason(failed: Failed, why: str) -> Reason:
    if failed.timed_out:
        return Reason.TIMED_OUT
    return Reason.REJECTED if why == "never-retry-on" else Reason.MAX_RETRIES_EXHAUSTED


def _bury(
    case: Case, reason: Reason, error: TaskError | None, *, claims_id: bool = True
) -> Settlement:
    # What came too late is "expired" to whoever asks for its result; its message is kept
    # with the dead letters all the same, for nothing ends without leaving a trace.
    state = State.EXPIRED if reason is Reason.EXPIRED else State.DEAD
    kept_ms = case.retention.dead_ms
    record = _record(case, state, ttl_ms=kept_ms, reason=reason.value, error=error)
    return _settlement(case, DeadLetter(reason, error, kept_ms), record if claims_id else None)


def _settlement(
    case: Case,
    outcome: SettleOutcome,
    record: Record | None,
    follow_ups: tuple[Message, ...] = (),
) -> Settlement:
    return Settlement(
        receipt=case.delivery.receipt,
        outcome=outcome,
        record=record,
        follow_ups=follow_ups + case.published_now,
    )


def _record(
    case: Case,
    state: State,
    *,
    ttl_ms: int = 0,
    value: bytes | None = None,
    reason: str = "",
    error: TaskError | None = None,
) -> Record | None:
    if not case.keeps_record:
        return None
    message, envelope = case.delivery.message, case.envelope
    return Record(
        id=message.id,
        state=state,
        fence=case.delivery.receipt.fence,
        attempt=case.delivery.attempt if case.started_ms else case.delivery.attempt - 1,
        task=message.task,
        queue=message.queue,
        value=value,
        error=error,
        reason=reason,
        meta=envelope.meta if envelope else {},
        enqueued_at_ms=envelope.enqueued_at_ms if envelope else 0,
        started_at_ms=case.started_ms,
        finished_at_ms=case.now_ms,
        worker=case.worker,
        ttl_ms=ttl_ms or case.retention.failure_ms,
    )
