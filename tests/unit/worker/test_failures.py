from __future__ import annotations

import asyncio

import pytest

from stem_core.contracts.messages import ReleaseWhy
from stem_core.model.errors import Discard, Reject, Retry, Snooze, SoftTimeLimitExceeded
from stem_core.model.outcome import MAX_ERROR_TEXT, Reason
from stem_core.worker.failures import outcome_of
from stem_core.worker.outcomes import (
    Cause,
    Discarded,
    Dropped,
    Failed,
    Handed,
    Refused,
    Stopped,
)


def of(error: BaseException, cause: Cause | None = None):
    try:
        raise error
    except BaseException as raised:
        return outcome_of(raised, cause=cause, attempt=2, now_ms=5)


def test_an_exception_becomes_data_with_its_traceback_and_its_family():
    outcome = of(KeyError("colour"))
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "builtins.KeyError"
    assert outcome.error.message == "'colour'"
    assert "KeyError: 'colour'" in outcome.error.traceback
    assert (outcome.error.attempt, outcome.error.at_ms) == (2, 5)
    assert outcome.error_names[:2] == ("builtins.KeyError", "builtins.LookupError")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), asyncio.CancelledError()])
def test_what_is_no_exception_is_a_failure_of_the_task_all_the_same(error):
    outcome = of(error)
    assert isinstance(outcome, Failed)
    assert outcome.error.type.endswith(type(error).__name__)


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Endless(Exception):
    def __str__(self) -> str:
        return str(self)


@pytest.mark.parametrize("error", [Mute(), Endless()])
def test_an_exception_that_cannot_say_what_it_is_still_becomes_data(error):
    outcome = of(error)
    assert isinstance(outcome, Failed)
    assert "no text" in outcome.error.message


def test_a_huge_message_is_cut():
    outcome = of(ValueError("x" * 1_000_000))
    assert isinstance(outcome, Failed)
    assert len(outcome.error.message) < MAX_ERROR_TEXT + 10
    assert len(outcome.error.traceback) < MAX_ERROR_TEXT + 10


def test_an_exception_that_is_its_own_cause_becomes_data():
    error = ValueError("round and round")
    error.__cause__ = error
    assert isinstance(of(error), Failed)


def test_retry_says_how_long_to_wait():
    outcome = of(Retry("90s"))
    assert isinstance(outcome, Failed)
    assert outcome.asked_after_ms == 90_000


def test_retry_without_a_wait_leaves_it_to_the_policy():
    outcome = of(Retry())
    assert isinstance(outcome, Failed)
    assert outcome.asked_after_ms is None


@pytest.mark.parametrize("signal", [Retry("soon"), Snooze("soon"), Snooze(-1)])
def test_a_wait_that_is_none_is_a_failure_that_says_so(signal):
    outcome = of(signal)
    assert isinstance(outcome, Failed)
    assert "InvalidOption" in outcome.error.type
    assert type(signal).__name__ in outcome.error.message


def test_snooze_comes_back_without_blame():
    assert of(Snooze("5s", reason="busy")) == Handed(ReleaseWhy.SNOOZE, 5000, "busy")


def test_discard_ends_it():
    assert of(Discard("nobody needs it")) == Discarded("nobody needs it")


def test_reject_goes_to_the_dead_letters():
    outcome = of(Reject("look at this"))
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.REJECTED
    assert outcome.error is not None
    assert outcome.error.message == "look at this"


def test_the_soft_limit_is_a_timeout():
    outcome = of(SoftTimeLimitExceeded("over"))
    assert isinstance(outcome, Failed)
    assert outcome.timed_out


# ── told to end ──────────────────────────────────────────────────────────────

RAISED = [asyncio.CancelledError(), ValueError("while cleaning up")]


@pytest.mark.parametrize("error", RAISED)
@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (Cause.CANCEL, Stopped),
        (Cause.LEASE_LOST, Dropped),
        (Cause.SHUTDOWN, Handed),
        (Cause.HARD_LIMIT, Failed),
    ],
)
def test_what_a_task_raises_on_its_way_out_is_not_held_against_it(error, cause, kind):
    assert isinstance(of(error, cause), kind)


def test_a_task_may_still_choose_its_end_during_a_shutdown():
    assert of(Discard("done for"), Cause.SHUTDOWN) == Discarded("done for")


def test_the_hard_limit_is_a_timeout_whatever_the_task_raised():
    outcome = of(asyncio.CancelledError(), Cause.HARD_LIMIT)
    assert isinstance(outcome, Failed)
    assert outcome.timed_out
    assert "hard time limit" in outcome.error.message
