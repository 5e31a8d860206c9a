"""dramatiq's RedisBroker: acknowledged after the run; threads in one process."""

from __future__ import annotations

import logging
import os
import threading

os.environ["dramatiq_queue_prefetch"] = "512"  # noqa: SIM112 - its name; read at the import

import dramatiq
import redis_tally as tally
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends.redis import RedisBackend
from measure import ARGS

logging.disable(logging.CRITICAL)
broker = RedisBroker(url=tally.URL)
broker.add_middleware(Results(backend=RedisBackend(url=tally.URL)))
dramatiq.set_broker(broker)


@dramatiq.actor
def nothing(customer: str, amount: int) -> None:
    """Do nothing."""
    tally.count()


@dramatiq.actor(store_results=True)
def one(customer: str, amount: int) -> int:
    """Return a value, which is stored."""
    tally.count()
    return 1


@dramatiq.actor
def mark(customer: str, amount: int) -> None:
    """Tell when it started."""
    tally.mark()


TASKS = {"nothing": nothing, "one": one, "mark": mark}


async def open() -> None:
    """It connects by itself."""


async def enqueue(name: str, count: int) -> None:
    task = TASKS[name]
    for _ in range(count):
        task.send(*ARGS)


async def close() -> None:
    broker.close()


def serve() -> None:
    dramatiq.Worker(broker, worker_threads=2).start()
    threading.Event().wait()
