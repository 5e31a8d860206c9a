"""What only a Redis server goes through: it is emptied, robbed of its indexes, and full."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import pytest
from attrs import evolve
from chaos.arena import RECOVERY_MS, RESUME_MS, Arena
from chaos.outages import away
from chaos.party import Party
from chaos.plan import ENDLESS, Plan
from chaos.redis_arena import RedisArena
from chaos.report import Row

from stem_core import Stem
from stem_core.model.errors import StoreFull
from stem_core.testing.faults.checker import Findings, complaints, resumptions_ms, too_late
from stem_core.testing.faults.history import What, now

WORKERS = 2

# ── a server that is empty ───────────────────────────────────────────────────


def flush(arena: RedisArena) -> None:
    """Let somebody delete everything, while workers wait for work."""
    assert arena.tell("FLUSHALL").startswith(b"+OK")


def lose_the_files(arena: RedisArena) -> None:
    """Let the server die, and come back without what it had."""
    arena.server.kill()
    time.sleep(0.5)
    arena.begin_empty()


EMPTIED: dict[str, tuple[str, Callable[[RedisArena], None]]] = {
    "C2": ("the server is killed and comes back empty, under load", lose_the_files),
    "C3": ("FLUSHALL while workers wait for work, under load", flush),
}


@pytest.mark.parametrize("id", EMPTIED)
def test_workers_outlive_the_loss_of_all_that_a_server_held(arena_of, scale, prove, id):
    fault, empty = EMPTIED[id]
    with arena_of(id, RedisArena) as arena:
        workers = arena.ready_workers(WORKERS)
        feeder = arena.producer(Plan(ENDLESS, pace=100, pauses_ms=(0, 20, 100)))
        for _ in range(scale.rounds):
            before = len(arena.accepted())
            arena.wait_until(lambda: len(arena.accepted()) > before + 20, "work under way")  # noqa: B023
            arena.enqueue([{"pause_ms": 100}] * 40)  # more than run at one time
            arena.moment(0.1)
            with away(arena):
                empty(arena)
            arena.wait_for_takers({worker.pid for worker in workers})
        feeder.kill()
        arena.wait_for_ends()
        codes = arena.drain(workers)
        found = without(arena.judge(), arena.log.wiped)
        times = tuple(resumptions_ms(arena.history(), [worker.pid for worker in workers]))
        gone = arena.log.gone
    told = verdict(found, codes) + too_late(times, RESUME_MS * scale.slack, "resumption")
    told += [] if gone else ["nothing was there to be lost"]
    prove(
        Row(
            id=id,
            fault=fault,
            broker=arena.broker,
            trials=scale.rounds,
            found=found,
            times_ms=times,
            timed="its return to the next fetch of each worker",
            bound=f"{len(gone)} tasks that it held are gone with it, of later ones none; started "
            f"twice ≤ IN_FLIGHT in flight; fetching again ≤ {RESUME_MS:,} ms; no worker ends",
            complaints=tuple(told),
        )
    )


def without(found: Findings, wiped: set[str]) -> Findings:
    """Return *found* without what is said of ids that the server had to forget."""
    return evolve(
        found,
        lost=tuple(id for id in found.lost if id not in wiped),
        misrecorded=tuple(id for id in found.misrecorded if id not in wiped),
    )


def verdict(found: Findings, codes: Sequence[int], unconfirmed: int = 1) -> list[str]:
    told = complaints(found, unconfirmed=unconfirmed)
    return told + ([f"exit codes {codes}"] if any(codes) else [])


# ── indexes that are gone ────────────────────────────────────────────────────

READY, LATER = 60, 60
PAUSE_MS = 50
INDEXES = ("q:default", "d:default", "l:default", "w:default", "z:default", "queues", "turn")
WORK_MS = 2_000
"""What the tasks of a trial take at most when nothing is deleted."""

STEP, STEP_MS = 300, 2_000
"""How many keys of the server workers look at in one go, and how often at the least if idle."""


def test_what_stood_in_a_key_that_is_deleted_runs_all_the_same(arena_of, scale, prove):
    times: list[float] = []
    walks_ms = 0
    with arena_of("C4", RedisArena) as arena:
        workers = arena.ready_workers(WORKERS, concurrency=8)
        for _ in range(scale.trials):
            arena.enqueue([{"pause_ms": PAUSE_MS}] * READY)
            arena.enqueue([{"pause_ms": PAUSE_MS}] * LATER, delay_s=0.3)
            arena.moment(0.2)
            began, walks_ms = time.monotonic(), max(walks_ms, walk_ms(arena))
            with away(arena):
                take_away(arena, ["q:default", *arena.dice.sample(INDEXES, 2)])
            arena.wait_for_ends()
            times.append((time.monotonic() - began) * 1000)
        codes = arena.drain(workers)
        found, letters = arena.judge(), arena.letters()
    told = verdict(found, codes)
    bound_ms = RECOVERY_MS + WORK_MS + walks_ms
    told += too_late(times, bound_ms * scale.slack, "end of all")
    told += [f"{len(letters)} dead letters"] if letters else []
    prove(
        Row(
            id="C4",
            fault="the ready order of a queue and other indexes of it are deleted, or renamed away",
            broker=arena.broker,
            trials=scale.trials,
            found=found,
            times_ms=tuple(times),
            timed="fault to the end of all that was there",
            bound=f"≤ {RECOVERY_MS + WORK_MS:,.0f} ms and {STEP_MS:,} ms for each {STEP} keys that "
            f"the server has: {bound_ms:,.0f} ms; started twice ≤ IN_FLIGHT in flight; "
            "dead letters 0",
            complaints=tuple(told),
        )
    )


def walk_ms(arena: RedisArena) -> int:
    """Return how long workers take at most to have looked at every key."""
    return (int(arena.tell("DBSIZE")[1:]) // STEP + 1) * STEP_MS


def take_away(arena: RedisArena, keys: Sequence[str]) -> None:
    """Delete each of *keys*, or rename it."""
    for key in dict.fromkeys(keys):
        name = f"{{stem}}:{key}"
        words = arena.dice.choice([("DEL", name), ("RENAME", name, "aside")])
        arena.tell(*words)


# ── work before workers ──────────────────────────────────────────────────────

EARLY = 1_000


def test_what_was_enqueued_before_any_worker_was_there_runs(arena_of, scale, prove):
    times: list[float] = []
    codes: list[int] = []
    with arena_of("C6", RedisArena) as arena:
        for _ in range(scale.rounds):
            arena.enqueue([{}] * EARLY)
            worker = arena.ready_worker()
            began = time.monotonic()
            arena.wait_for_ends()
            times.append((time.monotonic() - began) * 1000)
            codes += arena.drain([worker])
        found = arena.judge()
    told = verdict(found, codes)
    told += [f"{len(found.started_twice)} started twice"] if found.started_twice else []
    prove(
        Row(
            id="C6",
            fault=f"{EARLY:,} tasks are enqueued before there is a worker, or ever was one",
            broker=arena.broker,
            trials=scale.rounds,
            found=found,
            times_ms=tuple(times),
            timed="the worker is ready to the end of all",
            bound="all run; started twice 0",
            complaints=tuple(told),
        )
    )


# ── a full server ────────────────────────────────────────────────────────────

ROOM = 1 << 19
REFUSED_MS = 1_000
TOGETHER = 50


def test_a_full_server_refuses_producers_soon_and_workers_drain_it(arena_of, scale, prove):
    times: list[float] = []
    with arena_of("C13", RedisArena) as arena:
        workers = arena.ready_workers(WORKERS)
        for _ in range(scale.rounds):
            feeder = arena.producer(Plan(ENDLESS, TOGETHER, pauses_ms=(5, 20)))
            before = len(arena.accepted())
            arena.wait_until(lambda: len(arena.accepted()) > before, "work under way")  # noqa: B023
            with away(arena):
                limit(arena, used(arena) + ROOM)
                times += [until_refused_ms(arena) for _ in range(3)]
                feeder.kill()
                arena.wait_for_ends()
            times.append(until_refused_ms(arena))  # it is still full: of records
            limit(arena, 0)
        left = arena.stored()
        codes = arena.drain(workers)
        found, letters = arena.judge(), arena.letters()
    told = verdict(found, codes, unconfirmed=TOGETHER * scale.rounds)  # a killed call each
    told += too_late(times, REFUSED_MS * scale.slack, "refusal")
    told += [f"{len(found.started_twice)} started twice"] if found.started_twice else []
    told += [f"{left} are left"] if left else []
    told += [f"{len(letters)} dead letters"] if letters else []
    prove(
        Row(
            id="C13",
            fault="maxmemory is reached, under load, and stays so until all is drained",
            broker=arena.broker,
            trials=scale.rounds,
            found=found,
            times_ms=tuple(times),
            timed=f"an enqueue of {TOGETHER} to its refusal",
            bound=f"≤ {REFUSED_MS:,} ms; left 0; started twice 0; dead letters 0",
            complaints=tuple(told),
        )
    )


def limit(arena: RedisArena, room: int) -> None:
    assert arena.tell("CONFIG", "SET", "maxmemory", room).startswith(b"+OK")


def used(arena: RedisArena) -> int:
    return int(arena.tell("INFO", "memory").partition(b"used_memory:")[2].split()[0])


def until_refused_ms(arena: RedisArena) -> float:
    """Enqueue until that is refused; return how long the refusal took."""

    async def fill() -> float:
        async with Stem(arena.url) as stem:
            calls = [stem.call("chaos.work", {}) for _ in range(TOGETHER)]
            await stem.lane()  # it is connected
            while True:
                began = time.monotonic()
                try:
                    jobs = await stem.enqueue_many(calls)
                except StoreFull:
                    return (time.monotonic() - began) * 1000
                arena.pen.write(*[now(What.ACCEPTED, job.id) for job in jobs])
                calls = [stem.call("chaos.work", {}) for _ in range(TOGETHER)]

    return asyncio.run(fill())


# ── workers that come and go ─────────────────────────────────────────────────

AT_ONE_TIME = 4
SOON_S = 60
MOST_CLIENTS = 10
OF_ALL = {"queues", "turn", "epoch", "rx", "walk", "swept", "w:default"}
"""Keys that are there once, however many workers there were."""


def test_workers_that_come_and_go_leave_nothing_behind(arena_of, scale, prove):
    restarts = scale.rounds * AT_ONE_TIME
    with arena_of("C25", RedisArena) as arena:
        for _ in range(scale.rounds):
            workers = arena.ready_workers(AT_ONE_TIME)
            arena.enqueue([{"pause_ms": 20}] * 20)
            arena.moment(0.2)
            end_in_any_way(arena, workers)
        [last] = arena.ready_workers(1)
        arena.wait_for_ends()
        clients = len(arena.tell("CLIENT", "LIST").splitlines()) - 2  # its length, and who asks
        codes = arena.drain([last])
        left = left_in_the_end(arena)
        found = arena.judge()
    told = verdict(found, codes)
    told += [f"left are {sorted(left)}"] if left else []
    told += [f"{clients} connections"] if clients > MOST_CLIENTS else []
    prove(
        Row(
            id="C25",
            fault=f"{restarts} workers come and go, half of them by SIGKILL, with work at hand",
            broker=arena.broker,
            trials=restarts,
            found=found,
            bound=f"connections of the one that is left ≤ {MOST_CLIENTS}: {clients}; nothing at "
            "the server tells of any of them in the end; started twice ≤ IN_FLIGHT in flight",
            complaints=tuple(told),
        )
    )


def end_in_any_way(arena: Arena, workers: Sequence[Party]) -> None:
    """Kill every second one of *workers* and ask the others to end."""
    for worker in workers[::2]:
        worker.kill()
    assert not any(arena.drain(workers[1::2]))


def left_in_the_end(arena: RedisArena) -> set[str]:
    """Return which keys that are not `OF_ALL` stay, whatever time they are given."""
    until = time.monotonic() + SOON_S
    while (left := keys_of(arena) - OF_ALL) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def keys_of(arena: RedisArena) -> set[str]:
    """Return the names of all keys but those of messages and of records."""
    words = arena.tell("KEYS", "*").split(b"\r\n")
    names = {word.decode().removeprefix("{stem}:") for word in words if word[:1] == b"{"}
    return {name for name in names if not name.startswith(("m:", "r:"))}
