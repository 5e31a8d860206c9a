"""huey's RedisHuey: a list and a blocking pop; threads in one process."""

from __future__ import annotations

import logging

import redis_tally as tally
from huey import RedisHuey
from measure import ARGS

logging.disable(logging.CRITICAL)
huey = RedisHuey("bench", url=tally.URL, results=True, store_none=False, blocking=True)


@huey.task()
def nothing(customer: str, amount: int) -> None:
    """Return None, so that no result is stored."""
    tally.count()


@huey.task()
def one(customer: str, amount: int) -> int:
    """Return a value, which is stored."""
    tally.count()
    return 1


@huey.task()
def mark(customer: str, amount: int) -> None:
    """Tell when it started."""
    tally.mark()


TASKS = {"nothing": nothing, "one": one, "mark": mark}


async def open() -> None:
    """It connects by itself."""


async def enqueue(name: str, count: int) -> None:
    task = TASKS[name]
    for _ in range(count):
        task(*ARGS)


async def close() -> None:
    """Nothing to do."""


def serve() -> None:
    huey.create_consumer(workers=1, periodic=False, check_worker_health=False).run()
