"""Workers in hard times: a fetch that fails as nobody expects, children that do not come up, a
task that ends one worker after another, a task that only newer workers know."""

from __future__ import annotations

import http.client
import math
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Sequence

from chaos.arena import Arena
from chaos.brokers import EVERY, in_turn
from chaos.danger import APP, LAPSES, MS, children_of, differing, settings_of, starts_of, verdict
from chaos.names import AFTER, BARREN, BEFORE, BIRTHS, NEW, SLIP
from chaos.party import Party
from chaos.report import Row

from stem_core.testing.faults.checker import too_late
from stem_core.testing.faults.history import Event, What

# ── a loop that fails ────────────────────────────────────────────────────────

RESTART_MS = 1_000


@in_turn("A12", EVERY)
def test_a_worker_whose_fetch_fails_as_nobody_expects_goes_on_within_a_second(
    arena_of, scale, prove, id, kind
):
    with arena_of(id, kind) as arena:
        worker = arena.ready_worker(app=APP)
        for _ in range(scale.trials):
            arena.enqueue([{"pause_ms": 50}] * 5)
            arena.moment(0.2)
            slip(arena, arena.dice.choice([BEFORE, AFTER]))
            arena.enqueue([{}] * 5)
            arena.wait_for_ends()
        codes = arena.drain([worker])
        found, events = arena.judge(), arena.history().events
    pauses_ms = pauses_after_slips(events)
    told = verdict(found, (), codes) + too_late(pauses_ms, RESTART_MS * scale.slack, "restart")
    told += [f"{len(found.started_twice)} started twice"] if found.started_twice else []
    prove(
        Row(
            id=id,
            fault="the fetch of a worker raises a ValueError, before it asks the store or when it "
            "has taken",
            broker=arena.broker,
            trials=len(pauses_ms),
            found=found,
            times_ms=tuple(pauses_ms),
            timed="failure to the next fetch that brings something",
            bound=f"≤ {RESTART_MS:,} ms; started twice 0; the worker goes on",
            complaints=tuple(told),
        )
    )


def slip(arena: Arena, when: str) -> None:
    """Let the next fetch fail, and wait until it has."""
    part = arena.folder / "part"
    part.write_text(when)
    count = slips(arena.tail.look())
    part.rename(arena.folder / SLIP)
    arena.enqueue([{}])  # so that a fetch that waits returns
    arena.wait_for(lambda events: slips(events) > count, "failure")


def slips(events: Sequence[Event]) -> int:
    return sum(event.what is What.TROUBLE and event.detail == SLIP for event in events)


def pauses_after_slips(events: Sequence[Event]) -> list[float]:
    failed = [e.at_ns for e in events if e.what is What.TROUBLE and e.detail == SLIP]
    took = [e.at_ns for e in events if e.what is What.LEASED]
    nexts = [next((at for at in took if at > failure), math.inf) for failure in failed]
    return [(after - failure) / MS for failure, after in zip(failed, nexts, strict=True)]


# ── children that do not come up ─────────────────────────────────────────────

RED_MS = 10_000
MOST_BIRTHS = 8


@in_turn("A13")
def test_a_worker_whose_children_do_not_come_up_says_so_and_runs_nothing_in_vain(
    arena_of, scale, prove, id, kind
):
    rounds = max(1, scale.rounds // 4)  # each one is some ten seconds long
    red_ms, told = [], []
    with arena_of(id, kind) as arena:
        worker = arena.ready_worker(**settings_of(2, worker_http="127.0.0.1:0"))
        for _ in range(rounds):
            assert is_ready(worker)
            births = births_of(arena)
            (arena.folder / BARREN).touch()
            began_ns = time.monotonic_ns()
            end_children(worker)
            ids = arena.enqueue([{}] * 3, "chaos.short", isolation="process")
            arena.enqueue([{"pause_ms": 20}] * 3)
            arena.wait_until(lambda: not is_ready(worker), "word of it", 60)
            red_ms.append((time.monotonic_ns() - began_ns) / MS)
            arena.moment(0.5)
            told += [f"{each} ran" for each in ids if starts_of(arena.tail.look(), each)]
            tried = births_of(arena) - births
            told += [f"{tried} children were tried"] if tried > MOST_BIRTHS else []
            (arena.folder / BARREN).unlink()
            arena.wait_until(lambda: is_ready(worker), "readiness", 60)
            arena.wait_for_ends()
        letters = arena.letters()
        codes = arena.drain([worker])
        found = arena.judge()
    told += verdict(found, (), codes) + too_late(red_ms, RED_MS * scale.slack, "not ready")
    told += [f"{len(letters)} dead letters"] if letters else []
    told += [f"{len(found.started_twice)} started twice"] if found.started_twice else []
    prove(
        Row(
            id=id,
            fault="the children of a worker are killed, and no new one can load the application",
            broker=arena.broker,
            trials=rounds,
            found=found,
            times_ms=tuple(red_ms),
            timed="fault to /readyz that says so",
            bound=f"≤ {RED_MS:,} ms; at most {MOST_BIRTHS} processes tried; nothing starts "
            "meanwhile, all ends after; dead letters 0",
            complaints=tuple(told),
        )
    )


def end_children(worker: Party) -> None:
    """Kill all that the worker keeps ready."""
    for pid in children_of(worker.pid):
        os.kill(pid, signal.SIGKILL)


def births_of(arena: Arena) -> int:
    path = arena.folder / BIRTHS
    return len(path.read_text().split()) if path.exists() else 0


def is_ready(worker: Party) -> bool:
    """Ask the worker's own page."""
    found = re.search(r"http://127\.0\.0\.1:(\d+)", worker.log.read_text("utf-8", "replace"))
    assert found, worker.said
    connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    finally:
        connection.close()


# ── innocents beside a killer ────────────────────────────────────────────────

INNOCENTS = 9


@in_turn("A14")
def test_of_all_that_die_with_a_worker_only_the_one_that_killed_it_is_poison(
    arena_of, scale, prove, monkeypatch, id, kind
):
    monkeypatch.setenv("STEM_MAX_LAPSES", str(LAPSES))
    killers: list[str] = []
    deaths: list[int] = []
    with arena_of(id, kind) as arena:
        for _ in range(scale.rounds):
            killers += arena.enqueue([{"beside": INNOCENTS}], "chaos.kills_all")
            arena.enqueue([{"pause_ms": 300}] * INNOCENTS, "chaos.innocent")
            deaths.append(deaths_until_all_ended(arena))
        letters = arena.letters()
        found = arena.judge()
    told = verdict(found, found.started_twice)
    reasons = {each: letter.reason for each, letter in letters.items()}
    told += differing(reasons, dict.fromkeys(killers, "poison"), "reason")
    told += [f"{len(letters)} dead letters"] if len(letters) != len(killers) else []
    told += (
        [f"{Counter(deaths)} workers died"] if any(count != LAPSES - 1 for count in deaths) else []
    )
    prove(
        Row(
            id=id,
            fault=f"a task ends its worker, with {INNOCENTS} innocents in the same loop, and "
            "so the next worker",
            broker=arena.broker,
            trials=len(killers),
            found=found,
            bound=f"{INNOCENTS} of {INNOCENTS} innocents succeed; the killer is poison after "
            f"{LAPSES - 1} workers and one child; started twice ≤ IN_FLIGHT in flight",
            complaints=tuple(told),
        )
    )


def deaths_until_all_ended(arena: Arena) -> int:
    """Start a worker whenever there is none, until all has ended; return how many have died."""
    deaths = 0
    until = time.monotonic() + 120

    def is_over() -> bool:
        return arena.accepted() <= arena.ledger.ended()

    while True:
        worker = arena.worker(**settings_of(2))
        while not is_over() and worker.exit_code is None:
            assert time.monotonic() < until, arena.said
            time.sleep(0.02)
        if worker.exit_code is None:
            assert arena.drain([worker]) == [0]
            return deaths
        deaths += 1


# ── a task that only newer workers know ──────────────────────────────────────

SOON_MS = 8_000


@in_turn("A15")
def test_a_task_that_old_workers_do_not_know_waits_for_a_new_one(arena_of, scale, prove, id, kind):
    waits_ms: list[float] = []
    codes: list[int] = []
    with arena_of(id, kind) as arena:
        for _ in range(scale.rounds):
            old = arena.ready_workers(2, app=APP)
            ids = arena.enqueue([{}] * 3, "chaos.new")
            arena.enqueue([{"pause_ms": 20}] * 3)
            wait_until_parked(arena, ids)
            arena.moment(1)
            arena.signs = {NEW: "yes"}
            new = arena.ready_worker(app=APP)
            arena.signs = {}
            began_ns = time.monotonic_ns()
            codes += arena.drain(old)
            arena.wait_for_ends()
            starts = [starts_of(arena.tail.look(), each)[0] for each in ids]
            waits_ms += [(start.at_ns - began_ns) / MS for start in starts]
            assert {start.pid for start in starts} == {new.pid}
            codes += arena.drain([new])
        letters = arena.letters()
        found = arena.judge()
    told = verdict(found, (), codes) + too_late(waits_ms, SOON_MS * scale.slack, "start")
    told += [f"{len(letters)} dead letters"] if letters else []
    told += [f"{len(found.started_twice)} started twice"] if found.started_twice else []
    prove(
        Row(
            id=id,
            fault="a task that two old workers do not know, until a new one takes their place",
            broker=arena.broker,
            trials=len(waits_ms),
            found=found,
            times_ms=tuple(waits_ms),
            timed="the new worker is ready to the start there",
            bound=f"≤ {SOON_MS:,} ms; dead letters 0; started twice 0",
            complaints=tuple(told),
        )
    )


def wait_until_parked(arena: Arena, ids: Sequence[str]) -> None:
    arena.wait_for(lambda events: set(ids) <= parked(events), "hand-back of all")


def parked(events: Sequence[Event]) -> set[str]:
    return {e.id for e in events if e.what is What.SETTLED and e.detail == "done release"}
