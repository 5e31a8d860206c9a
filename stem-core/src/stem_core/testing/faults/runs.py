"""What a history says of single leases and faults, put together from its lines.

Rule of this module: it arranges; what is right and wrong is `checker`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from stem_core.testing.faults.history import Event, History, What

Instant = float
"""Nanoseconds of the monotonic clock; infinite for what has not happened."""


@frozen(kw_only=True)
class Run:
    """One lease of one id in one worker, and the call of its function that came of it.

    Attributes:
        pid: of the worker that holds the lease.
        child: of the process that the function was called in, where that is another one.
        leased_ns: when it was first seen.
        started_ns: when its function was called.
        ended_ns: when that returned, or its process died.
        told_ns: when the store had answered its settlement, or its lease was lost.
        reply: what the store had answered; "dropped" for a lost lease.
    """

    id: str
    fence: int
    pid: int
    child: int = 0
    attempt: int = 0
    leased_ns: Instant
    started_ns: Instant = math.inf
    ended_ns: Instant = math.inf
    told_ns: Instant = math.inf
    reply: str = ""

    @property
    def has_started(self) -> bool:
        """True once its function was called."""
        return self.started_ns < math.inf


@frozen(kw_only=True)
class Fault:
    """Something that was done to a process, or with *pid* None to everybody's store."""

    what: What
    pid: int | None
    begins_ns: Instant
    ends_ns: Instant = math.inf

    def meets(self, run: Run) -> bool:
        """Say whether *run* was in flight when this happened, as far as its worker knew."""
        concerned = self.pid is None or self.pid in (run.pid, run.child)
        return concerned and run.leased_ns <= self.ends_ns and run.told_ns >= self.begins_ns


_ENDS = {What.FROZEN: What.THAWED, What.GONE: What.BACK}


def faults_of(history: History) -> list[Fault]:
    """Return what was done to the processes and the store, in order."""
    return list(_faults(history.events))


def _faults(events: Sequence[Event]) -> Iterator[Fault]:
    for place, event in enumerate(events):
        pid = None if event.what is What.GONE else event.pid
        if event.what in _ENDS:
            ends_ns = _first(events[place:], _ENDS[event.what], pid)
            yield Fault(what=event.what, pid=pid, begins_ns=event.at_ns, ends_ns=ends_ns)
        elif event.what in (What.KILLED, What.SIGNALLED):
            yield Fault(what=event.what, pid=pid, begins_ns=event.at_ns)


def _first(events: Sequence[Event], what: What, pid: int | None) -> Instant:
    found = (event.at_ns for event in events if event.what is what and pid in (None, event.pid))
    return next(found, math.inf)


def runs_of(history: History) -> Mapping[str, Sequence[Run]]:
    """Return the runs of each id, in the order of their leases."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for event in history.only(*_TELLS):
        known = runs[event.id]
        place = _place(known, event)
        if place is None and event.what is What.DROPPED:
            continue  # told of what has ended otherwise
        if place is None:
            known.append(_told(_begun(event), event))
        else:
            known[place] = _told(known[place], event)
    dead = _deaths(history)
    return {
        id: sorted((_until(run, dead) for run in found), key=_order) for id, found in runs.items()
    }


def _begun(event: Event) -> Run:
    return Run(id=event.id, fence=event.fence, pid=event.pid, leased_ns=event.at_ns)


def _place(known: Sequence[Run], event: Event) -> int | None:
    """Return which of *known* this is about; a second lease or start is a run of its own."""
    mine = [place for place, run in enumerate(known) if event.pid in (run.pid, run.child)]
    if event.what is What.DROPPED:  # nobody says of which fence: the oldest that is open
        mine = [place for place in mine if not known[place].reply][:1]
    else:
        mine = [place for place in mine if known[place].fence == event.fence]
    if event.what is What.STARTED:
        mine = mine or _lent(known, event.fence)
        mine = [place for place in mine[-1:] if not known[place].has_started]
    if not mine or event.what is What.LEASED:
        return None
    return mine[-1]


def _lent(known: Sequence[Run], fence: int) -> list[int]:
    """Return which leases a worker may have given to a child: who has the fence, has the lease."""
    return [place for place, run in enumerate(known) if run.fence == fence]


_TELLS = {
    What.LEASED: "leased_ns",
    What.STARTED: "started_ns",
    What.ENDED: "ended_ns",
    What.SETTLED: "told_ns",
    What.DROPPED: "told_ns",
}


def _told(run: Run, event: Event) -> Run:
    facts: dict[str, Any] = {_TELLS[event.what]: event.at_ns}
    if event.attempt:
        facts["attempt"] = event.attempt
    if event.what is What.STARTED and event.pid != run.pid:
        facts["child"] = event.pid
    if event.what in (What.SETTLED, What.DROPPED):
        facts["reply"] = event.detail or event.what.value
    return evolve(run, **facts)


def _deaths(history: History) -> Mapping[int, Instant]:
    """Return when each killed process was gone: not before the last line that it wrote."""
    killed = {event.pid for event in history.only(What.KILLED)}
    return {event.pid: event.at_ns for event in history.events if event.pid in killed}


def _until(run: Run, dead: Mapping[int, Instant]) -> Run:
    """A run has ended with the process that its function was called in, if not before."""
    gone_ns = dead.get(run.child or run.pid, math.inf)
    return evolve(run, ended_ns=min(run.ended_ns, gone_ns))


def _order(run: Run) -> tuple[Instant, int]:
    return run.leased_ns, run.fence
