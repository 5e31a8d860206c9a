"""Many processes on one file: nobody is told that it is locked, and everything is done once."""

from __future__ import annotations

from chaos.plan import Plan
from chaos.report import Row

from stem_core.testing.faults.checker import complaints

PER_TRIAL = 2_000
FEW = 600
TOGETHER = (1, 50)


def test_eight_who_publish_and_eight_who_take_never_meet_a_lock_and_do_each_task_once(
    arena_of, scale, prove
):
    sides, count = (8, scale.trials * PER_TRIAL) if scale.is_long else (3, FEW)
    each = count // sides
    with arena_of("E2") as arena:
        # The usual lease: this is about locks, and sixteen processes share two cores.
        how = {"concurrency": 20, "default_visibility_timeout": "30s"}
        workers = [arena.worker(**how) for _ in range(sides)]
        for number in range(sides):
            plan = Plan(each, TOGETHER[number % 2], seed=f"{scale.seed}:{number}")
            arena.producer(plan, default_visibility_timeout="30s")
        within_s = 60 + count / 50
        arena.wait_until(lambda: len(arena.accepted()) == count, "end of it", within_s)
        arena.wait_for_ends(within_s)
        codes = arena.drain(workers)
        found = arena.judge()
        said = sum("locked" in party.log.read_text("utf-8") for party in arena.parties)
    told = complaints(found) + ([f"exit codes {codes}"] if any(codes) else [])
    told += [f"{len(found.started_twice)} started twice"] if found.started_twice else []
    told += [f"{len(found.troubles)} errors: {found.troubles[0]}"] if found.troubles else []
    told += [f"{said} logs speak of a lock"] if said else []
    prove(
        Row(
            id="E2",
            fault=f"{sides} processes publish and {sides} take, at one time",
            broker="sqlite",
            trials=1,
            found=found,
            bound=f"nobody is told of a locked file: {len(found.troubles)} were; started twice 0",
            complaints=tuple(told),
        )
    )
