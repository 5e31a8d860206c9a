"""The checker finds each kind of broken promise, in histories by hand and in any other one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from stem_core.testing.faults.checker import (
    complaints,
    hand_overs,
    judge,
    late_claims,
    resumptions_ms,
)
from stem_core.testing.faults.history import Event, History, What
from stem_core.testing.faults.truth import Commit, Truth

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


def test_a_lease_before_a_worker_has_heard_of_it_may_be_no_late_claim() -> None:
    signal, drains = line(What.SIGNALLED, 10), line(What.DRAINS, 300)
    lines = history(signal, line(What.LEASED, 200, ONE, 1), drains)
    assert late_claims(lines, 100) == ("a",)
    assert late_claims(lines, 100, What.DRAINS) == ()
    assert late_claims(history(*lines.events, line(What.LEASED, 401)), 100, What.DRAINS) == ("a",)


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


# ── any history ──────────────────────────────────────────────────────────────


def test_what_was_accepted_and_never_called_is_named_and_is_no_complaint() -> None:
    found = judge(history(ACCEPTED), truth(record=None, located="a"))
    assert found.never_started == ("a",)
    assert not complaints(found)
    assert judge(history(*GOOD), truth(Commit("a", 1))).never_started == ()


@frozen
class Story:
    """What a sound platform did with some tasks: its lines, and what its store says."""

    lines: tuple[Event, ...]
    truth: Truth


ENDS_OF_A_RUN = ("ack", "deadletter", "release", "retrylater", "killed")


@st.composite
def stories(draw: st.DrawFn, ends: Sequence[str] = ENDS_OF_A_RUN) -> Story:
    """Tasks that run again after retries, hand-backs and kills, and then end, all mixed up."""
    lines: list[Event] = []
    commits: list[Commit] = []
    records: dict[str, tuple[str, int]] = {}
    located: set[str] = set()
    pids = itertools.count(100)
    for id in "abcd"[: draw(st.integers(1, 4))]:
        at_ms, attempt = draw(st.integers(0, 50)), 1
        lines.append(line(What.ACCEPTED, at_ms, PRODUCER, id=id))
        again = draw(st.lists(st.sampled_from([each for each in ends if each not in FINAL])))
        last = draw(st.sampled_from([each for each in ends if each in FINAL]))
        for fence, end in enumerate([*again, last], 1):
            pid = next(pids)
            about: dict[str, Any] = {"id": id, "attempt": attempt}
            at_ms += draw(st.integers(1, 50))
            lines += [
                line(what, at_ms, pid, fence, **about) for what in (What.LEASED, What.STARTED)
            ]
            at_ms += draw(st.integers(1, 50))
            if end == "killed":
                lines.append(line(What.KILLED, at_ms, pid))
                continue
            lines.append(line(What.ENDED, at_ms, pid, fence, **about))
            lines.append(line(What.SETTLED, at_ms, pid, fence, f"done {end}", id=id))
            commits.append(Commit(id, fence, end in FINAL))
            attempt += end == "retrylater"
        located |= {id} if last == "deadletter" else set()
        records[id] = ("succeeded" if last == "ack" else "dead", fence)
    in_time = tuple(sorted(lines, key=lambda event: event.at_ns))
    return Story(in_time, Truth(commits=commits, records=records, located=frozenset(located)))


FINAL = ("ack", "deadletter")


def mine(story: Story, id: str) -> list[Commit]:
    return [commit for commit in story.truth.commits if commit.id == id]


@given(stories())
def test_a_sound_history_is_no_cause_for_complaint(story: Story) -> None:
    found = judge(History(story.lines), story.truth)
    assert not complaints(found)
    assert (found.overlapping, found.never_started) == ((), ())


@given(stories())
def test_each_task_of_a_killed_worker_has_a_time_of_recovery(story: Story) -> None:
    found = judge(History(story.lines), story.truth)
    assert len(found.recoveries_ms) == sum(event.what is What.KILLED for event in story.lines)
    assert all(0 < time <= 50 for time in found.recoveries_ms)


@given(stories([end for end in ENDS_OF_A_RUN if end != "killed"]))
def test_where_nobody_was_killed_what_workers_were_told_is_the_truth(story: Story) -> None:
    assert judge(History(story.lines)) == judge(History(story.lines), story.truth)


@given(stories())
def test_a_task_that_the_store_forgets_is_lost(story: Story) -> None:
    forgotten = Truth(commits=[each for each in story.truth.commits if each.id != "a"])
    forgotten = evolve(
        forgotten,
        records={id: kept for id, kept in story.truth.records.items() if id != "a"},
        located=story.truth.located - {"a"},
    )
    assert judge(History(story.lines), forgotten).lost == ("a",)


@given(stories())
def test_a_second_end_is_a_double_commit(story: Story) -> None:
    last = mine(story, "a")[-1]
    doubled = evolve(story.truth, commits=[*story.truth.commits, last])
    assert judge(History(story.lines), doubled).committed_twice == ("a",)


@given(stories())
def test_a_start_after_the_end_has_no_reason(story: Story) -> None:
    fence = mine(story, "a")[-1].fence + 1
    late = [line(what, 100_000, ONE, fence) for what in (What.LEASED, What.STARTED)]
    assert judge(History((*story.lines, *late)), story.truth).unexplained == ("a",)


@given(stories())
def test_a_task_whose_starts_are_not_there_has_never_started(story: Story) -> None:
    lines = tuple(each for each in story.lines if (each.what, each.id) != (What.STARTED, "a"))
    assert judge(History(lines), story.truth).never_started == ("a",)
