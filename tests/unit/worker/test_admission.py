from __future__ import annotations

import pytest
from unit.worker.given import NOW_MS, a_delivery, a_message, an_envelope

from stem_core.contracts.messages import ReleaseWhy
from stem_core.model.outcome import Reason, TaskError
from stem_core.worker.admission import admit, park, unknown_task
from stem_core.worker.outcomes import Handed, Refused, Stopped


def test_an_ordinary_delivery_is_admitted():
    assert admit(a_delivery(), an_envelope(), now_ms=NOW_MS) is None


@pytest.mark.parametrize(("late_ms", "admitted"), [(-1, True), (0, False), (1, False)])
def test_what_has_expired_is_not_run(late_ms, admitted):
    envelope = an_envelope(expires_at_ms=NOW_MS - late_ms)
    outcome = admit(a_delivery(), envelope, now_ms=NOW_MS)
    assert (outcome is None) == admitted
    if outcome is not None:
        assert isinstance(outcome, Refused)
        assert outcome.reason is Reason.EXPIRED


@pytest.mark.parametrize(("lapses", "admitted"), [(0, True), (4, True), (5, False), (6, False)])
def test_a_message_whose_leases_lapse_again_and_again_is_poison(lapses, admitted):
    delivery = a_delivery(lapses=lapses, message=a_message(max_lapses=5))
    outcome = admit(delivery, an_envelope(), now_ms=NOW_MS)
    assert (outcome is None) == admitted
    if outcome is not None:
        assert isinstance(outcome, Refused)
        assert outcome.reason is Reason.POISON


def test_hand_backs_and_attempts_never_make_a_message_poison():
    delivery = a_delivery(lapses=0, releases=1000, attempt=1000)
    assert admit(delivery, an_envelope(), now_ms=NOW_MS) is None


def test_what_was_cancelled_before_it_began_is_stopped():
    outcome = admit(a_delivery(cancel_requested=True), an_envelope(), now_ms=NOW_MS)
    assert isinstance(outcome, Stopped)


def test_what_was_cancelled_with_a_reason_keeps_it():
    delivery = a_delivery(cancel_requested=True, cancel_reason="sold out")
    assert admit(delivery, an_envelope(), now_ms=NOW_MS) == Stopped("sold out")


@pytest.mark.parametrize(("early_ms", "admitted"), [(-1, True), (0, True), (5_000, True)])
def test_a_clock_that_is_a_little_behind_does_not_hold_a_task_up(early_ms, admitted):
    envelope = an_envelope(not_before_ms=NOW_MS + early_ms)
    assert (admit(a_delivery(), envelope, now_ms=NOW_MS) is None) == admitted


def test_what_comes_long_before_its_signed_time_goes_back_until_then():
    envelope = an_envelope(not_before_ms=NOW_MS + 60_000)
    outcome = admit(a_delivery(), envelope, now_ms=NOW_MS)
    assert isinstance(outcome, Handed)
    assert (outcome.why, outcome.after_ms) == (ReleaseWhy.EARLY, 60_000)


ERROR = TaskError(type="x", message="nobody knows it")


@pytest.mark.parametrize(
    ("parked_ms", "after_ms"),
    [(0, 1000), (1000, 2000), (3000, 4000), (31_000, 32_000), (63_000, 60_000), (10**6, 60_000)],
)
def test_parking_waits_twice_as_long_each_time_up_to_a_minute(parked_ms, after_ms):
    # Snoozes and hand-backs count as releases too, and have nothing to do with it.
    delivery = a_delivery(parked_ms=parked_ms, releases=6)
    outcome = park(delivery, Reason.UNREGISTERED_TASK, ERROR, limit_ms=3_600_000)
    assert outcome == Handed(ReleaseWhy.PARKED, after_ms, "nobody knows it")


@pytest.mark.parametrize(("parked_ms", "is_dead"), [(0, False), (59_999, False), (60_000, True)])
def test_parking_ends_in_the_dead_letters_when_its_limit_is_reached(parked_ms, is_dead):
    delivery = a_delivery(parked_ms=parked_ms)
    outcome = park(delivery, Reason.DECODE_ERROR, ERROR, limit_ms=60_000)
    assert isinstance(outcome, Refused if is_dead else Handed)


def test_an_unknown_task_names_the_nearest_one():
    error = unknown_task("emial.send", known=["email.send"], complaint="", now_ms=1)
    assert error.type == "stem_core.model.errors.UnknownTask"
    assert "'emial.send'" in error.message
    assert "'email.send'" in error.message
