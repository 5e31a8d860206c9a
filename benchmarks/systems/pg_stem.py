"""Stem over Postgres: the whole path, with leases, fences, and the result in the settling step."""

from __future__ import annotations

import asyncio
import logging
import os
import statistics
import sys
import time
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from types import ModuleType
from uuid import uuid4

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

CROWD, LISTENERS = 64, 1
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
    """Let many enqueue at once, one message a call, while workers wait for that very queue.

    With notifications on and off, on Stem's connections and in transactions of the caller's. The
    workers are real: each listens, takes what it is woken for, ends it and waits again.
    """
    rates = defaultdict[str, list[float]](list)
    told = 0
    for turn, name in enumerate(("told", "untold", "untold", "told")):
        notify = "on" if name == "told" else "off"
        url, namespace = f"{tally.URL}?notify={notify}", f"crowd-{turn}"
        brokers = [await PostgresBroker.connect(url, namespace=namespace) for _ in range(CROWD)]
        async with _listeners(url, brokers[0]) as heard:
            rates[f"crowd_{name}_per_s"].append(await _crowd_per_s(brokers, count // 2, _alone))
            in_one = await _crowd_per_s(brokers, count // 2, _in_transactions)
            rates[f"crowd_in_{name}_per_s"].append(in_one)
        told += len(heard)
        for broker in brokers:
            await broker.aclose()
    figures = Figures()
    figures.values = {name: statistics.mean(each) for name, each in rates.items()}
    figures.values["crowd_heard"] = told
    return figures


Enqueue = Callable[[PostgresBroker, Iterator[Message]], Awaitable[None]]


async def _crowd_per_s(brokers: list[PostgresBroker], count: int, enqueue: Enqueue) -> float:
    def some() -> Iterator[Message]:
        for _ in range(count // CROWD):
            yield Message(id=str(uuid4()), queue="q", task="t", body=b"1")

    started = time.perf_counter()
    await asyncio.gather(*[enqueue(broker, some()) for broker in brokers])
    return count // CROWD * CROWD / (time.perf_counter() - started)


async def _alone(broker: PostgresBroker, messages: Iterator[Message]) -> None:
    for message in messages:
        await broker.publish([message])


async def _in_transactions(broker: PostgresBroker, messages: Iterator[Message]) -> None:
    async with await psycopg.AsyncConnection.connect(tally.URL) as connection:
        for message in messages:
            await broker.publish_in(connection, [message])
            await connection.commit()


@asynccontextmanager
async def _listeners(url: str, broker: PostgresBroker) -> AsyncIterator[list[str]]:
    """Let workers in processes of their own wait; give what is told meanwhile."""
    store = broker.store
    heard: list[str] = []
    command = [sys.executable, __file__, url, store.namespace]
    workers = [await create_subprocess_exec(*command, stdout=PIPE) for _ in range(LISTENERS)]
    for worker in workers:
        assert worker.stdout is not None
        await worker.stdout.readline()
    async with await psycopg.AsyncConnection.connect(tally.URL, autocommit=True) as ear:
        ear.add_notify_handler(lambda told: heard.append(told.payload))
        await ear.execute(f'LISTEN "{store.channel}"'.encode())
        try:
            yield heard
            await ear.execute("SELECT 1")
        finally:
            for worker in workers:
                worker.kill()
                await worker.wait()


async def _wait_for_work(url: str, namespace: str) -> None:
    broker = await PostgresBroker.connect(url, namespace=namespace)
    print("ready", flush=True)
    while True:
        taken = await broker.fetch(["q"], limit=TAKEN, wait_ms=1_000, worker=f"w{os.getpid()}")
        await broker.settle([Settlement(receipt=each.receipt) for each in taken])


PHASES = {"claim": claim, "crowd": crowd}

if __name__ == "__main__":
    asyncio.run(_wait_for_work(*sys.argv[1:]))
