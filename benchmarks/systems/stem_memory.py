"""Stem on memory://, the whole path: check, encode, seal, lease, verify, decode, fence, settle."""

from __future__ import annotations

import asyncio
import logging
import time

from measure import ARGS, Figures, arguments

from stem_core import Stem, Worker

logging.disable(logging.CRITICAL)
stem = Stem(broker="memory://", backend="memory://")
started_at = 0.0
started = asyncio.Event()
left = 0
done = asyncio.Event()


@stem.task(name="bench.nothing", ignore_result=True)
async def nothing(customer: str, amount: int) -> None:
    """Count down."""
    count_down()


@stem.task(name="bench.one")
async def one(customer: str, amount: int) -> int:
    """Count down, and return a value, which is stored in the settling step."""
    count_down()
    return 1


@stem.task(name="bench.mark")
async def mark(customer: str, amount: int) -> None:
    """Note when it started."""
    global started_at
    started_at = time.perf_counter()
    started.set()


def count_down() -> None:
    global left
    left -= 1
    if not left:
        done.set()


async def drain(count: int) -> None:
    """Start a worker and return when all has run and is settled."""
    global left
    left = count
    done.clear()
    async with Worker(stem, concurrency=100):
        await done.wait()


async def throughput(count: int) -> None:
    figures = Figures()
    with figures.rate("enqueue_per_s", count):
        for _ in range(count):
            await nothing.enqueue(*ARGS)
    with figures.rate("drain_per_s", count):
        await drain(count)
    with figures.rate("enqueue_many_per_s", count):
        await stem.enqueue_many([one.call(*ARGS) for _ in range(count)])
    with figures.rate("drain_results_per_s", count):
        await drain(count)
    figures.show()


async def latency(count: int) -> None:
    seconds = []
    async with Worker(stem, concurrency=10):
        for _ in range(count):
            started.clear()
            await asyncio.sleep(0.005)
            asked = time.perf_counter()
            await mark.enqueue(*ARGS)
            await started.wait()
            seconds.append(started_at - asked)
    figures = Figures()
    figures.latency(seconds)
    figures.show()


if __name__ == "__main__":
    phase, count = arguments()
    asyncio.run({"throughput": throughput, "latency": latency}[phase](count))
