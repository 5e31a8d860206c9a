"""Tasks that end the process they run in: that costs them, and nobody beside them."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from pathlib import Path

import pytest
from chaos.arena import RECOVERY_MS, Arena
from chaos.brokers import EVERY, in_turn
from chaos.danger import (
    LAPSES,
    Neighbours,
    children_of,
    differing,
    rounds_of,
    settings_of,
    starts_of,
    verdict,
)
from chaos.names import SIGNALS
from chaos.report import Row

from stem_core.testing.faults.checker import too_late
from stem_core.testing.faults.history import What

TOGETHER = 3
MEMORY_LIMIT = 300 << 20


@pytest.fixture(autouse=True)
def few_lapses(monkeypatch):
    monkeypatch.setenv("STEM_MAX_LAPSES", str(LAPSES))


@in_turn("H1", EVERY)
def test_a_task_that_ends_its_process_is_poison_in_the_end_and_costs_nobody_else(
    arena_of, scale, prove, id, kind
):
    ways = itertools.cycle(SIGNALS)
    perils: dict[str, str] = {}
    with arena_of(id, kind) as arena:
        worker = arena.ready_worker(**settings_of(TOGETHER))
        neighbours = Neighbours(arena)
        for size in rounds_of(scale, TOGETHER):
            hows = [next(ways) for _ in range(size)]
            ids = arena.enqueue([{"how": how} for how in hows], "chaos.peril", isolation="process")
            perils |= dict(zip(ids, hows, strict=True))
            neighbours.round(ids)
        letters = arena.letters()
        codes = arena.drain([worker])
        found, events = arena.judge(), arena.history().events
    starts = {each: len(starts_of(events, each)) for each in perils}
    told = verdict(found, perils, codes)
    told += too_late(found.recoveries_ms, RECOVERY_MS * scale.slack, "next start")
    told += differing(starts, dict.fromkeys(perils, LAPSES), "starts")
    told += differing(reasons_of(letters), dict.fromkeys(perils, "poison"), "reason")
    named = {each: SIGNALS[how] in last_words(letters, each) for each, how in perils.items()}
    told += differing(named, dict.fromkeys(perils, True), "the signal is named")
    prove(
        Row(
            id=id,
            fault="a task ends its process: a segmentation fault, abort(), SIGKILL",
            broker=arena.broker,
            trials=len(perils),
            found=found,
            times_ms=found.recoveries_ms,
            timed="death to next start",
            bound=f"{LAPSES} starts each, then a dead letter of reason poison that names the "
            f"signal; next start ≤ {RECOVERY_MS:,.0f} ms; neighbours started twice 0",
            complaints=tuple(told),
        )
    )


def reasons_of(letters) -> dict[str, str]:
    return {id: letter.reason for id, letter in letters.items()}


def last_words(letters, id: str) -> str:
    return letters[id].errors[-1].message if id in letters and letters[id].errors else ""


@in_turn("H3", EVERY)
def test_a_task_that_eats_all_memory_costs_nobody_else(arena_of, scale, prove, id, kind):
    eaters: list[str] = []
    fullers: list[str] = []
    with arena_of(id, kind) as arena:
        worker = arena.ready_worker(**settings_of(TOGETHER))
        neighbours = Neighbours(arena)
        with Reaper(arena, worker.pid):
            for size in rounds_of(scale, 2):
                hows = ["eat", "eat_up"][:size]
                ids = arena.enqueue(
                    [{"how": how} for how in hows],
                    "chaos.peril",
                    isolation="process",
                    max_retries=2,
                )
                eaters += ids[:1]
                fullers += ids[1:]
                neighbours.round(ids)
        letters = arena.letters()
        codes = arena.drain([worker])
        found, events = arena.judge(), arena.history().events
    starts = {each: len(starts_of(events, each)) for each in eaters + fullers}
    told = verdict(found, eaters + fullers, codes)
    told += differing(starts, dict.fromkeys(eaters + fullers, LAPSES), "starts")
    wanted = dict.fromkeys(eaters, "poison") | dict.fromkeys(fullers, "max-retries-exhausted")
    told += differing(reasons_of(letters), wanted, "reason")
    said = {
        each: "signal 9 (SIGKILL): the system does that when memory runs out"
        in last_words(letters, each)
        for each in eaters
    }
    said |= {
        each: "MemoryError" in letters[each].errors[-1].type for each in fullers if each in letters
    }
    told += differing(said, dict.fromkeys(eaters + fullers, True), "it is named")
    prove(
        Row(
            id=id,
            fault="a task eats memory: until it is killed for more than 300 MB, or up to its "
            "RLIMIT_AS",
            broker=arena.broker,
            trials=len(eaters + fullers),
            found=found,
            times_ms=found.recoveries_ms,
            timed="death to next start",
            bound=f"{LAPSES} starts each; then poison, killed by signal 9, or a MemoryError as any "
            "error; neighbours started twice 0",
            complaints=tuple(told),
        )
    )


class Reaper:
    """What a system does that watches over its memory: it kills who holds too much of it."""

    def __init__(self, arena: Arena, pid: int) -> None:
        self._arena = arena
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        killed: set[int] = set()
        while not self._over.wait(0.005):
            for pid in set(children_of(self._pid)) - killed:
                if held_by(pid) > MEMORY_LIMIT:
                    killed.add(pid)
                    self._arena.pen.note(What.KILLED, pid=pid)
                    os.kill(pid, signal.SIGKILL)


def held_by(pid: int) -> int:
    """Return how many bytes of memory the process *pid* holds; 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGESIZE")
