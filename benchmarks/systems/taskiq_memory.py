"""taskiq's InMemoryBroker: a call becomes an asyncio task at once; nothing waits in a queue."""

from __future__ import annotations

import asyncio
import logging
import time

from measure import ARGS, Figures, arguments
from taskiq import InMemoryBroker

logging.disable(logging.CRITICAL)
broker = InMemoryBroker(max_async_tasks=100, max_stored_results=-1)
started_at = 0.0
started = asyncio.Event()


@broker.task
async def nothing(customer: str, amount: int) -> None:
    """Do nothing."""


@broker.task
async def one(customer: str, amount: int) -> int:
    """Return a value, which is stored."""
    return 1


@broker.task
async def mark(customer: str, amount: int) -> None:
    """Note when it started."""
    global started_at
    started_at = time.perf_counter()
    started.set()


async def throughput(count: int) -> None:
    figures = Figures()
    with figures.rate("enqueue_per_s", count):
        for _ in range(count):
            await nothing.kiq(*ARGS)
    with figures.rate("drain_per_s", count):
        await broker.wait_all()
    for _ in range(count):
        await one.kiq(*ARGS)
    with figures.rate("drain_results_per_s", count):
        await broker.wait_all()
    figures.show()


async def latency(count: int) -> None:
    seconds = []
    for _ in range(count):
        started.clear()
        await asyncio.sleep(0.005)
        asked = time.perf_counter()
        await mark.kiq(*ARGS)
        await started.wait()
        seconds.append(started_at - asked)
    figures = Figures()
    figures.latency(seconds)
    figures.show()


if __name__ == "__main__":
    phase, count = arguments()
    asyncio.run({"throughput": throughput, "latency": latency}[phase](count))
