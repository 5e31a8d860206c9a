"""Stem over Postgres: the whole path, with leases, fences, and the result in the settling step."""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from types import ModuleType

import psycopg
import redis_tally as tally
from measure import ARGS, Figures

from stem_core import Stem, Worker
from stem_core.plugin import Message, Settlement, StemURL, TlsConfig
from stem_postgres.broker import PostgresBroker
from stem_postgres.location import location_of
from stem_postgres.migrating import migrate
from stem_postgres.options import PostgresOptions

logging.disable(logging.CRITICAL)
CONCURRENCY = 1_000
FEW, TAKEN, LOOKS = 10_000, 50, 40
"""What waits at first, how many one claim takes, and how often."""

CROWD = 64
BATCH = 500
stem = Stem(broker=tally.URL, backend=tally.URL)


@stem.task(name="bench.nothing", ignore_result=True)
async def nothing(customer: str, amount: int) -> None:
    """Do nothing."""
    tally.count()


@stem.task(name="bench.one")
async def one(customer: str, amount: int) -> int:
    """Return a value, which is stored."""
    tally.count()
    return 1


@stem.task(name="bench.mark", ignore_result=True)
async def mark(customer: str, amount: int) -> None:
    """Tell when it started."""
    tally.mark()


TASKS = {"nothing": nothing, "one": one, "mark": mark}


async def open() -> None:
    url = StemURL.parse(tally.URL)
    await migrate(location_of(url, PostgresOptions(), TlsConfig()))
    await stem.__aenter__()


async def enqueue(name: str, count: int) -> None:
    task = TASKS[name]
    for _ in range(count):
        await task.enqueue(*ARGS)


async def enqueue_many(name: str, count: int) -> None:
    task = TASKS[name]
    await stem.enqueue_many([task.call(*ARGS) for _ in range(count)])


async def close() -> None:
    await stem.aclose()


async def _work() -> None:
    async with stem:
        worker = Worker(stem, concurrency=CONCURRENCY)
        await worker.start()
        worker.install_signals()
        await worker.ended()


def serve() -> None:
    asyncio.run(_work())


# ── what is asked of Stem alone ──────────────────────────────────────────────


async def claim(system: ModuleType, count: int) -> Figures:
    """Time claims of some tasks while ten thousand wait, and then while *count* do."""
    broker = await PostgresBroker.connect(tally.URL, namespace="claim")
    figures = Figures()
    for name, first, last in (("claim_few_ms", 0, FEW), ("claim_many_ms", FEW, count)):
        await _fill(broker, first, last)
        await _written_out()
        figures.values[name] = await _claim_ms(broker)
    await broker.aclose()
    return figures


async def _fill(broker: PostgresBroker, first: int, count: int) -> None:
    for start in range(first, count, BATCH):
        ids = [f"019f0000-0000-7000-8000-{n:012d}" for n in range(start, start + BATCH)]
        await broker.publish([Message(id=id, queue="q", task="t", body=b"x" * 200) for id in ids])


async def _written_out() -> None:
    """Let the server finish with what was filled in: its disk is busy with that for a while."""
    async with await psycopg.AsyncConnection.connect(tally.URL, autocommit=True) as somebody:
        await somebody.execute("VACUUM ANALYZE stem.message")
        await somebody.execute("CHECKPOINT")


async def _claim_ms(broker: PostgresBroker) -> float:
    seconds = []
    for _ in range(LOOKS):
        started = time.perf_counter()
        taken = await broker.fetch(["q"], limit=TAKEN, wait_ms=0, worker="w")
        seconds.append(time.perf_counter() - started)
        await broker.settle([Settlement(receipt=each.receipt) for each in taken])
    return statistics.median(seconds) * 1000


async def crowd(system: ModuleType, count: int) -> Figures:
    """Let many enqueue at once, one message a call: while nobody waits, and while all is told."""
    figures = Figures()
    brokers = [await PostgresBroker.connect(tally.URL, namespace="crowd") for _ in range(CROWD)]
    figures.values["crowd_per_s"] = await _crowd_per_s(brokers, count, "a")
    sleeper = asyncio.create_task(_keep_waiting(brokers[0].store.ns))
    figures.values["crowd_told_per_s"] = await _crowd_per_s(brokers, count, "b")
    sleeper.cancel()
    for broker in brokers:
        await broker.aclose()
    return figures


async def _crowd_per_s(brokers: list[PostgresBroker], count: int, mark: str) -> float:
    async def enqueue(broker: PostgresBroker, who: int) -> None:
        for n in range(count // CROWD):
            await broker.publish([Message(id=f"{mark}-{who}-{n}", queue="q", task="t", body=b"1")])

    started = time.perf_counter()
    await asyncio.gather(*[enqueue(broker, who) for who, broker in enumerate(brokers)])
    return count // CROWD * CROWD / (time.perf_counter() - started)


async def _keep_waiting(ns: int) -> None:
    """Leave the note of a waiting worker anew, a hundred times a second."""
    note = "INSERT INTO stem.sleeper VALUES (%s, %s, 'q') ON CONFLICT DO NOTHING"
    async with await psycopg.AsyncConnection.connect(tally.URL, autocommit=True) as somebody:
        while True:
            await somebody.execute(note, (ns, 1 << 62))
            await asyncio.sleep(0.01)


PHASES = {"claim": claim, "crowd": crowd}
