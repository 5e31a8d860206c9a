"""streaq: streams, acknowledged with the result in one step; its batch call; uvloop."""

from __future__ import annotations

import logging

import redis_tally as tally
from measure import ARGS
from streaq import Worker

logging.disable(logging.CRITICAL)
worker = Worker(
    redis_url=tally.URL, concurrency=100, prefetch=100, anyio_kwargs={"use_uvloop": True}
)


@worker.task(ttl=0, silent=True)
async def nothing(customer: str, amount: int) -> None:
    """Do nothing."""
    tally.count()


@worker.task(silent=True)
async def one(customer: str, amount: int) -> int:
    """Return a value, which is stored."""
    tally.count()
    return 1


@worker.task(ttl=0, silent=True)
async def mark(customer: str, amount: int) -> None:
    """Tell when it started."""
    tally.mark()


TASKS = {"nothing": nothing, "one": one, "mark": mark}


async def open() -> None:
    await worker.__aenter__()


async def enqueue(name: str, count: int) -> None:
    task = TASKS[name]
    for _ in range(count):
        await task.enqueue(*ARGS)


async def enqueue_many(name: str, count: int) -> None:
    task = TASKS[name]
    await worker.enqueue_many([task.enqueue(*ARGS) for _ in range(count)])


async def close() -> None:
    await worker.__aexit__(None, None, None)


def serve() -> None:
    worker.run_sync()
