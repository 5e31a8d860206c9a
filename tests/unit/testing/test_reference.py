"""The subtle rules of the model, each against the sentence that promises it."""

from __future__ import annotations

import pytest

from stem_core.contracts.admin import ReplayStatus
from stem_core.contracts.messages import (
    ACK,
    Cancellation,
    CancelStatus,
    Delivery,
    ExtendStatus,
    Extension,
    Message,
    Place,
    PublishStatus,
    Release,
    ReleaseWhy,
    RetryLater,
    Settlement,
    SettleStatus,
    UniqueKey,
)
from stem_core.model.outcome import State
from stem_core.testing.contract.values import DEAD, end, ended, message
from stem_core.testing.model.line import IN_ORDER, Turn
from stem_core.testing.model.reference import Reference

DONE, ALREADY, STALE, GONE, INVALID = (
    frozenset({status})
    for status in (
        SettleStatus.DONE,
        SettleStatus.ALREADY,
        SettleStatus.STALE,
        SettleStatus.GONE,
        SettleStatus.INVALID,
    )
)
HAND_BACK = Release(0, ReleaseWhy.SHUTDOWN)


def model_of(*messages: Message) -> Reference:
    model = Reference()
    model.publish(messages)
    return model


def take(model: Reference, queue: str = "q") -> Delivery:
    """Lease the one message that must come next."""
    (id,) = model.may_be_next([queue])
    return model.lease(id, "w")


def order(model: Reference) -> list[str]:
    """Lease everything, one after the other."""
    ids = []
    while model.may_be_next(["q"]):
        ids.append(take(model).message.id)
    return ids


def place(model: Reference, id: str) -> Place | None:
    found = model.locate(id)
    return None if found is None else found.place


# ── order ────────────────────────────────────────────────────────────────────


def test_a_hand_back_keeps_its_turn_and_a_retry_goes_to_the_end():
    model = model_of(message("a"), message("b"), message("c"))
    model.settle(end(take(model), HAND_BACK))
    assert model.may_be_next(["q"]) == {"a"}
    model.settle(end(take(model), RetryLater(0)))
    assert order(model) == ["b", "c", "a"]


def test_what_was_due_before_goes_before_what_is_ready_since():
    model = model_of(message("delayed", delay_ms=5), message("retried"))
    delivery = take(model)
    model.now_ms = 7
    model.publish([message("published")])
    model.settle(end(delivery, RetryLater(0), follow_ups=(message("follow-up"),)))
    assert order(model) == ["delayed", "published", "retried", "follow-up"]


def test_messages_of_one_call_that_wait_alike_stay_in_the_order_given():
    model = model_of(message("b", delay_ms=5), message("a", delay_ms=5))
    model.now_ms = 5
    assert order(model) == ["b", "a"]


def test_of_a_message_that_is_due_now_and_one_that_comes_now_either_may_be_first():
    model = model_of(message("a", delay_ms=5))
    model.now_ms = 5
    model.publish([message("b")])
    assert model.may_be_next(["q"]) == {"a", "b"}


def test_what_has_lapsed_is_ready_when_the_store_takes_that_up():
    model = model_of(message("a", lease_ms=5))
    take(model)
    model.now_ms = 7
    model.publish([message("b")])
    model.now_ms = 9
    assert model.may_be_next(["q"]) == {"a", "b"}  # since 5, or only since now


def test_a_hand_back_after_a_lapse_may_have_its_old_turn_or_the_new_one():
    model = model_of(message("a", lease_ms=5), message("b"))
    delivery = take(model)
    model.now_ms = 5
    assert model.settle(end(delivery, HAND_BACK)) == DONE
    assert model.may_be_next(["q"]) == {"a", "b"}


@pytest.mark.parametrize(
    ("one", "other", "precedes"),
    [
        (Turn(1, 1, IN_ORDER, 1), Turn(1, 1, IN_ORDER, 2), True),
        (Turn(1, 1, IN_ORDER, 2), Turn(1, 1, IN_ORDER, 1), False),
        (Turn(1, 1, 7, 2), Turn(2, 2, 7, 1), True),
        (Turn(2, 2, 7, 1), Turn(1, 1, 7, 2), False),
        (Turn(1, 1, 7, 1), Turn(1, 1, 8, 2), False),
        (Turn(1, 3, 7, 1), Turn(2, 2, 8, 2), False),
        (Turn(1, 3, 7, 1), Turn(4, 4, 8, 2), True),
    ],
)
def test_a_turn_precedes_another_only_where_that_is_promised(one, other, precedes):
    assert one.precedes(other) is precedes


def test_on_a_real_clock_two_instants_may_be_too_near_to_tell_apart():
    assert not Turn(1, 1, 7, 1).precedes(Turn(4, 4, 8, 2), slack_ms=3)


# ── time, lapses and fences ──────────────────────────────────────────────────


def test_a_lease_lapses_at_its_end_and_not_a_millisecond_before():
    model = model_of(message("a", lease_ms=5))
    take(model)
    model.now_ms = 4
    assert model.may_be_next(["q"]) == set()
    model.now_ms = 5
    again = take(model)
    assert (again.lapses, again.attempt, again.receipt.fence) == (1, 1, 2)


def test_a_lapse_counts_once_it_is_taken_up_and_an_extension_does_not_undo_it():
    model = model_of(message("a", lease_ms=5))
    receipt = take(model).receipt
    model.now_ms = 5
    assert model.lives["a"].lapses == 0
    model.take_up("a")
    assert model.extend(Extension(receipt, 5)).status is ExtendStatus.HELD
    assert (model.lives["a"].lapses, place(model, "a")) == (1, Place.LEASED)


def test_a_lapsed_lease_that_nobody_took_can_be_settled_and_one_that_was_taken_cannot():
    model = model_of(message("a", lease_ms=5), message("b", lease_ms=5))
    taken, left = take(model), take(model)
    model.now_ms = 5
    model.lease("a", "w2")
    assert model.settle(end(left)) == DONE
    assert model.settle(end(taken)) == STALE
    assert model.extend(Extension(taken.receipt, 5)).status is ExtendStatus.LOST


def test_nothing_is_taken_up_before_its_time():
    model = model_of(message("a", delay_ms=5))
    with pytest.raises(AssertionError, match="FETCH-4"):
        model.take_up("a")


def test_an_id_that_is_born_again_must_not_meet_a_fence_of_its_first_life():
    model = model_of(message("a", dedupe_for_ms=5))
    model.settle(end(take(model)))
    model.now_ms = 5
    model.publish([message("a")])
    with pytest.raises(AssertionError, match="FETCH-5"):
        model.count_from("a", 0)
    model.count_from("a", 1)
    assert take(model).receipt.fence == 2


def test_a_message_that_is_due_while_parked_is_shown_as_parked_until_it_is_leased():
    model = model_of(message("a"))
    model.settle(end(take(model), Release(5, ReleaseWhy.PARKED)))
    model.now_ms = 5
    model.take_up("a")
    assert place(model, "a") is Place.PARKED
    assert take(model).parked_ms == 5


# ── settling ─────────────────────────────────────────────────────────────────


def test_a_settlement_that_is_sent_again_is_already_done_until_its_id_is_forgotten():
    model = model_of(message("a", dedupe_for_ms=5))
    sent = end(take(model))
    assert [model.settle(sent), model.settle(sent)] == [DONE, ALREADY]
    model.now_ms = 5
    assert model.settle(sent) == GONE


def test_one_that_a_later_lease_has_settled_over_is_done_before_and_stale_as_well():
    model = model_of(message("a"))
    first = end(take(model), RetryLater(0))
    model.settle(first)
    model.settle(end(take(model), RetryLater(0)))
    assert model.settle(first) == ALREADY | STALE


def test_what_is_wrong_in_two_ways_may_be_refused_for_either_and_changes_nothing():
    model = model_of(message("a"), message("taken"))
    delivery = take(model)
    model.save(ended(delivery, fence=9))
    conflict = message("taken", body=b"other")
    wrong = end(delivery, record=ended(delivery), follow_ups=(message("f"), conflict))
    assert model.settle(wrong) == INVALID | STALE
    assert (place(model, "a"), place(model, "f")) == (Place.LEASED, None)
    assert model.records["a"].fence == 9


def test_follow_ups_of_one_id_with_two_bodies_are_a_conflict():
    model = model_of(message("a"))
    twins = (message("f"), message("f", body=b"other"))
    assert model.settle(end(take(model), follow_ups=twins)) == INVALID


def test_a_record_that_is_there_already_does_not_stop_its_settlement():
    model = model_of(message("a"))
    delivery = take(model)
    assert model.save(ended(delivery))
    assert model.settle(end(delivery, record=ended(delivery))) == DONE


def test_a_follow_up_may_have_the_key_that_the_settled_message_frees():
    key = UniqueKey(key="k")
    model = model_of(message("a", unique=key))
    follow_ups = (message("f", unique=key), message("g", unique=key))
    assert model.settle(end(take(model), follow_ups=follow_ups)) == DONE
    assert (place(model, "f"), place(model, "g")) == (Place.READY, None)


# ── unique keys ──────────────────────────────────────────────────────────────


def test_a_window_outlives_its_message_and_ends_by_time():
    key = UniqueKey(key="k", until="window", window_ms=5)
    model = model_of(message("a", unique=key))
    model.settle(Settlement(receipt=take(model).receipt, outcome=ACK))
    assert model.holder("k") == "a"
    model.now_ms = 5
    assert model.holder("k") is None


def test_a_key_until_the_start_is_free_at_the_lease_and_held_again_by_a_replay():
    key = UniqueKey(key="k", until="started")
    model = model_of(message("a", unique=key))
    delivery = take(model)
    assert model.holder("k") is None
    model.settle(end(delivery, DEAD))
    model.replay("a")
    assert model.holder("k") == "a"


def test_a_replay_waits_for_the_key_that_another_message_holds():
    key = UniqueKey(key="k")
    model = model_of(message("a", unique=key))
    model.settle(end(take(model), DEAD))
    (reply,) = model.publish([message("b", unique=key)])
    assert reply.status is PublishStatus.CREATED
    assert model.replay("a").status is ReplayStatus.UNIQUE


# ── records of operators and callers ─────────────────────────────────────────


def test_a_replay_opens_the_record_again_and_a_cancel_after_it_may_close_it():
    model = model_of(message("a"))
    delivery = take(model)
    model.settle(end(delivery, DEAD, record=ended(delivery, State.DEAD)))
    assert model.replay("a").fence == 1
    assert model.records["a"].state is State.QUEUED
    wish = Cancellation(id="a", record=ended(delivery, State.CANCELLED, fence=0))
    assert model.cancel(wish).status is CancelStatus.CANCELLED
    assert (model.records["a"].state, model.records["a"].fence) == (State.CANCELLED, 1)


def test_a_cancel_marks_what_runs_and_the_next_taker_learns_of_it():
    model = model_of(message("a", lease_ms=5))
    take(model)
    assert model.cancel(Cancellation(id="a", reason="enough")).status is CancelStatus.REQUESTED
    model.now_ms = 5
    again = take(model)
    assert (again.cancel_requested, again.cancel_reason) == (True, "enough")
