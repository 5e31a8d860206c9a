"""Stem over Redis: the whole path, with leases, fences, and the result in the settling step."""

from __future__ import annotations

import asyncio
import logging
from types import ModuleType

import redis_tally as tally
from measure import ARGS, Figures
from redis.asyncio import Redis

from stem_core import Stem, Worker
from stem_core.plugin import StoreFull

logging.disable(logging.CRITICAL)
CONCURRENCY = 1_000
MANY = 10_000
LATER = 3_600
SETTLED_S = 3
WATCHED_S = 20
SENT_BY_CLIENTS = (
    *("evalsha", "eval", "xread", "ping", "info", "hello", "client|setname", "select"),
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
            left = sum(
                [await server.exists(key) for key in ("{stem}:q:default", "{stem}:l:default")]
            )
    figures = Figures()
    figures.values = {"full_accepted": accepted, "full_left": left}
    return figures


PHASES = {"idle": idle, "full": full}
