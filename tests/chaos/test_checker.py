"""The checker finds each kind of broken promise in a history that somebody wrote by hand."""

from __future__ import annotations

import math

import pytest
from chaos.checker import Commit, Truth, hand_overs, judge, late_claims, resumptions_ms
from chaos.history import Event, History, What
from chaos.report import complaints

ONE, TWO, PRODUCER = 1, 2, 9


def line(what: What, at_ms: int, pid: int = ONE, fence: int = 0, detail: str = "", **more) -> Event:
    """An event of the task "a" at *at_ms*."""
    about = "" if what in (What.KILLED, What.SIGNALLED, What.READY, What.BACK) else "a"
    facts = {"id": about, "attempt": 0, **more}
    return Event(what, at_ms * 1_000_000, 0, pid, facts["id"], fence, facts["attempt"], detail)


def run(
    *,
    pid: int,
    fence: int,
    start_ms: int,
    end_ms: int | None = None,
    reply: str | None = "done ack",
) -> list[Event]:
    """The lines of one run; without *end_ms* it never ended, without *reply* nobody said so."""
    lines = [line(What.LEASED, start_ms, pid, fence), line(What.STARTED, start_ms, pid, fence)]
    if end_ms is not None:
        lines.append(line(What.ENDED, end_ms, pid, fence))
        if reply is not None:
            lines.append(line(What.SETTLED, end_ms, pid, fence, reply))
    return lines


ACCEPTED = line(What.ACCEPTED, 0, PRODUCER)
UNTIL_KILLED = [*run(pid=ONE, fence=1, start_ms=1), line(What.KILLED, 10, ONE)]
GOOD = [ACCEPTED, *run(pid=ONE, fence=1, start_ms=1, end_ms=5)]


def history(*events: Event) -> History:
    return History(tuple(events))


def truth(*commits: Commit, record: int | None = 1, located: str = "") -> Truth:
    """A store with these commits; *record* is the fence of the success that it remembers."""
    records = {} if record is None else {"a": ("succeeded", record)}
    return Truth(commits=commits, records=records, located=frozenset(located))


def test_a_task_that_ran_once_and_succeeded_breaks_nothing() -> None:
    found = judge(history(*GOOD), truth(Commit("a", 1)))
    assert found.accepted == 1
    assert not complaints(found)


def test_an_accepted_id_that_is_nowhere_is_lost() -> None:
    assert judge(history(ACCEPTED), truth(record=None)).lost == ("a",)


@pytest.mark.parametrize("state", ["dead", "queued"])
def test_a_record_of_anything_but_success_does_not_save_what_no_lookup_finds(state: str) -> None:
    assert judge(history(ACCEPTED), Truth(records={"a": (state, 1)})).lost == ("a",)


def test_what_waits_or_lies_with_the_dead_letters_is_not_lost() -> None:
    assert judge(history(ACCEPTED), truth(record=None, located="a")).lost == ()


def test_a_second_start_after_a_kill_is_counted_and_explained() -> None:
    again = run(pid=TWO, fence=2, start_ms=2_000, end_ms=2_005)
    found = judge(history(ACCEPTED, *UNTIL_KILLED, *again), truth(Commit("a", 2), record=2))
    assert (found.started_twice, found.in_flight) == (("a",), 1)
    assert not complaints(found)


def test_a_second_start_that_nothing_asks_for_has_no_reason() -> None:
    again = run(pid=TWO, fence=2, start_ms=100, end_ms=105)
    slow = run(pid=ONE, fence=1, start_ms=1, end_ms=50, reply=None)
    found = judge(history(ACCEPTED, *slow, *again), truth(Commit("a", 2), record=2))
    assert found.unexplained == ("a",)
    assert complaints(found)


def test_a_second_start_after_an_end_was_committed_has_no_reason_even_after_a_kill() -> None:
    again = run(pid=TWO, fence=2, start_ms=100, end_ms=105)
    lines = history(*GOOD, line(What.KILLED, 10, ONE), *again)
    assert judge(lines, truth(Commit("a", 1), Commit("a", 2), record=2)).unexplained == ("a",)


def test_a_second_start_after_a_hand_back_has_a_reason() -> None:
    first = run(pid=ONE, fence=1, start_ms=1, end_ms=5, reply="done release")
    again = run(pid=TWO, fence=2, start_ms=10, end_ms=15)
    store = truth(Commit("a", 1, is_final=False), Commit("a", 2), record=2)
    found = judge(history(ACCEPTED, *first, *again), store)
    assert found.started_twice == ("a",)
    assert found.unexplained == ()


@pytest.mark.parametrize(("before", "after"), [(What.FROZEN, What.THAWED), (What.GONE, What.BACK)])
def test_a_second_start_after_a_freeze_or_an_outage_has_a_reason(before: What, after: What) -> None:
    first = [line(What.LEASED, 1, ONE, 1), line(What.STARTED, 1, ONE, 1)]
    pause = [line(before, 5, ONE), line(after, 3_000, ONE)]
    again = run(pid=TWO, fence=2, start_ms=2_500, end_ms=2_600)
    found = judge(history(ACCEPTED, *first, *pause, *again), truth(Commit("a", 2), record=2))
    assert found.unexplained == ()


def test_a_freeze_of_somebody_else_is_no_reason() -> None:
    first = run(pid=ONE, fence=1, start_ms=1, end_ms=50, reply=None)
    again = run(pid=TWO, fence=2, start_ms=100, end_ms=105)
    frozen = line(What.FROZEN, 20, TWO)
    found = judge(history(ACCEPTED, *first, frozen, *again), truth(Commit("a", 2), record=2))
    assert found.unexplained == ("a",)


def test_more_second_starts_than_were_in_flight_are_a_complaint() -> None:
    again = run(pid=TWO, fence=2, start_ms=100, end_ms=105)
    lines = history(ACCEPTED, *run(pid=ONE, fence=1, start_ms=1), *again)
    found = judge(lines, truth(Commit("a", 2), record=2))
    assert any("1 started twice, 0 were in flight" in each for each in complaints(found))


def test_two_ends_of_one_id_are_committed_twice() -> None:
    found = judge(history(*GOOD), truth(Commit("a", 1), Commit("a", 1)))
    assert found.committed_twice == ("a",)
    assert complaints(found)


def test_a_hand_back_and_an_end_are_not_committed_twice() -> None:
    store = truth(Commit("a", 1, is_final=False), Commit("a", 2), record=2)
    assert judge(history(ACCEPTED), store).committed_twice == ()


def test_a_record_of_another_fence_than_the_end_is_a_complaint() -> None:
    found = judge(history(*GOOD), truth(Commit("a", 1), record=2))
    assert found.misrecorded == ("a",)
    assert complaints(found)


@pytest.mark.parametrize("reply", ["done ack", "already ack"])
def test_a_worker_that_is_told_of_a_settlement_that_the_store_does_not_know_is_betrayed(
    reply: str,
) -> None:
    lines = history(ACCEPTED, *run(pid=ONE, fence=1, start_ms=1, end_ms=5, reply=reply))
    found = judge(lines, truth(record=None, located="a"))
    assert found.betrayed == ("a",)
    assert complaints(found)


def test_a_settlement_that_was_refused_betrays_nobody() -> None:
    lines = history(ACCEPTED, *run(pid=ONE, fence=1, start_ms=1, end_ms=5, reply="stale ack"))
    assert judge(lines, truth(Commit("a", 2), record=2)).betrayed == ()


def test_two_calls_at_one_time_overlap() -> None:
    first = run(pid=ONE, fence=1, start_ms=1, end_ms=100, reply="stale ack")
    second = run(pid=TWO, fence=2, start_ms=99, end_ms=150)
    found = judge(history(ACCEPTED, *first, *second), truth(Commit("a", 2), record=2))
    assert found.overlapping == ("a",)


def test_a_killed_call_ends_with_its_process() -> None:
    again = run(pid=TWO, fence=2, start_ms=11, end_ms=15)
    found = judge(history(ACCEPTED, *UNTIL_KILLED, *again), truth(Commit("a", 2), record=2))
    assert found.overlapping == ()


@pytest.mark.parametrize("fence", [1, 2])
def test_a_fence_that_does_not_grow_is_a_complaint(fence: int) -> None:
    first = run(pid=ONE, fence=2, start_ms=1, end_ms=5)
    second = run(pid=TWO, fence=fence, start_ms=10, end_ms=15)
    found = judge(history(ACCEPTED, *first, *second), truth(Commit("a", 2), record=2))
    assert found.backwards == ("a",)
    assert complaints(found)


def test_a_delivery_that_is_started_twice_in_one_process_is_two_starts() -> None:
    lines = [*GOOD, line(What.STARTED, 6, ONE, 1), line(What.ENDED, 8, ONE, 1)]
    assert judge(history(*lines), truth(Commit("a", 1))).started_twice == ("a",)


def test_what_nobody_has_enqueued_is_a_stranger() -> None:
    found = judge(history(*GOOD[1:]), truth(Commit("a", 1)))
    assert found.strangers == ("a",)
    assert complaints(found)
    assert not complaints(found, unconfirmed=1)


def test_a_second_attempt_is_no_second_start() -> None:
    first = run(pid=ONE, fence=1, start_ms=1, end_ms=5, reply="done retrylater")
    again = [line(What.STARTED, 10, ONE, 2, attempt=2), line(What.ENDED, 11, ONE, 2)]
    store = truth(Commit("a", 1, is_final=False), Commit("a", 2), record=2)
    found = judge(history(ACCEPTED, *first, *again), store)
    assert (found.started_twice, found.unexplained) == ((), ())


@pytest.mark.parametrize(("record", "lost"), [(1, ("b",)), (None, ())])
def test_a_follow_up_must_be_there_once_its_task_has_succeeded(
    record: int | None, lost: tuple[str, ...]
) -> None:
    promised = line(What.FOLLOWS, 3, ONE, id="b", detail="a")
    found = judge(history(*GOOD, promised), truth(record=record, located="a"))
    assert found.lost == lost


# ── recovery ─────────────────────────────────────────────────────────────────


def test_recovery_lasts_from_the_kill_to_the_next_start() -> None:
    again = run(pid=TWO, fence=2, start_ms=1_510, end_ms=1_600)
    found = judge(history(ACCEPTED, *UNTIL_KILLED, *again), truth(Commit("a", 2), record=2))
    assert found.recoveries_ms == (1_500.0,)


def test_what_was_committed_before_the_kill_needs_no_recovery() -> None:
    lines = [ACCEPTED, *run(pid=ONE, fence=1, start_ms=1, end_ms=9, reply=None)]
    found = judge(history(*lines, line(What.KILLED, 10, ONE)), truth(Commit("a", 1)))
    assert (found.recoveries_ms, found.never, found.unheard) == ((), (), 1)


def test_what_a_killed_worker_held_and_nobody_took_up_is_a_complaint() -> None:
    found = judge(history(ACCEPTED, *UNTIL_KILLED), truth(record=None, located="a"))
    assert found.never == ("a",)
    assert complaints(found)


def test_no_time_is_made_up_when_the_next_worker_died_before_it_could_say_anything() -> None:
    again = run(pid=TWO, fence=3, start_ms=4_000, end_ms=4_100)
    found = judge(history(ACCEPTED, *UNTIL_KILLED, *again), truth(Commit("a", 3), record=3))
    assert (found.recoveries_ms, found.never) == ((), ())


# ── shutdown and outage ──────────────────────────────────────────────────────


@pytest.mark.parametrize(("at_ms", "late"), [(109, ()), (111, ("a",))])
def test_a_lease_long_after_the_signal_is_a_late_claim(at_ms: int, late: tuple[str, ...]) -> None:
    lines = history(line(What.SIGNALLED, 10), line(What.LEASED, at_ms, ONE, 1))
    assert late_claims(lines, 100) == late


def test_a_lease_of_another_worker_is_no_late_claim() -> None:
    lines = history(line(What.SIGNALLED, 10), line(What.LEASED, 500, TWO, 1))
    assert late_claims(lines, 100) == ()


def test_a_hand_over_is_timed_from_the_signal_and_from_the_hand_back() -> None:
    first = run(pid=ONE, fence=1, start_ms=1, end_ms=300, reply="done release")
    again = run(pid=TWO, fence=2, start_ms=310, end_ms=400)
    lines = history(ACCEPTED, *first[:2], line(What.SIGNALLED, 100), *first[2:], *again)
    [over] = hand_overs(lines, truth(Commit("a", 1, is_final=False), Commit("a", 2), record=2))
    assert (over.waited_ms, over.since_asked_ms) == (10, 210)


def test_resumption_is_timed_for_each_worker() -> None:
    lines = history(line(What.BACK, 100, PRODUCER), line(What.LEASED, 130, ONE, 1))
    assert resumptions_ms(lines, (ONE, TWO)) == [30, math.inf]
