"""What a history and the store behind it prove, or disprove. Pure.

What workers say is checked against what the store says (`Truth`), never believed instead
of it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from attrs import frozen

from stem_core.testing.faults.history import KEPT, History, What
from stem_core.testing.faults.runs import Fault, Instant, Run, faults_of, runs_of
from stem_core.testing.faults.truth import SUCCEEDED, Truth

_MS = 1_000_000
_HARMS = (What.KILLED, What.FROZEN, What.GONE)
"""Faults after which a task may start again although nobody has handed it back."""


@frozen(kw_only=True)
class Findings:
    """What came out. Ids everywhere, but for the first and the last ones.

    Attributes:
        accepted: how many enqueues have returned, with the follow-ups of successes.
        lost: accepted, without success and nowhere to be found.
        started_twice: their function was called more than once in one attempt.
        handed_back: those of them whose worker gave the task back by itself: a snooze, say,
            and no fault.
        unexplained: called again although no fault and no hand-back asks for it, or
            although an end had been committed.
        committed_twice: more than one end was accepted.
        misrecorded: the record is not that of the end that was accepted.
        betrayed: a worker was told that its settlement is done, and the store knows none.
        overlapping: two calls of the function at one time.
        backwards: a fence did not grow from one lease to the next.
        strangers: were run, and their enqueue has never returned.
        unheard: how many settlements were accepted whose worker died before it could say so.
        never: a killed worker held it, and nobody took it up again.
        recoveries_ms: from each kill to the next start of each id that it orphaned.
        never_started: accepted, and the function was never called. No complaint by itself: a
            task may be cancelled, expire, or wait still.
        in_flight: leases that were in flight on the party that a fault has hit.
        troubles: store errors that somebody was told of.
        torn: lines that a killed process left unfinished.
    """

    accepted: int = 0
    lost: tuple[str, ...] = ()
    started_twice: tuple[str, ...] = ()
    handed_back: tuple[str, ...] = ()
    unexplained: tuple[str, ...] = ()
    committed_twice: tuple[str, ...] = ()
    misrecorded: tuple[str, ...] = ()
    betrayed: tuple[str, ...] = ()
    overlapping: tuple[str, ...] = ()
    backwards: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    unheard: int = 0
    never: tuple[str, ...] = ()
    recoveries_ms: tuple[float, ...] = ()
    never_started: tuple[str, ...] = ()
    in_flight: int = 0
    troubles: tuple[str, ...] = ()
    torn: int = 0


def judge(history: History, truth: Truth | None = None) -> Findings:
    """Return what *history* and *truth* prove together.

    Without *truth*, what the workers were told of their settlements stands for it: see
    `Truth.told`, and what that cannot know.
    """
    truth = Truth.told(history) if truth is None else truth
    runs, faults = runs_of(history), faults_of(history)
    accepted = _accepted(history, truth)
    times, never = _recoveries(runs, faults, truth)
    return Findings(
        accepted=len(accepted),
        lost=_sorted(id for id in accepted if _is_lost(id, truth)),
        started_twice=_sorted(id for id, each in runs.items() if _is_called_again(each)),
        handed_back=_handed_back(runs, faults, truth),
        unexplained=_unexplained(runs, faults, truth),
        committed_twice=_committed_twice(truth),
        misrecorded=_misrecorded(truth),
        betrayed=_betrayed(runs, truth),
        overlapping=_sorted(id for id, each in runs.items() if _overlap(_calls(each))),
        backwards=_sorted(id for id, each in runs.items() if not _grows(each)),
        strangers=_sorted(set(runs) - accepted),
        unheard=_unheard(runs, truth),
        never=never,
        never_started=_sorted(id for id in accepted if not _calls(runs.get(id, ()))),
        recoveries_ms=times,
        in_flight=_in_flight(runs, faults),
        troubles=tuple(event.detail for event in history.only(What.TROUBLE)),
        torn=history.torn,
    )


def _sorted(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(ids)))


def _accepted(history: History, truth: Truth) -> set[str]:
    """Return what must be there; a follow-up comes into being with the success of its task."""
    successes = {id for id, (state, _) in truth.records.items() if state == SUCCEEDED}
    followed = {event.id for event in history.only(What.FOLLOWS) if event.detail in successes}
    return followed | {event.id for event in history.only(What.ACCEPTED)}


def _is_called_again(runs: Sequence[Run]) -> bool:
    attempts = [run.attempt for run in _calls(runs)]
    return len(set(attempts)) < len(attempts)


def _calls(runs: Sequence[Run]) -> list[Run]:
    return sorted((run for run in runs if run.has_started), key=lambda run: run.started_ns)


def complaints(found: Findings, *, unconfirmed: int = 0) -> list[str]:
    """Say what no fault may ever do.

    *unconfirmed* enqueues may have been made whose producer was killed before they returned.
    """
    never = {
        "lost": found.lost,
        "committed twice": found.committed_twice,
        "recorded otherwise than committed": found.misrecorded,
        "said to be settled, and were not": found.betrayed,
        "started again without a reason": found.unexplained,
        "leased under a fence that did not grow": found.backwards,
        "never taken up again": found.never,
    }
    told = [f"{len(ids)} {what}: {', '.join(ids[:3])}" for what, ids in never.items() if ids]
    if len(found.strangers) > unconfirmed:
        told.append(f"{len(found.strangers)} ran that nobody has enqueued")
    if len(found.started_twice) - len(found.handed_back) > found.in_flight:
        told.append(f"{len(found.started_twice)} started twice, {found.in_flight} were in flight")
    return told


def too_late(times_ms: Sequence[float], bound_ms: float, what: str) -> list[str]:
    """Say how many of *times_ms* are above the bound, if any."""
    late = [time for time in times_ms if time > bound_ms]
    if not late:
        return []
    return [f"{what}: {len(late)} of {len(times_ms)} above {bound_ms:g} ms, {max(late):.0f} ms"]


# ── what the store says ──────────────────────────────────────────────────────


def _is_lost(id: str, truth: Truth) -> bool:
    state, _ = truth.records.get(id, ("", 0))
    return state != SUCCEEDED and id not in truth.located


def _committed_twice(truth: Truth) -> tuple[str, ...]:
    ends = Counter(commit.id for commit in truth.commits if commit.is_final)
    return _sorted(id for id, count in ends.items() if count > 1)


def _misrecorded(truth: Truth) -> tuple[str, ...]:
    last = {commit.id: commit.fence for commit in truth.commits if commit.is_final}
    return _sorted(id for id, fence in last.items() if truth.records.get(id, ("", 0))[1] != fence)


def _betrayed(runs: Mapping[str, Sequence[Run]], truth: Truth) -> tuple[str, ...]:
    kept = {(commit.id, commit.fence) for commit in truth.commits}
    told = (run for each in runs.values() for run in each if run.reply.partition(" ")[0] in KEPT)
    return _sorted(run.id for run in told if (run.id, run.fence) not in kept)


def _unheard(runs: Mapping[str, Sequence[Run]], truth: Truth) -> int:
    told = {(run.id, run.fence) for each in runs.values() for run in each if run.reply}
    return len({(commit.id, commit.fence) for commit in truth.commits} - told)


# ── starts ───────────────────────────────────────────────────────────────────


def _unexplained(
    runs: Mapping[str, Sequence[Run]], faults: Sequence[Fault], truth: Truth
) -> tuple[str, ...]:
    ended = {(commit.id, commit.fence) for commit in truth.commits if commit.is_final}
    back = {(commit.id, commit.fence) for commit in truth.commits if not commit.is_final}
    harms = [fault for fault in faults if fault.what in _HARMS]
    return _sorted(
        run.id
        for each in runs.values()
        for run, after in _pairs(_calls(each))
        if (run.id, run.fence) in ended
        or ((run.id, run.fence) not in back and not _is_harmed(run, after, harms))
    )


def _handed_back(
    runs: Mapping[str, Sequence[Run]], faults: Sequence[Fault], truth: Truth
) -> tuple[str, ...]:
    back = {(commit.id, commit.fence) for commit in truth.commits if not commit.is_final}
    return _sorted(
        run.id
        for each in runs.values()
        for run, after in _pairs(_calls(each))
        if run.attempt == after.attempt
        and (run.id, run.fence) in back
        and not any(fault.meets(run) for fault in faults)
    )


def _in_flight(runs: Mapping[str, Sequence[Run]], faults: Sequence[Fault]) -> int:
    every = (run for each in runs.values() for run in each)
    return sum(any(fault.meets(run) for fault in faults) for run in every)


def _is_harmed(run: Run, after: Run, harms: Sequence[Fault]) -> bool:
    return any(harm.meets(run) and harm.begins_ns <= after.started_ns for harm in harms)


def _pairs(runs: Sequence[Run]) -> Iterator[tuple[Run, Run]]:
    return pairwise(runs)


def _overlap(calls: Sequence[Run]) -> bool:
    return any(after.started_ns < run.ended_ns for run, after in _pairs(calls))


def _grows(runs: Sequence[Run]) -> bool:
    return all(run.fence < after.fence for run, after in _pairs(runs))


# ── recovery ─────────────────────────────────────────────────────────────────


def _recoveries(
    runs: Mapping[str, Sequence[Run]], faults: Sequence[Fault], truth: Truth
) -> tuple[tuple[float, ...], tuple[str, ...]]:
    settled = {(commit.id, commit.fence) for commit in truth.commits}
    latest: dict[str, int] = defaultdict(int)
    for commit in truth.commits:
        latest[commit.id] = max(latest[commit.id], commit.fence)
    times, never = [], []
    for kill in (fault for fault in faults if fault.what is What.KILLED):
        for run in _orphans(runs, kill, settled):
            after = _taken_up(runs[run.id], run)
            if after is not None and after > kill.begins_ns:
                times.append((after - kill.begins_ns) / _MS)
            elif after is None and not _is_known_later(runs[run.id], run, latest):
                never.append(run.id)
    return tuple(sorted(times)), _sorted(never)


def _orphans(
    runs: Mapping[str, Sequence[Run]], kill: Fault, settled: set[tuple[str, int]]
) -> Iterator[Run]:
    for each in runs.values():
        for run in each:
            if kill.meets(run) and (run.id, run.fence) not in settled:
                yield run


def _taken_up(runs: Sequence[Run], orphan: Run) -> Instant | None:
    """Return when the very next lease began to run, or was there if its worker died first."""
    for run in runs:
        if run.fence == orphan.fence + 1:
            return run.started_ns if run.has_started else run.leased_ns
    return None


def _is_known_later(runs: Sequence[Run], orphan: Run, latest: Mapping[str, int]) -> bool:
    """Say whether somebody took it up who died before saying so: no time can be told."""
    return latest[orphan.id] > orphan.fence or any(run.fence > orphan.fence for run in runs)


# ── what a shutdown and an outage are asked about ────────────────────────────


def late_claims(
    history: History, within_ms: float, after: What = What.SIGNALLED
) -> tuple[str, ...]:
    """Return ids that a process leased later than *within_ms* after it was asked to end.

    Or *after* it said something itself, where the machine may be late to tell it.
    """
    asked: dict[int, Instant] = {}
    for event in history.only(after):
        asked.setdefault(event.pid, event.at_ns)
    return tuple(
        event.id
        for event in history.only(What.LEASED)
        if event.at_ns > asked.get(event.pid, math.inf) + within_ms * _MS
    )


@frozen
class HandOver:
    """A lease that a process handed back when it was asked to end.

    Attributes:
        run, after: the lease, and the next one.
        waited_ms: from the hand-back to the next start.
        since_asked_ms: from the signal to the next start.
    """

    run: Run
    after: Run
    waited_ms: float
    since_asked_ms: float


def hand_overs(history: History, truth: Truth) -> list[HandOver]:
    """Return what was handed back by processes that were asked to end, and taken up again."""
    back = {(commit.id, commit.fence) for commit in truth.commits if not commit.is_final}
    signals = [fault for fault in faults_of(history) if fault.what is What.SIGNALLED]
    asked = {fault.pid: fault for fault in reversed(signals)}
    return [
        HandOver(
            run,
            after,
            (after.started_ns - run.told_ns) / _MS,
            (after.started_ns - asked[run.pid].begins_ns) / _MS,
        )
        for each in runs_of(history).values()
        for run, after in _pairs(each)
        if (run.id, run.fence) in back and run.pid in asked and asked[run.pid].meets(run)
    ]


def resumptions_ms(history: History, workers: Collection[int]) -> list[float]:
    """Return how long after each outage each of *workers* took a message; infinite for never."""
    took = defaultdict(list)
    for event in history.only(What.LEASED):
        took[event.pid].append(event.at_ns)
    return [
        (next((at_ns for at_ns in took[pid] if at_ns > back.at_ns), math.inf) - back.at_ns) / _MS
        for back in history.only(What.BACK)
        for pid in workers
    ]
