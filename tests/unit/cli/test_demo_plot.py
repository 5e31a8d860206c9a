"""What the demo decides: whom it kills, and what that one left behind."""

from __future__ import annotations

import pytest

from stem_core.cli.demo_journal import Start
from stem_core.cli.demo_plot import (
    Casualty,
    Lease,
    is_another,
    leases_in,
    long_ones,
    taken_over,
    victim_of,
    was_left,
)
from stem_core.contracts.messages import Located, Message, Place
from stem_core.model.outcome import Record, State

MESSAGE = Message(id="a", queue="demo", task="demo.measure", body=b"{}")
LONG_AGO, NOW = 0, 10_000


def located(place: Place, attempt: int = 1, fence: int = 1, worker: str = "") -> Located:
    return Located(place=place, message=MESSAGE, attempt=attempt, fence=fence, worker=worker)


def record(fence: int = 1, attempt: int = 1, state: State = State.SUCCEEDED) -> Record:
    return Record(id="a", state=state, fence=fence, attempt=attempt)


@pytest.mark.parametrize(
    ("number", "slots", "places"),
    [
        (1, 8, [0]),
        (2, 8, [1]),
        (4, 8, [2, 3]),
        (10, 2, [5, 6]),
        (100, 8, list(range(50, 58))),
    ],
)
def test_the_long_tasks_are_in_the_middle_one_for_each_slot(
    number: int, slots: int, places: list[int]
) -> None:
    assert list(long_ones(number, slots)) == places


def test_only_what_is_leased_is_held() -> None:
    where = {
        "a": located(Place.LEASED, fence=3, worker="one"),
        "b": located(Place.READY, worker="one"),
        "c": located(Place.DELAYED),
    }
    assert leases_in(where) == {Lease("a", 3, "one")}


def test_the_victim_is_who_holds_most() -> None:
    held = {Lease("a", 1, "one"): LONG_AGO}
    held |= {Lease(id, 1, "two"): LONG_AGO for id in ("b", "c")}
    assert victim_of(held, NOW) == "two"


def test_nobody_is_a_victim_for_what_is_held_since_a_moment_only() -> None:
    assert victim_of({Lease("a", 1, "one"): NOW - 10}, NOW) is None
    assert victim_of({}, NOW) is None


START = Start("a", 2, 5, pid=7, at_ms=0)


@pytest.mark.parametrize(
    ("end", "place", "left"),
    [
        (record(fence=5, attempt=2), None, False),  # it ended there
        (record(fence=6, attempt=2), None, True),  # another one has run it to its end already
        (record(fence=6, attempt=3), None, False),  # it failed there, and the next one ended
        (None, located(Place.LEASED, attempt=2, fence=5), True),
        (None, located(Place.LEASED, attempt=2, fence=6), True),  # and is run elsewhere already
        (None, located(Place.READY, attempt=1, fence=5), True),  # its lease has ended already
        (None, located(Place.DELAYED, attempt=2, fence=5), False),  # it failed there
        (None, located(Place.LEASED, attempt=3, fence=6), False),
        (record(state=State.RUNNING), located(Place.LEASED, attempt=2, fence=5), True),
        (None, None, True),  # lost with its worker
    ],
)
def test_what_a_dead_worker_left_is_what_it_started_and_did_not_settle(
    end: Record | None, place: Located | None, left: bool
) -> None:
    assert was_left(START, end, place) is left


def test_taken_over_is_the_first_start_elsewhere_after_the_kill() -> None:
    casualty = Casualty(name="one", pid=7, at_ms=100, held=frozenset({"a", "b"}))
    before = Start("a", 1, 1, pid=8, at_ms=50)  # an earlier attempt
    held = Start("a", 2, 2, pid=7, at_ms=90)
    other = Start("c", 1, 1, pid=8, at_ms=110)
    anew = Start("a", 2, 3, pid=8, at_ms=120)
    retry = Start("a", 3, 4, pid=9, at_ms=130)
    assert taken_over(casualty, [before, held, other, anew, retry]) == {"a": anew}


@pytest.mark.parametrize(
    ("last", "first", "twice"),
    [
        (record(fence=1), record(fence=1), False),
        (record(fence=2), record(fence=1), True),
        (record(fence=1), None, False),  # nobody looked while it ran
        (None, record(fence=1), False),  # that is lost
    ],
)
def test_a_record_that_took_the_place_of_another_was_committed_twice(
    last: Record | None, first: Record | None, twice: bool
) -> None:
    assert is_another(last, first) is twice
