"""Celery over Redis: its solo pool, the fastest for such tasks, set as its guide advises."""

from __future__ import annotations

import logging

import redis_tally as tally
from celery import Celery
from measure import ARGS

logging.disable(logging.CRITICAL)
app = Celery("bench", broker=tally.URL, backend=tally.URL)
app.conf.update(
    broker_pool_limit=1,
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=128,
    worker_redirect_stdouts=False,
    task_ignore_result=True,
)


@app.task
def nothing(customer: str, amount: int) -> None:
    """Do nothing."""
    tally.count()


@app.task(ignore_result=False)
def one(customer: str, amount: int) -> int:
    """Return a value, which is stored."""
    tally.count()
    return 1


@app.task
def mark(customer: str, amount: int) -> None:
    """Tell when it started."""
    tally.mark()


TASKS = {"nothing": nothing, "one": one, "mark": mark}


async def open() -> None:
    """It connects by itself."""


async def enqueue(name: str, count: int) -> None:
    task = TASKS[name]
    for _ in range(count):
        task.delay(*ARGS)


async def close() -> None:
    app.close()


def serve() -> None:
    app.worker_main(
        ["worker", "--pool=solo", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    )
