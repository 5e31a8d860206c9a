"""A store that cannot be used for a while: workers go on by themselves once it is back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from chaos.arena import LEASE_S, RESUME_MS, Arena
from chaos.failover_arena import FAILOVERS
from chaos.outages import OUTAGES, Outage
from chaos.plan import ENDLESS, Plan
from chaos.postgres_outages import POSTGRES_OUTAGES
from chaos.redis_outages import REDIS_OUTAGES
from chaos.report import Row

from stem_core.testing.faults.checker import complaints, resumptions_ms, too_late

WORKERS = 2
EVERY = OUTAGES | REDIS_OUTAGES | POSTGRES_OUTAGES | FAILOVERS


@pytest.mark.parametrize("id", EVERY)
def test_workers_go_on_by_themselves_when_the_store_is_back(arena_of, scale, prove, id):
    outage = EVERY[id]
    seconds = outage.seconds[not scale.is_long]
    with arena_of(id, outage.kind) as arena:
        if seconds > LEASE_S:  # it is to last longer than leases
            arena.lease_s = LEASE_S
        workers = arena.ready_workers(WORKERS)
        feeder = arena.producer(Plan(ENDLESS, pace=100, pauses_ms=(0, 20, 100)))
        hits: Counter[str] = Counter()
        for _ in range(scale.rounds):
            hits.update(an_outage(arena, outage, seconds, {worker.pid for worker in workers}))
        feeder.kill()
        arena.wait_for_ends()
        codes = arena.drain(workers)
        found, letters = arena.judge(), arena.letters()
        failures = arena.whole_log().count("ERROR failed")
        times = tuple(resumptions_ms(arena.history(), [worker.pid for worker in workers]))
    unsent = [trouble for trouble in found.troubles if trouble.startswith("enqueue")]
    # A refusal may follow on a lost reply: then it is not known whether the enqueue was done.
    unconfirmed = 1 + scale.rounds * outage.refuses
    told = complaints(found, unconfirmed=unconfirmed) + too_late(
        times, RESUME_MS * scale.slack, "resumption"
    )
    if not outage.refuses:
        told += [f"{len(unsent)} enqueues failed: {unsent[0]}"] if unsent else []
    told += [f"{len(letters)} dead letters"] if letters else []
    told += [f"{failures} of them are told as failed"] if failures else []
    told += [f"exit codes {codes}"] if any(codes) else []
    told += [f"no {kind} was hit" for kind in outage.hits if not hits[kind]]
    counted = "; hit: " + ", ".join(f"{hits[kind]} {kind}" for kind in outage.hits)
    prove(
        Row(
            id=id,
            fault=f"{outage.fault} for {seconds:g} s, under load",
            broker=arena.broker,
            trials=scale.rounds,
            found=found,
            times_ms=times,
            timed="its return to the next fetch of each worker",
            bound=f"started twice ≤ IN_FLIGHT in flight; fetching again ≤ {RESUME_MS:,} ms; "
            + (f"{len(unsent)} enqueues were told of it" if outage.refuses else "no enqueue fails")
            + (counted if outage.hits else ""),
            complaints=tuple(told),
        )
    )


def an_outage(arena: Arena, outage: Outage, seconds: float, workers: set[int]) -> Mapping[str, int]:
    """Let the store be away for *seconds* in the middle of work; wait until all work again.

    Returns what the outage has counted.
    """
    before = len(arena.accepted())
    arena.wait_until(lambda: len(arena.accepted()) > before + 20, "work under way")
    arena.moment(0.3)
    counted = outage.do(arena, seconds)
    arena.wait_for_takers(workers)
    return counted or {}
