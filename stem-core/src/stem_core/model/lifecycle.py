"""The life of a task as a table: which event leads from which state to which.

Rule of this module: every transition of Stem is one row of `TRANSITIONS`. A pair
that is not in the table changes nothing. A terminal state has one way out, the
replay of a dead letter by an operator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from stem_core.model.outcome import State

__all__ = ["TRANSITIONS", "Event", "follow"]


class Event(Enum):
    """What can happen to a task. Each is one atomic step at the store."""

    DUE = "due"  # its time has come, by the broker's clock
    LEASE = "lease"  # a worker took it; the fence grows
    SUCCEED = "succeed"  # it returned
    RETRY = "retry"  # it failed, and attempts are left
    DEAD_LETTER = "dead-letter"  # it failed for good, or must not be run: to the dead letters
    FAIL = "fail"  # it failed for good after it was acked early: nothing is left to replay
    DISCARD = "discard"  # it said that there is nothing to do any more
    EXPIRE = "expire"  # a worker was handed it too late
    PARK = "park"  # this worker cannot run it: unknown task, version or key
    POSTPONE = "postpone"  # released with a wait: snoozed, limited, too early
    HAND_BACK = "hand back"  # released at once: the worker shuts down
    LAPSE = "lapse"  # its lease ended without a settlement
    CANCEL = "cancel"  # somebody asked; a running task ends when its worker says so
    STOP = "stop"  # the worker ended it because it was cancelled
    PURGE = "purge"  # an operator emptied its queue
    REPLAY = "replay"  # an operator sent a dead letter back: same id, attempt 0


_WAITING: Final = (State.QUEUED, State.SCHEDULED, State.PARKED)


def _rows() -> Iterator[tuple[State, Event, State]]:
    yield State.SCHEDULED, Event.DUE, State.QUEUED
    yield State.PARKED, Event.DUE, State.QUEUED
    yield State.QUEUED, Event.LEASE, State.RUNNING
    yield State.RUNNING, Event.SUCCEED, State.SUCCEEDED
    yield State.RUNNING, Event.RETRY, State.SCHEDULED
    yield State.RUNNING, Event.DEAD_LETTER, State.DEAD
    yield State.RUNNING, Event.FAIL, State.FAILED
    yield State.RUNNING, Event.DISCARD, State.DISCARDED
    yield State.RUNNING, Event.EXPIRE, State.EXPIRED
    yield State.RUNNING, Event.PARK, State.PARKED
    yield State.RUNNING, Event.POSTPONE, State.SCHEDULED
    yield State.RUNNING, Event.HAND_BACK, State.QUEUED
    yield State.RUNNING, Event.LAPSE, State.QUEUED
    yield State.RUNNING, Event.CANCEL, State.RUNNING
    yield State.RUNNING, Event.STOP, State.CANCELLED
    for state in _WAITING:
        yield state, Event.CANCEL, State.CANCELLED
        yield state, Event.PURGE, State.CANCELLED
    yield State.DEAD, Event.REPLAY, State.QUEUED


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(
    {(before, event): after for before, event, after in _rows()}
)
"""Where each event leads. Complete: what is not in here does not happen."""


def follow(state: State, event: Event) -> State | None:
    """Return the state after *event*, or None when *event* cannot happen in *state*."""
    return TRANSITIONS.get((state, event))
