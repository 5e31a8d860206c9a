"""A worker that is killed while its children run tasks: they die with it, before anybody starts
those tasks again."""

from __future__ import annotations

import itertools
import time

from chaos.arena import RECOVERY_MS, Arena
from chaos.brokers import in_turn
from chaos.danger import MS, Deathwatch, rounds_of, settings_of, starts_of, verdict
from chaos.party import Party
from chaos.report import Row

from stem_core.testing.faults.checker import too_late
from stem_core.testing.faults.history import What

GONE_MS = 1_000
HOWS = ("sleeps", "turns_a_deaf_ear", "holds_the_interpreter")


@in_turn("A9")
def test_children_die_with_their_worker_and_nothing_runs_twice_at_one_time(
    arena_of, scale, prove, id, kind
):
    ways, perils, gone_ms, codes = itertools.cycle(HOWS), [], [], []
    with arena_of(id, kind) as arena, Deathwatch(arena) as watch:
        runner = arena.ready_worker(**settings_of(len(HOWS)))
        for size in rounds_of(scale, len(HOWS)):
            args = [{"how": next(ways)} for _ in range(size)]
            ids = arena.enqueue(args, "chaos.orphan")
            perils += ids
            wait_for_all(arena, ids)
            successor = arena.ready_worker(**settings_of(len(HOWS)))
            gone_ms += killed_under(arena, runner, ids, watch)
            arena.wait_for_ends()
            runner = successor
        codes = arena.drain([runner])
        found = arena.judge()
    told = verdict(found, perils, codes)
    told += too_late(gone_ms, GONE_MS * scale.slack, "the end of a child")
    told += too_late(found.recoveries_ms, RECOVERY_MS * scale.slack, "recovery")
    if set(found.started_twice) != set(perils):
        told.append(f"{len(found.started_twice)} started twice: the trial proves nothing")
    told += [f"{len(found.overlapping)} overlap"] if found.overlapping else []
    prove(
        Row(
            id=id,
            fault="SIGKILL of a worker whose children run tasks: one sleeps, one hears nothing, "
            "one is in C code",
            broker=arena.broker,
            trials=len(gone_ms),
            found=found,
            times_ms=tuple(gone_ms),
            timed="kill to the end of each child",
            bound=f"≤ {GONE_MS:,} ms; two runs at one time: {len(found.overlapping)}; next start "
            f"≤ {RECOVERY_MS:,.0f} ms; started twice ≤ IN_FLIGHT in flight",
            complaints=tuple(told),
        )
    )


def wait_for_all(arena: Arena, ids: list[str]) -> None:
    """Return once all of *ids* have started."""

    def have_started() -> bool:
        arena.tail.look()
        return set(ids) <= arena.tail.ids[What.STARTED]

    arena.wait_until(have_started, "start of all")


def killed_under(arena: Arena, runner: Party, ids: list[str], watch: Deathwatch) -> list[float]:
    """Kill *runner*, which runs all of *ids*; return how long each child has outlived it."""
    pids = [starts_of(arena.tail.look(), id)[0].pid for id in ids]
    arena.moment(0.3)
    killed_ns = time.monotonic_ns()
    runner.kill()
    watch.wait_for(pids)
    return [(watch.gone_ns[pid] - killed_ns) / MS for pid in pids]
