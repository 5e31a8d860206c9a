"""A store that cannot be used for a while: workers go on by themselves once it is back."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from chaos.arena import RESUME_MS, Arena
from chaos.plan import ENDLESS, Plan
from chaos.report import Row

from stem_core.testing.faults.checker import complaints, resumptions_ms, too_late
from stem_core.testing.faults.history import What

WORKERS = 2


def lock_it(arena: Arena, seconds: float) -> None:
    """Let another program hold the file."""
    assert arena.holder(seconds).wait(60) == 0


def move_it_away(arena: Arena, seconds: float) -> None:
    """Move the file away and back, as somebody does who mistakes it for rubbish."""
    aside = arena.folder / "aside"
    arena.file.rename(aside)
    arena.pen.note(What.GONE)
    time.sleep(seconds)
    arena.pen.note(What.BACK)
    aside.rename(arena.file)


OUTAGES = {
    "E1": ("another program holds BEGIN EXCLUSIVE", lock_it),
    "E11": ("the file is moved away and back", move_it_away),
}


@pytest.mark.parametrize("id", OUTAGES)
def test_workers_go_on_by_themselves_when_the_store_is_back(arena_of, scale, prove, id):
    fault, outage = OUTAGES[id]
    seconds = 3.0 if scale.is_long else 1.2
    with arena_of(id) as arena:
        workers = arena.ready_workers(WORKERS)
        feeder = arena.producer(Plan(ENDLESS, pace=100, pauses_ms=(0, 20, 100)))
        for _ in range(scale.rounds):
            an_outage(arena, outage, seconds, {worker.pid for worker in workers})
        feeder.kill()
        arena.wait_for_ends()
        codes = arena.drain(workers)
        found = arena.judge()
        times = tuple(resumptions_ms(arena.history(), [worker.pid for worker in workers]))
    unsent = [trouble for trouble in found.troubles if trouble.startswith("enqueue")]
    told = complaints(found, unconfirmed=1) + too_late(times, RESUME_MS * scale.slack, "resumption")
    told += [f"{len(unsent)} enqueues failed: {unsent[0]}"] if unsent else []
    told += [f"exit codes {codes}"] if any(codes) else []
    prove(
        Row(
            id=id,
            fault=f"{fault} for {seconds:g} s, under load",
            broker="sqlite",
            trials=scale.rounds,
            found=found,
            times_ms=times,
            timed="its return to the next fetch of each worker",
            bound=f"started twice ≤ IN_FLIGHT in flight; fetching again ≤ {RESUME_MS:,} ms; "
            "no enqueue fails",
            complaints=tuple(told),
        )
    )


def an_outage(
    arena: Arena, outage: Callable[[Arena, float], None], seconds: float, workers: set[int]
) -> None:
    """Let the store be away for *seconds* in the middle of work; wait until all work again."""
    before = len(arena.accepted())
    arena.wait_until(lambda: len(arena.accepted()) > before + 20, "work under way")
    arena.moment(0.3)
    outage(arena, seconds)
    arena.wait_for_takers(workers)
