from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from stem_core.model.lifecycle import TRANSITIONS, Event, follow
from stem_core.model.outcome import State

LEASE_HOLDER = (
    Event.SUCCEED,
    Event.RETRY,
    Event.DEAD_LETTER,
    Event.FAIL,
    Event.DISCARD,
    Event.EXPIRE,
    Event.PARK,
    Event.POSTPONE,
    Event.HAND_BACK,
    Event.LAPSE,
    Event.STOP,
)


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_a_terminal_state_changes_by_the_replay_of_a_dead_letter_only(
    state: State, event: Event
) -> None:
    if state.is_terminal:
        replayed = state is State.DEAD and event is Event.REPLAY
        assert follow(state, event) is (State.QUEUED if replayed else None)


@pytest.mark.parametrize(("state", "event"), list(product(State, LEASE_HOLDER)))
def test_only_a_running_task_can_be_settled(state: State, event: Event) -> None:
    assert (follow(state, event) is not None) is (state is State.RUNNING)


@pytest.mark.parametrize("state", State)
def test_a_task_is_leased_from_the_queue_only(state: State) -> None:
    assert (follow(state, Event.LEASE) is not None) is (state is State.QUEUED)


@pytest.mark.parametrize("state", State)
def test_waiting_work_can_be_cancelled_and_purged_at_once(state: State) -> None:
    waiting = not state.is_terminal and state is not State.RUNNING
    for event in (Event.CANCEL, Event.PURGE):
        assert (follow(state, event) is State.CANCELLED) is waiting


def test_a_running_task_runs_on_until_its_worker_stops_it() -> None:
    assert follow(State.RUNNING, Event.CANCEL) is State.RUNNING
    assert follow(State.RUNNING, Event.STOP) is State.CANCELLED


def reachable(start: State) -> set[State]:
    found, open_ends = {start}, [start]
    while open_ends:
        here = open_ends.pop()
        for event in Event:
            after = follow(here, event)
            if after is not None and after not in found:
                found.add(after)
                open_ends.append(after)
    return found


def test_every_state_can_be_reached_and_every_live_one_can_end() -> None:
    assert reachable(State.SCHEDULED) == set(State)
    for state in State:
        assert any(end.is_terminal for end in reachable(state))


def test_every_event_does_something() -> None:
    assert {event for _, event in TRANSITIONS} == set(Event)


def test_the_table_cannot_be_changed() -> None:
    table: Any = TRANSITIONS
    with pytest.raises(TypeError):
        table[State.DEAD, Event.DUE] = State.QUEUED
