"""Workers that are asked to end: nothing new is taken, and what is unfinished goes on elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.arena import RECOVERY_MS, Arena
from chaos.brokers import on_every_broker
from chaos.party import Party
from chaos.plan import ENDLESS, Plan
from chaos.relay import TASKS, legs
from chaos.report import Row

from stem_core.testing.faults.checker import HandOver, complaints, hand_overs, late_claims, too_late
from stem_core.testing.faults.history import What

CLAIMS_MS = 100
HAND_OVER_MS = 1_000
DRAINED, HANDED_BACK = 0, 75

HELD, RUNNING = 16, 2
"""What the worker that ends holds, and what of it runs: the rest waits its turn there."""


@on_every_broker("A5")
def test_a_worker_that_is_asked_to_end_takes_nothing_more_and_hands_back_what_waits(
    arena_of, scale, prove, id, kind
):
    with arena_of(id, kind) as arena:
        helper = arena.ready_worker(concurrency=100)
        feeder = arena.producer(Plan(ENDLESS, pace=60, pauses_ms=(300,)))
        codes = [ended_under_load(arena) for _ in range(scale.rounds)]
        feeder.kill()
        arena.wait_for_ends()
        codes += arena.drain([helper])
        found, history = arena.judge(), arena.history()
        over = hand_overs(history, arena.truth())
    told_by = What.SIGNALLED if scale.is_long else What.DRAINS
    late = late_claims(history, CLAIMS_MS * scale.slack, told_by)
    told = complaints(found, unconfirmed=1) + too_late(
        times_of(over), HAND_OVER_MS * scale.slack, "hand-over"
    )
    told += [f"{len(late)} taken too late"] if late else []
    told += [f"{len(found.started_twice)} started twice"] if found.started_twice else []
    told += [f"exit codes {codes}"] if any(codes) else []
    told += (
        [] if len([*history.only(What.DRAINS)]) == len(codes) else ["not all said that they drain"]
    )
    told += [] if over else ["nothing was handed back: the trial proves nothing"]
    prove(
        Row(
            id=id,
            fault="SIGTERM of a worker that runs 2 tasks, holds 14 more, and could take more",
            broker=arena.broker,
            trials=scale.rounds,
            found=found,
            times_ms=times_of(over),
            timed="signal to start elsewhere",
            bound=f"taken later than {CLAIMS_MS} ms after it: {len(late)}; started twice 0; "
            f"elsewhere ≤ {HAND_OVER_MS:,} ms; exit code 0",
            complaints=tuple(told),
        )
    )


def ended_under_load(arena: Arena) -> int:
    """Start a worker, ask it to end while it holds what it has not started; return its code."""
    worker = arena.ready_worker(concurrency=RUNNING, prefetch_multiplier=str(HELD // RUNNING))
    arena.wait_until(lambda: held_by(arena, worker) >= HELD - RUNNING, "a full worker")
    arena.moment(0.2)
    worker.terminate()
    return worker.wait(30)


def held_by(arena: Arena, worker: Party) -> int:
    counts = {What.LEASED: 1, What.SETTLED: -1}
    return sum(counts.get(e.what, 0) for e in arena.tail.look() if e.pid == worker.pid)


def times_of(over: Sequence[HandOver]) -> tuple[float, ...]:
    return tuple(each.since_asked_ms for each in over)


@on_every_broker("A6")
def test_what_does_not_end_within_the_grace_goes_on_elsewhere_without_a_failure(
    arena_of, scale, prove, id, kind
):
    with arena_of(id, kind) as arena:
        codes = []
        for leg in legs(arena, scale.rounds, worker_grace="300ms"):
            leg.runner.terminate()
            codes.append(leg.runner.wait(30))
        found = arena.judge()
        over = hand_overs(arena.history(), arena.truth())
    waits = tuple(each.waited_ms for each in over)
    told = complaints(found) + too_late(waits, HAND_OVER_MS * scale.slack, "hand-over")
    told += [f"exit codes {codes}"] if set(codes) != {HANDED_BACK} else []
    told += [f"{len(over)} handed back"] if len(over) != scale.rounds * TASKS else []
    told += ["an attempt was counted"] if any(each.after.attempt != 1 for each in over) else []
    prove(
        Row(
            id=id,
            fault="SIGTERM of a worker whose tasks take longer than its grace",
            broker=arena.broker,
            trials=scale.rounds,
            found=found,
            times_ms=waits,
            timed="hand-back to start elsewhere",
            bound=f"started twice ≤ IN_FLIGHT in flight; elsewhere ≤ {HAND_OVER_MS:,} ms; "
            "no attempt counted; exit code 75",
            complaints=tuple(told),
        )
    )


@on_every_broker("A7")
def test_a_worker_that_is_killed_while_it_drains_loses_nothing(arena_of, scale, prove, id, kind):
    with arena_of(id, kind) as arena:
        for leg in legs(arena, scale.rounds):
            leg.runner.terminate()
            arena.moment(0.3)
            leg.runner.kill()
        found = arena.judge()
    told = complaints(found) + too_late(found.recoveries_ms, RECOVERY_MS * scale.slack, "recovery")
    told += [f"{len(found.overlapping)} overlap"] if found.overlapping else []
    prove(
        Row(
            id=id,
            fault="SIGTERM of a worker, and SIGKILL while it drains",
            broker=arena.broker,
            trials=scale.rounds,
            found=found,
            times_ms=found.recoveries_ms,
            timed="kill to next start",
            bound=f"started twice ≤ IN_FLIGHT in flight; next start ≤ {RECOVERY_MS:,.0f} ms",
            complaints=tuple(told),
        )
    )
