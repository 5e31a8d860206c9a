"""Workers that are killed: what they held starts again in time, and ends once."""

from __future__ import annotations

import signal

import pytest
from chaos.arena import RECOVERY_MS, Arena
from chaos.names import KINDS
from chaos.plan import Plan
from chaos.postgres_arena import PostgresArena
from chaos.redis_arena import RedisArena
from chaos.report import Row
from chaos.scale import Scale
from chaos.witness import Fuse

from stem_core.testing.faults.checker import complaints, too_late

WORKERS = 4
PAUSES_MS = (0, 20, 100, 200, 400)
TASKS = 100
PER_SECOND = 150
"""A third of what four workers can do: what waits, waits for a lease and not for a slot."""


@pytest.mark.parametrize(("id", "kind"), [
    ("A1", Arena), ("A1-redis", RedisArena), ("A1-postgres", PostgresArena),
])  # fmt: skip
def test_a_task_of_a_killed_worker_starts_again_in_time_and_ends_once(
    arena_of, scale, prove, id, kind
):
    with arena_of(id, kind) as arena:
        workers = arena.ready_workers(WORKERS)
        plan = Plan(scale.tasks, pace=PER_SECOND, pauses_ms=PAUSES_MS, seed=str(scale.seed))
        arena.producer(plan)
        for trial in range(scale.trials):
            kill_somebody(arena, workers, trial, scale)
        arena.wait_until(lambda: len(arena.accepted()) == scale.tasks, "end of the enqueues", 300)
        arena.wait_for_ends()
        codes = arena.drain(workers)
        found = arena.judge()
    told = complaints(found) + too_late(found.recoveries_ms, RECOVERY_MS * scale.slack, "recovery")
    told += [f"exit codes {codes}"] if any(codes) else []
    told += [f"{len(found.overlapping)} overlap"] if found.overlapping else []
    told += [f"told of {found.troubles[0]}"] if found.troubles else []
    prove(
        Row(
            id=id,
            fault=f"SIGKILL of one of {WORKERS} workers at a random moment, and a new one",
            broker=arena.broker,
            trials=scale.trials,
            found=found,
            times_ms=found.recoveries_ms,
            timed="kill to next start",
            bound=f"started twice ≤ IN_FLIGHT in flight; next start ≤ {RECOVERY_MS:,.0f} ms",
            complaints=tuple(told),
        )
    )


def kill_somebody(arena: Arena, workers: list, trial: int, scale: Scale) -> None:
    """Kill a worker after a random task of this trial's share, and start another one."""
    share = scale.tasks // scale.trials
    count = trial * share + arena.dice.randrange(share // 2, share)
    arena.wait_until(lambda: len(arena.accepted()) >= count, f"{count} tasks")
    arena.moment(0.2)
    place = arena.dice.randrange(len(workers))
    workers[place].kill()
    workers[place] = arena.worker()


SERVERS = {"redis": RedisArena, "postgres": PostgresArena}


@pytest.mark.parametrize("place", ["full", "normal", *SERVERS])
def test_a_kill_inside_a_settlement_leaves_the_whole_of_it_or_nothing(
    arena_of, scale, prove, place
):
    how = {"kind": SERVERS[place]} if place in SERVERS else {"durability": place}
    with arena_of(f"E3 {place}", **how) as arena:
        for _ in range(scale.rounds):
            arena.enqueue([{"kind": kind} for kind in arena.dice.choices(KINDS, k=TASKS)])
            count, after_us = arena.dice.randint(1, 10), arena.dice.randint(1, 3_000)
            fuse = Fuse("settle", count, after_us, signal.SIGKILL)
            assert arena.worker(concurrency=4, fuse=fuse).wait(60) == -signal.SIGKILL
        healthy = arena.ready_worker()
        arena.wait_for_ends()
        codes = arena.drain([healthy])
        found = arena.judge()
    told = complaints(found) + ([f"exit codes {codes}"] if any(codes) else [])
    prove(
        Row(
            id=f"E3-{place}",
            fault="SIGKILL of a worker up to 3 ms into a settlement: ends, follow-ups, retries, "
            "dead letters",
            broker=arena.broker if place in SERVERS else f"sqlite, durability={place}",
            trials=scale.rounds,
            found=found,
            bound="started twice ≤ IN_FLIGHT in flight; "
            f"{found.unheard} settlements were made and their answers never heard",
            complaints=tuple(told),
        )
    )
