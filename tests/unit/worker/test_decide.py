from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.worker.given import NOW_MS, a_delivery, a_message, a_run

from stem_core.contracts.messages import ACK, Ack, DeadLetter, Release, ReleaseWhy, RetryLater
from stem_core.model.outcome import Reason, State, TaskError
from stem_core.model.retry import RetryPolicy, names_of
from stem_core.worker.decide import Books, decide
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

BOOKS = Books(worker="w1", success_ms=10, failure_ms=20, dead_ms=30)
ERROR = TaskError(type="builtins.ValueError", message="no", attempt=1, at_ms=NOW_MS)


def failed(kind: type[BaseException] = ValueError, **facts) -> Failed:
    return Failed(error=ERROR, error_names=names_of(kind), **facts)


def settled(outcome: Outcome, run=None, books=BOOKS, roll=0.5):
    settlement = decide(outcome, run or a_run(), books, now_ms=NOW_MS, roll=roll)
    assert settlement is not None
    return settlement


def test_a_value_is_acknowledged_with_its_record():
    settlement = settled(Returned(b"42"))
    assert settlement.outcome == ACK
    assert settlement.record is not None
    record = settlement.record
    assert (record.state, record.value, record.fence, record.attempt) == (
        State.SUCCEEDED,
        b"42",
        7,
        1,
    )
    assert (record.task, record.queue, record.worker, record.ttl_ms) == (
        "work",
        "default",
        "w1",
        10,
    )
    assert record.meta == {"by": "finance"}
    assert (record.enqueued_at_ms, record.started_at_ms, record.finished_at_ms) == (
        NOW_MS - 1000,
        NOW_MS - 80,
        NOW_MS,
    )


def test_a_failure_is_retried_without_a_record():
    settlement = settled(failed(), a_run(max_retries=3), roll=0.5)
    assert settlement.outcome == RetryLater(500, ERROR)
    assert settlement.record is None


def test_the_last_failure_goes_to_the_dead_letters():
    run = a_run(max_retries=3, delivery=a_delivery(attempt=4))
    settlement = settled(failed(), run)
    assert settlement.outcome == DeadLetter(Reason.MAX_RETRIES_EXHAUSTED, ERROR, 30)
    assert settlement.record is not None
    assert (settlement.record.state, settlement.record.reason, settlement.record.error) == (
        State.DEAD,
        "max-retries-exhausted",
        ERROR,
    )
    assert settlement.record.ttl_ms == 20


@pytest.mark.parametrize("attempt", range(1, 6))
@pytest.mark.parametrize("max_retries", range(4))
def test_max_retries_counts_attempts_after_the_first(max_retries, attempt):
    run = a_run(max_retries=max_retries, delivery=a_delivery(attempt=attempt))
    retried = isinstance(settled(failed(), run).outcome, RetryLater)
    assert retried == (attempt <= max_retries)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (failed(), Reason.MAX_RETRIES_EXHAUSTED),
        (failed(timed_out=True), Reason.TIMED_OUT),
    ],
)
def test_the_reason_of_a_dead_letter_says_how_it_failed(outcome, reason):
    settlement = settled(outcome, a_run(max_retries=0))
    assert isinstance(settlement.outcome, DeadLetter)
    assert settlement.outcome.reason is reason


def test_an_error_that_is_never_retried_is_rejected_at_once():
    policy = RetryPolicy(never_retry_on=(LookupError,))
    settlement = settled(failed(KeyError), a_run(max_retries=9, retry_policy=policy))
    assert isinstance(settlement.outcome, DeadLetter)
    assert settlement.outcome.reason is Reason.REJECTED


def test_the_wait_that_a_task_asks_for_wins_over_its_policy():
    settlement = settled(failed(asked_after_ms=42), a_run(max_retries=1))
    assert settlement.outcome == RetryLater(42, ERROR)


@pytest.mark.parametrize(
    ("outcome", "state", "reason"),
    [
        (Discarded("not needed"), State.DISCARDED, "not needed"),
        (Stopped("cancel requested"), State.CANCELLED, "cancel requested"),
    ],
)
def test_an_end_without_a_value_is_acknowledged_and_recorded(outcome, state, reason):
    settlement = settled(outcome)
    assert isinstance(settlement.outcome, Ack)
    assert settlement.record is not None
    assert (settlement.record.state, settlement.record.reason) == (state, reason)
    assert settlement.record.ttl_ms == 20


@pytest.mark.parametrize("why", ReleaseWhy)
def test_what_is_handed_back_leaves_no_record(why):
    settlement = settled(Handed(why, 250))
    assert settlement.outcome == Release(250, why)
    assert settlement.record is None


def test_what_expired_is_recorded_as_expired_and_kept_with_the_dead_letters():
    settlement = settled(Refused(reason=Reason.EXPIRED), a_run(started=False))
    assert settlement.outcome == DeadLetter(Reason.EXPIRED, None, 30)
    assert settlement.record is not None
    assert (settlement.record.state, settlement.record.attempt) == (State.EXPIRED, 0)


def test_a_message_that_may_be_forged_writes_nothing_under_the_id_it_claims():
    refused = Refused(reason=Reason.SIGNATURE_INVALID, error=ERROR, claims_id=False)
    settlement = settled(refused, a_run(started=False))
    assert isinstance(settlement.outcome, DeadLetter)
    assert settlement.record is None


def test_a_lost_lease_settles_nothing():
    assert decide(Dropped(), a_run(), BOOKS, now_ms=NOW_MS, roll=0.0) is None


FOLLOW_UP, AT_ONCE = a_message(id="child"), a_message(id="now")


@pytest.mark.parametrize(
    ("outcome", "published"),
    [
        (Returned(None), (FOLLOW_UP, AT_ONCE)),
        (failed(), (AT_ONCE,)),
        (Discarded(""), (AT_ONCE,)),
        (Handed(ReleaseWhy.SNOOZE), (AT_ONCE,)),
        (Refused(reason=Reason.REJECTED), (AT_ONCE,)),
    ],
)
def test_follow_ups_need_a_success_and_what_was_sent_at_once_does_not(outcome, published):
    run = a_run()
    assert run.context is not None
    run.context.follow_ups.append(FOLLOW_UP)
    run.published_now = {"now": AT_ONCE}
    assert settled(outcome, run).follow_ups == published


OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Returned, st.none() | st.binary(max_size=4)),
    st.builds(failed, st.sampled_from([ValueError, KeyError]), timed_out=st.booleans()),
    st.builds(Discarded, st.text(max_size=4)),
    st.builds(Stopped, st.text(max_size=4)),
    st.builds(Handed, st.sampled_from(ReleaseWhy), st.integers(0, 10_000)),
    st.builds(Refused, reason=st.sampled_from(Reason), claims_id=st.booleans()),
)


@given(
    outcome=OUTCOMES,
    attempt=st.integers(1, 50),
    fence=st.integers(1, 10_000),
    max_retries=st.integers(0, 20),
    roll=st.floats(0, 1, exclude_max=True),
    ignored=st.booleans(),
    keeps=st.booleans(),
)
def test_every_settlement_carries_its_own_receipt_and_only_ends_are_recorded(
    outcome, attempt, fence, max_retries, roll, ignored, keeps
):
    delivery = a_delivery(fence=fence, attempt=attempt)
    run = a_run(delivery=delivery, max_retries=max_retries, ignore_result=ignored)
    settlement = settled(outcome, run, Books(keeps_records=keeps), roll)
    assert settlement.receipt is delivery.receipt
    record = settlement.record
    if ignored or not keeps or isinstance(settlement.outcome, RetryLater | Release):
        assert record is None
    if record is not None:
        assert record.state.is_terminal
        assert (record.id, record.fence) == (delivery.receipt.id, fence)
