"""Tasks that do not end: what limits them ends them in time, with all that they have started."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from chaos.arena import Arena
from chaos.brokers import EVERY, PROCESSES, in_turn
from chaos.danger import (
    APP,
    MS,
    Deathwatch,
    Neighbours,
    differing,
    family_of,
    rounds_of,
    settings_of,
    starts_of,
    verdict,
)
from chaos.report import Row

from stem_core.contracts.messages import Located
from stem_core.testing.faults.checker import Findings, too_late
from stem_core.testing.faults.history import Event, What
from stem_core.worker.parts import LAST_SETTLE_MS

LIMIT_S = 1.0
SOFT_S = 0.5
KILLED_MS = 1_000
"""How soon after its limit a task is dead, whatever it does."""

SOFTLY = {"hard_time_limit": LIMIT_S, "soft_time_limit": SOFT_S}
HARDLY = {"hard_time_limit": LIMIT_S}
NOT_AT_ALL: dict[str, float] = {}

Way = tuple[str, str, Mapping[str, float]]
"""A task, what it does, and its limits."""

DEAF = (
    ("chaos.peril", "turns_a_deaf_ear", SOFTLY),
    ("chaos.loop_peril", "ignores", SOFTLY),
)
STUCK = (
    ("chaos.peril", "cleans_up_for_ever", SOFTLY),
    ("chaos.peril", "holds_the_interpreter", HARDLY),
    ("chaos.peril", "holds_a_lock", HARDLY),
)
ENDLESS = (("chaos.peril", "sleeps", NOT_AT_ALL), ("chaos.loop_peril", "waits", NOT_AT_ALL))
PARENTS = (("chaos.peril", "has_a_family", HARDLY),) * 2


class Limited:
    """Tasks in processes of their own, which run into a limit on every one of their attempts.

    Attributes:
        perils: the ids of the tasks.
        starts: of each of them.
        late_ms: how long after its limit each attempt was at its end, or its process was.
        family_ms: how long after its process what a task had started was gone.
        letters, codes: the dead letters, and how the worker has ended.
    """

    def __init__(self, arena: Arena, scale, ways: Sequence[Way], **settings: str) -> None:
        self._arena = arena
        self._scale = scale
        self._ways = ways
        self._settings = settings
        self.perils: list[str] = []
        self.starts: dict[str, list[Event]] = {}
        self.late_ms: tuple[float, ...] = ()
        self.family_ms: tuple[float, ...] = ()
        self.letters: Mapping[str, Located] = {}
        self.codes: list[int] = []

    def play(self, lock_is_wanted: bool = False, **options) -> None:
        """Enqueue them under *options*, round by round, with neighbours."""
        arena, ways = self._arena, itertools.cycle(self._ways)
        worker = arena.ready_worker(**settings_of(len(self._ways) + 1, **self._settings))
        neighbours = Neighbours(arena)
        with Deathwatch(arena) as watch:
            for size in rounds_of(self._scale, len(self._ways)):
                ids = [self._enqueue(*next(ways), options) for _ in range(size)]
                if lock_is_wanted:
                    arena.wait_until(lambda: (arena.folder / "lock").exists(), "lock")
                    arena.enqueue([{"wants_the_lock": True}], "chaos.short", isolation="process")
                self.perils += ids
                neighbours.round(ids)
            arena.wait_for(self._have_ended, "end of each run")
            watch.wait_for(family_of(arena))
        self._measure(arena.history().events, watch.gone_ns, family_of(arena))
        self.letters = arena.letters()
        self.codes = arena.drain([worker])

    def _enqueue(
        self, task: str, how: str, limits: Mapping[str, float], options: Mapping[str, Any]
    ) -> str:
        asked: dict[str, Any] = {"isolation": "process", **limits, **options}
        [id] = self._arena.enqueue([{"how": how}], task, **asked)
        return id

    def _have_ended(self, events: Sequence[Event]) -> bool:
        ends = ends_of(events)
        starts = [each for id in self.perils for each in starts_of(events, id)]
        return all((each.id, each.fence) in ends for each in starts)

    def _measure(
        self, events: Sequence[Event], gone_ns: Mapping[int, int], family: Sequence[int]
    ) -> None:
        limit_ns, ends = LIMIT_S * 1000 * MS, ends_of(events)
        self.starts = {id: starts_of(events, id) for id in self.perils}
        starts = [each for found in self.starts.values() for each in found]
        self.late_ms = tuple((ends[e.id, e.fence] - e.at_ns - limit_ns) / MS for e in starts)
        # A shell and what it has started, for each of them, in the order of the starts.
        gone = sorted(gone_ns[pid] for pid in family)
        killed = sorted(ends[each.id, each.fence] for each in starts for _ in range(2))
        self.family_ms = tuple((a - b) / MS for a, b in zip(gone, killed, strict=False))

    def row(self, found: Findings, told: Sequence[str], **facts) -> Row:
        """Return the row, whose verdict is that of all rows and *told*."""
        late_ms = facts.pop("times_ms", self.late_ms)
        reason = facts.pop("reason", "timed-out")
        reasons = {id: letter.reason for id, letter in self.letters.items()}
        complained = verdict(found, self.perils, self.codes) + list(told)
        complained += differing(reasons, dict.fromkeys(self.perils, reason), "reason")
        complained += too_late(late_ms, KILLED_MS * self._scale.slack, "kill")
        return Row(
            broker=self._arena.broker,
            trials=len(self.late_ms),
            found=found,
            times_ms=late_ms,
            complaints=tuple(complained),
            **facts,
        )


def ends_of(events: Sequence[Event]) -> dict[tuple[str, int], int]:
    """Return when each run has ended."""
    return {(e.id, e.fence): e.at_ns for e in events if e.what is What.ENDED}


def started_so_often(limited: Limited, count: int) -> list[str]:
    starts = {id: len(each) for id, each in limited.starts.items()}
    return differing(starts, dict.fromkeys(limited.perils, count), "starts")


@in_turn("H6", EVERY)
def test_a_task_that_ignores_its_end_is_dead_soon_after_its_hard_limit(
    arena_of, scale, prove, id, kind
):
    with arena_of(id, kind) as arena:
        limited = Limited(arena, scale, DEAF)
        limited.play(max_retries=0)
        found = arena.judge()
    prove(
        limited.row(
            found,
            started_so_often(limited, 1),
            id=id,
            fault="a task, plain or a coroutine, swallows its soft limit and its cancellation",
            timed="hard limit to the end of its process",
            bound=f"≤ {KILLED_MS:,} ms; timed-out; neighbours started twice 0",
        )
    )


@in_turn("H7", EVERY)
def test_a_hard_limit_ends_what_is_in_a_finally_in_c_or_holds_a_lock(
    arena_of, scale, prove, id, kind
):
    with arena_of(id, kind) as arena:
        limited = Limited(arena, scale, STUCK)
        limited.play(lock_is_wanted=True, max_retries=1)
        found = arena.judge()
    prove(
        limited.row(
            found,
            started_so_often(limited, 2),
            id=id,
            fault="a task does not end: in a `finally`, in one call of C code, with a lock that "
            "others want",
            timed="hard limit to the end of its process",
            bound=f"≤ {KILLED_MS:,} ms; 2 attempts as its policy says, then timed-out; the lock is "
            "free; neighbours started twice 0",
        )
    )


@in_turn("H8", EVERY)
def test_a_task_that_hangs_without_a_limit_loses_its_process_and_is_poison_in_the_end(
    arena_of, scale, prove, monkeypatch, id, kind
):
    monkeypatch.setenv("STEM_MAX_LAPSES", "1")
    settings = {"worker_max_run": f"{LIMIT_S:g}s", "worker_grace": "0s", "max_lapses": "1"}
    with arena_of(id, kind) as arena:
        limited = Limited(arena, scale, ENDLESS, **settings)
        limited.play(max_retries=0)
        found = arena.judge()
    late_ms = tuple(each - LAST_SETTLE_MS for each in limited.late_ms)
    prove(
        limited.row(
            found,
            started_so_often(limited, 1),
            id=id,
            reason="poison",
            fault="a task without a limit hangs for ever; STEM_WORKER_MAX_RUN is 1 s, and the "
            f"grace after it {LAST_SETTLE_MS / 1000:g} s, the shortest",
            times_ms=late_ms,
            timed="the end of that grace to the end of its process",
            bound=f"≤ {KILLED_MS:,} ms; poison when its lease has lapsed; neighbours started "
            "twice 0",
        )
    )


@in_turn("H9", EVERY)
def test_what_a_task_has_started_ends_with_it(arena_of, scale, prove, id, kind):
    with arena_of(id, kind) as arena:
        limited = Limited(arena, scale, PARENTS)
        limited.play(max_retries=0)
        found = arena.judge()
    told = started_so_often(limited, 1)
    told += [] if len(limited.family_ms) == 2 * len(limited.perils) else ["there was no family"]
    prove(
        limited.row(
            found,
            told,
            id=id,
            fault="a task that has a program, which has another one, and a thread, is killed",
            times_ms=limited.family_ms,
            timed="its end to the end of each program",
            bound=f"≤ {KILLED_MS:,} ms; timed-out; neighbours started twice 0",
        )
    )


# ── a loop that does not turn ────────────────────────────────────────────────

SHORT_LEASE_S, LEASES = 1.0, 10
LONG_LEASE_S, FEW_LEASES = 5.0, 3
"""Where others are on the machine, who may hold up a renewal."""


@in_turn("H4", PROCESSES)
def test_a_task_that_blocks_the_loop_for_many_leases_starts_nothing_twice(
    arena_of, scale, prove, id, kind
):
    blocked = 4 if scale.is_long else 1
    perils: list[str] = []
    lease_s, leases = (SHORT_LEASE_S, LEASES) if scale.is_long else (LONG_LEASE_S, FEW_LEASES)
    lease = {"visibility_timeout": lease_s}
    with arena_of(id, kind) as arena:
        # One is never blocked: it would take whatever lapses.
        workers = arena.ready_workers(blocked + 1, app=APP, concurrency=40)
        for number, size in enumerate(rounds_of(scale, blocked)):
            gate = arena.folder / f"gate-{number}"
            arena.enqueue([{"until": gate.name}] * 6 * (blocked + 1), **lease)
            arena.wait_until(lambda: arena.accepted() <= ids_started(arena), "start of all")
            ids = [block_one(arena, lease, leases) for _ in range(size)]
            wait_for_the_end_of(arena, ids)
            perils += ids
            gate.touch()
            arena.wait_for_ends()
        codes = arena.drain(workers)
        found, events = arena.judge(), arena.history().events
    told = verdict(found, (), codes)
    told += [f"{len(found.started_twice)} started twice"] if found.started_twice else []
    spans = tuple(span_ms(events, each) for each in perils)
    asked_ms = leases * lease_s * 1000
    told += [f"blocked for {min(spans):.0f} ms only"] if min(spans) < asked_ms else []
    prove(
        Row(
            id=id,
            fault=f"a coroutine blocks the loop of its worker for {leases} leases, with others in "
            "the same loop, and another worker would take what lapses",
            broker=arena.broker,
            trials=len(perils),
            found=found,
            times_ms=spans,
            timed="the loop stood still",
            bound="started twice 0",
            complaints=tuple(told),
        )
    )


def block_one(arena: Arena, lease: Mapping[str, float], leases: int) -> str:
    """Block one worker more; return the id of the task that does."""
    args = {"how": "blocks", "seconds": leases * lease["visibility_timeout"]}
    [id] = arena.enqueue([args], "chaos.loop_peril", **lease)
    arena.wait_until(lambda: id in ids_started(arena), "start of the block")
    return id


def wait_for_the_end_of(arena: Arena, ids: Sequence[str]) -> None:
    arena.wait_until(lambda: set(ids) <= arena.ledger.ended(), "end of the block")


def ids_started(arena: Arena) -> set[str]:
    arena.tail.look()
    return arena.tail.ids[What.STARTED]


def span_ms(events: Sequence[Event], id: str) -> float:
    begun = [e.at_ns for e in events if e.id == id and e.what is What.STARTED]
    ended = [e.at_ns for e in events if e.id == id and e.what is What.ENDED]
    return (ended[0] - begun[0]) / MS
