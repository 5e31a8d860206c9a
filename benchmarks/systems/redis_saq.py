"""SAQ: a blocking list move to the list of what is running."""

from __future__ import annotations

import logging
from typing import Any

import redis_tally as tally
import uvloop
from measure import ARGS
from saq import Queue, Worker

logging.disable(logging.CRITICAL)
CUSTOMER, AMOUNT = ARGS
queue = Queue.from_url(tally.URL)
KEEP_S = {"one": 600}


async def nothing(context: Any, *, customer: str, amount: int) -> None:
    """Do nothing."""
    tally.count()


async def one(context: Any, *, customer: str, amount: int) -> int:
    """Return a value, which is stored."""
    tally.count()
    return 1


async def mark(context: Any, *, customer: str, amount: int) -> None:
    """Tell when it started."""
    tally.mark()


async def open() -> None:
    await queue.connect()


async def enqueue(name: str, count: int) -> None:
    keep_s = KEEP_S.get(name, -1)
    for _ in range(count):
        await queue.enqueue(name, customer=CUSTOMER, amount=AMOUNT, ttl=keep_s)


async def close() -> None:
    await queue.disconnect()


def serve() -> None:
    worker = Worker(queue, functions=[nothing, one, mark], concurrency=10)
    uvloop.run(worker.start())
