"""What only a PostgreSQL server goes through: a full disk, an old snapshot; and its producers."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from chaos.outages import away
from chaos.plan import ENDLESS, Plan
from chaos.postgres_arena import PostgresArena
from chaos.postgres_outages import KINDS, found, running_tasks
from chaos.report import Row
from chaos.test_killed_producers import TOGETHER, kill_in_the_middle_of, too_many
from chaos.witness import Fuse

from stem_core.testing.faults.checker import Findings, complaints, resumptions_ms, too_late
from stem_core.testing.faults.history import What
from stem_postgres import PostgresBroker

# ── producers ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("together", [1, TOGETHER])
def test_what_an_enqueue_confirmed_outlives_its_producer(arena_of, scale, prove, together):
    with arena_of(f"B1 postgres {together}", PostgresArena) as arena:
        for _ in range(scale.trials):
            kill_in_the_middle_of(arena, Plan(ENDLESS, together))
        found, stored = arena.judge(), arena.stored()
    how = "enqueues" if together == 1 else f"enqueue_many of {TOGETHER}"
    prove(
        Row(
            id=f"B1-{'single' if together == 1 else 'many'}-postgres",
            fault=f"SIGKILL of a producer up to 100 ms into a loop of {how}",
            broker=arena.broker,
            trials=scale.trials,
            found=found,
            bound=f"unconfirmed calls in the store ≤ {scale.trials}, each whole: "
            f"{(stored - found.accepted) // together}",
            complaints=tuple(complaints(found) + too_many(stored, found, scale.trials, together)),
        )
    )


def test_a_kill_inside_a_publish_leaves_the_whole_call_or_nothing(arena_of, scale, prove):
    with arena_of("E3 publish postgres", PostgresArena) as arena:
        for _ in range(scale.trials):
            after_us = arena.dice.randint(1, 5_000)
            fuse = Fuse("publish", arena.dice.randint(1, 10), after_us, signal.SIGKILL)
            producer = arena.producer(Plan(ENDLESS, TOGETHER), fuse=fuse)
            assert producer.wait(60) == -signal.SIGKILL
        found, stored = arena.judge(), arena.stored()
    prove(
        Row(
            id="E3-publish-postgres",
            fault=f"SIGKILL of a producer up to 5 ms into a publish of {TOGETHER}",
            broker=arena.broker,
            trials=scale.trials,
            found=found,
            bound=f"unconfirmed calls in the store ≤ {scale.trials}, each whole: "
            f"{(stored - found.accepted) // TOGETHER}",
            complaints=tuple(complaints(found) + too_many(stored, found, scale.trials, TOGETHER)),
        )
    )


# ── connections ──────────────────────────────────────────────────────────────

MOST, USUAL = 6, 4
"""Of one worker process, as the documentation says: as many as it may have, and as it has."""


def test_a_worker_process_holds_few_connections(arena_of):
    with arena_of("connections", PostgresArena) as arena:
        arena.ready_worker(concurrency=100)
        arena.wait_until(lambda: found(arena, KINDS["listen"]), "listener")
        idle = max(held(arena) for _ in range(20))
        with running_tasks(arena):
            ids = set(arena.enqueue([{"pause_ms": 20}] * 1_000))
            busy = [
                *held_until(arena, lambda: found(arena, KINDS["beat"]), "beat"),
                *held_until(arena, lambda: ids <= arena.ledger.ended(), "end of most"),
            ]
        arena.wait_for_ends()
    assert max(idle, *busy) <= MOST
    assert min(busy) <= USUAL


def held_until(arena: PostgresArena, is_so: Callable[[], object], what: str) -> list[int]:
    """Count the connections of Stem again and again, until *is_so*."""
    counts: list[int] = []

    def look() -> object:
        counts.append(held(arena))
        return is_so()

    arena.wait_until(look, what)
    return counts


def held(arena: PostgresArena) -> int:
    """Count the connections of the worker, and not of who enqueued."""
    mine = (
        "SELECT pid FROM pg_stat_activity "
        "WHERE application_name LIKE 'stem%' AND query NOT LIKE '%.publish%'"
    )
    return len(arena.do(mine))


EXAMPLE = Path(__file__).parents[2] / "examples" / "transactional.py"


def test_an_order_and_its_task_are_both_there_however_their_seller_is_killed(
    arena_of, scale, prove
):
    trials = 10 * scale.trials if scale.is_long else scale.trials
    with arena_of("B5", PostgresArena) as arena:
        done = subprocess.run(
            [
                *(sys.executable, str(EXAMPLE), arena.server.url),
                *("--trials", str(trials), "--seed", str(scale.seed)),
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert re.match(r"\d+ sellers killed: ", done.stdout), "nothing was tried"
    killed, orders, undone, lacking, surplus = map(int, re.findall(r"\d+", done.stdout))
    told = [f"{killed} of {trials} killed"] * (killed != trials)
    told += [f"{lacking} orders without a task"] * bool(lacking)
    told += [f"{surplus} tasks without an order"] * bool(surplus)
    told += [f"{orders} orders of {killed} sellers"] * (orders < killed)
    told += ["no kill has hit an open transaction"] * (scale.is_long and not undone)
    prove(
        Row(
            id="B5-postgres",
            fault="SIGKILL of a seller up to 100 ms into a loop of an order and its task in "
            "one transaction",
            broker=arena.broker,
            trials=killed,
            found=Findings(accepted=orders, lost=("an order without its task",) * lacking),
            bound=f"tasks without an order 0; {undone} orders were undone by a kill",
            complaints=tuple(told),
        )
    )


# ── a full disk ──────────────────────────────────────────────────────────────

FULL_S = (2.0, 1.0)
DISK_MB = 16
_PAGE = b"\0" * 8192


@contextlib.contextmanager
def small_disk() -> Iterator[Path | None]:
    """A disk of its own with little room; None where this user may not mount one."""
    folder = Path(tempfile.mkdtemp(prefix="small-disk-"))
    size = f"size={DISK_MB}m,mode=777".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    is_there = libc.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, size) == 0
    try:
        yield folder if is_there else None
    finally:
        if is_there:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def move_messages_to(arena: PostgresArena, disk: Path) -> None:
    """Keep the messages and their indexes on *disk*."""
    place = disk / "tables"
    place.mkdir()
    arena.server.program.runner.take(place)
    arena.do(f"CREATE TABLESPACE small LOCATION '{place}'")
    indexes = "SELECT indexname FROM pg_indexes WHERE schemaname = 'stem' AND tablename = 'message'"
    arena.do("ALTER TABLE stem.message SET TABLESPACE small")
    for (name,) in arena.do(indexes):
        arena.do(f"ALTER INDEX stem.{name} SET TABLESPACE small")


@contextlib.contextmanager
def fill(arena: PostgresArena, disk: Path | None) -> Iterator[None]:
    """Let there be no room for a message; without a disk of our own, let the server say so."""
    if disk is None:
        arena.do(
            "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$",
            "CREATE TRIGGER no_room BEFORE INSERT ON stem.message "
            "FOR EACH STATEMENT EXECUTE FUNCTION no_room()",
        )
        yield
        arena.do("DROP TRIGGER no_room ON stem.message")
        return
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(_PAGE):
            pass
    yield
    ballast.unlink()


def test_a_full_disk_refuses_producers_and_loses_nothing(arena_of, scale, prove):
    seconds = FULL_S[not scale.is_long]
    with small_disk() as disk, arena_of("D11", PostgresArena) as arena:
        if disk is not None:
            move_messages_to(arena, disk)
        worker = arena.ready_worker()
        feeder = arena.producer(Plan(ENDLESS, pace=200, pauses_ms=(0, 20, 100)))
        for _ in range(scale.rounds):
            before = len(arena.accepted())
            arena.wait_until(lambda: len(arena.accepted()) > before + 50, "work under way")  # noqa: B023
            with fill(arena, disk), away(arena):
                arena.wait_until(lambda: refusals(arena) > 0, "refusal of an enqueue")
                time.sleep(seconds)
            arena.wait_for_takers({worker.pid})
        refused = refusals(arena)
        feeder.kill()
        arena.wait_for_ends()
        codes = arena.drain([worker])
        found = arena.judge()
        times = tuple(resumptions_ms(arena.history(), [worker.pid]))
    told = complaints(found, unconfirmed=1) + too_late(times, 3_000 * scale.slack, "resumption")
    told += [f"exit codes {codes}"] if any(codes) else []
    how = f"a disk of {DISK_MB} MB" if disk else "by the server's word"
    prove(
        Row(
            id="D11",
            fault=f"no room for messages ({how}) for {seconds:g} s and more, under load",
            broker=arena.broker,
            trials=scale.rounds,
            found=found,
            times_ms=times,
            timed="its return to the next fetch of the worker",
            bound=f"started twice ≤ IN_FLIGHT in flight; fetching again ≤ 3,000 ms; {refused} "
            "enqueues were refused, each of them told",
            complaints=tuple(told),
        )
    )


def refusals(arena: PostgresArena) -> int:
    """Count the enqueues that were told of a full server."""
    said = [event.detail for event in arena.history().only(What.TROUBLE)]
    return sum("full" in each or "did not answer" in each for each in said)


# ── a snapshot that stays open ───────────────────────────────────────────────

_LOOKS = 200
_FACTOR = 5
"""What a look may take of what one took before, at the median and at the 99th percentile."""

_QUICK_MS = 10.0
"""What it may take anyhow: past 20,000 that have ended it would be more than 20."""


def test_a_snapshot_that_stays_open_slows_no_claim_and_loses_nothing(arena_of, scale, prove):
    tasks = 200_000 if scale.is_long else 20_000
    with arena_of("D13", PostgresArena) as arena:
        before_ms = asyncio.run(looks(arena.url))
        with psycopg.connect(arena.server.url) as person:
            person.execute("SET default_transaction_isolation = 'repeatable read'")
            person.commit()
            person.execute("SELECT count(*) FROM stem.message")
            workers = arena.ready_workers(2)
            arena.producer(Plan(tasks, together=500))
            arena.wait_until(lambda: len(arena.accepted()) == tasks, "end of the enqueues", 900)
            arena.wait_for_ends(900)
            codes = arena.drain(workers)
            held_ms = asyncio.run(looks(arena.url))
            person.rollback()
        found = arena.judge()
    told = complaints(found) + ([f"exit codes {codes}"] if any(codes) else [])
    told += too_slow(before_ms, held_ms, scale.is_long)
    prove(
        Row(
            id="D13",
            fault=f"a snapshot stays open while {tasks:,} tasks come and go",
            broker=arena.broker,
            trials=1,
            found=found,
            times_ms=tuple(held_ms),
            timed="a look for work, past all that has ended under it",
            bound=f"started twice ≤ IN_FLIGHT in flight; a look ≤ {_FACTOR} × what it took before, "
            f"in the middle and at the 99th percentile: {middle_and_high(before_ms)} ms",
            complaints=tuple(told),
        )
    )


def middle_and_high(times_ms: list[float]) -> str:
    cuts = statistics.quantiles(times_ms, n=100)
    return f"{cuts[49]:.1f} / {cuts[98]:.1f}"


def too_slow(before_ms: list[float], held_ms: list[float], is_long: bool) -> list[str]:
    before, held = (statistics.quantiles(each, n=100) for each in (before_ms, held_ms))
    # A few looks of any run are late for want of a processor: their number decides in long ones.
    places = (49, 98) if is_long else (49,)
    if all(held[n] <= max(_FACTOR * before[n], _QUICK_MS) for n in places):
        return []
    was, is_now = middle_and_high(before_ms), middle_and_high(held_ms)
    return [f"looks took {is_now} ms, and {was} ms before"]


async def looks(url: str) -> list[float]:
    """Return how long looks for work take where none is left, ms; of a handle that has looked."""
    broker = await PostgresBroker.connect(url)
    for _ in range(_LOOKS):
        await broker.fetch(["default"], limit=10, wait_ms=0, worker="w")
        await asyncio.sleep(0.02)
    found = []
    for _ in range(_LOOKS):
        began = time.perf_counter()
        assert not await broker.fetch(["default"], limit=10, wait_ms=0, worker="w")
        found.append((time.perf_counter() - began) * 1000)
    await broker.aclose()
    return found
