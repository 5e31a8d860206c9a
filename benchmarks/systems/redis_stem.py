"""Stem over Redis: the whole path, with leases, fences, and the result in the settling step."""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from datetime import UTC, datetime
from types import ModuleType

import redis_tally as tally
from measure import ARGS, Figures
from redis.asyncio import Redis

from stem_core import Stem, Worker
from stem_core.plugin import StoreFull
from stem_core.producer.tasks import Call

logging.disable(logging.CRITICAL)
CONCURRENCY = 1_000
MANY = 10_000
LATER = 3_600
SETTLED_S = 3
WATCHED_S = 20
LEAD_S = 15
"""From the first enqueue to the moment at which all of many are due."""

SOON_S = 0.2
OF_WORK = ("{stem}:q:default", "{stem}:d:default", "{stem}:l:default")
SENT_BY_CLIENTS = (
    *("evalsha", "eval", "xread", "client|unblock", "client|id", "client|setname", "select"),
    *("ping", "info", "hello"),
    *("subscribe", "unsubscribe", "config|get"),
)
"""Commands that Stem's scripts never call: what the worker itself sends, and our own INFO."""

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


async def idle(system: ModuleType, count: int) -> Figures:
    """See what a worker without work sends while *count* tasks wait for their time."""
    from redis_bench import worker

    later = nothing.using(delay=LATER)
    for _ in range(count // MANY):
        await stem.enqueue_many([later.call(*ARGS) for _ in range(MANY)])
    async with Redis.from_url(tally.URL) as server, worker(system.__name__):
        await asyncio.sleep(SETTLED_S)
        before = await _sent_by_clients(server)
        await asyncio.sleep(WATCHED_S)
        sent = await _sent_by_clients(server) - before
        used = (await server.info("memory"))["used_memory"]
    figures = Figures()
    figures.values = {
        "idle_commands_per_s": (sent - 1) / WATCHED_S,
        "bytes_per_delayed": used / count,
    }
    return figures


async def _sent_by_clients(server: Redis) -> int:
    stats = await server.info("commandstats")
    return sum(stats.get(f"cmdstat_{command}", {}).get("calls", 0) for command in SENT_BY_CLIENTS)


async def full(system: ModuleType, count: int) -> Figures:
    """Fill the server until it refuses work, then see a worker settle all of it with results."""
    from redis_bench import worker

    async with Redis.from_url(tally.URL) as server:
        used = (await server.info("memory"))["used_memory"]
        await server.config_set("maxmemory", used + count * 1024)
        accepted = 0
        try:
            while True:
                await one.enqueue(*ARGS)
                accepted += 1
        except StoreFull:
            pass
        async with worker(system.__name__, accepted) as process:
            await process.told()
            await asyncio.sleep(SETTLED_S)
            left = await server.exists(*OF_WORK)
    figures = Figures()
    figures.values = {"full_accepted": accepted, "full_left": left}
    return figures


async def due(system: ModuleType, count: int) -> Figures:
    """Let *count* tasks be due at one moment; see how long after it all of them are settled."""
    from redis_bench import worker

    async with Redis.from_url(tally.URL) as server, worker(system.__name__, count) as process:
        moment = time.time() + LEAD_S
        for _ in range(count // MANY):
            await stem.enqueue_many([at(moment, "nothing") for _ in range(MANY)])
        if time.time() > moment - SETTLED_S:
            raise RuntimeError("they were not enqueued in time")
        await process.told()
        await _without_work(server)
        took_s = time.time() - moment
    figures = Figures()
    figures.values = {"due_at_once_s": took_s}
    return figures


async def _without_work(server: Redis) -> None:
    while True:
        if not await server.exists(*OF_WORK):
            return
        await asyncio.sleep(0.005)


async def late(system: ModuleType, count: int) -> Figures:
    """See how long after its time each of *count* delayed tasks starts, when nothing else is."""
    from redis_bench import worker

    late_ms = []
    async with worker(system.__name__) as process:
        await enqueue("mark", 1)
        await process.told()
        for number in range(count):
            moment = time.time() + SOON_S + number % 10 / 100
            since_boot = moment - time.time() + time.monotonic()
            await stem.enqueue_many([at(moment, "mark")])
            (started,) = await process.told()
            late_ms.append((started - since_boot) * 1000)
    cuts = statistics.quantiles(late_ms, n=100)
    figures = Figures()
    figures.values = {"late_p50_ms": cuts[49], "late_p99_ms": cuts[98]}
    return figures


def at(moment: float, name: str) -> Call[None]:
    """Return a call that is not to start before *moment*."""
    return TASKS[name].using(not_before=datetime.fromtimestamp(moment, UTC)).call(*ARGS)


PHASES = {"idle": idle, "full": full, "due": due, "late": late}
