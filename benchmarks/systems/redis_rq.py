"""RQ: enqueue_many, and SimpleWorker, which runs tasks in its own process instead of forking."""

from __future__ import annotations

import logging

import redis_tally as tally
from measure import ARGS
from redis import Redis
from rq import Queue, SimpleWorker

logging.disable(logging.CRITICAL)
queue = Queue("bench", connection=Redis.from_url(tally.URL))
KEEP_S = {"one": 500}


def nothing(customer: str, amount: int) -> None:
    """Do nothing."""
    tally.count()


def one(customer: str, amount: int) -> int:
    """Return a value, which is stored."""
    tally.count()
    return 1


def mark(customer: str, amount: int) -> None:
    """Tell when it started."""
    tally.mark()


TASKS = {"nothing": nothing, "one": one, "mark": mark}


async def open() -> None:
    """It connects by itself."""


async def enqueue(name: str, count: int) -> None:
    task, keep_s = TASKS[name], KEEP_S.get(name, 0)
    for _ in range(count):
        queue.enqueue(task, args=ARGS, result_ttl=keep_s)


async def enqueue_many(name: str, count: int) -> None:
    task, keep_s = TASKS[name], KEEP_S.get(name, 0)
    queue.enqueue_many(
        [Queue.prepare_data(task, args=ARGS, result_ttl=keep_s) for _ in range(count)]
    )


async def close() -> None:
    """Nothing to do."""


def serve() -> None:
    SimpleWorker([queue]).work(logging_level="CRITICAL")
