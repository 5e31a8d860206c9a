"""taskiq's RedisStreamBroker: acknowledged after the run, its result saved apart; uvloop."""

from __future__ import annotations

import logging
import os

import redis_tally as tally
import uvloop
from measure import ARGS
from taskiq.api import run_receiver_task
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

logging.disable(logging.CRITICAL)
run = uvloop.run
plain = RedisStreamBroker(tally.URL, queue_name="plain", consumer_id="0")
keeping = RedisStreamBroker(tally.URL, queue_name="keeping", consumer_id="0").with_result_backend(
    RedisAsyncResultBackend(tally.URL, result_ex_time=600)
)


@plain.task
async def nothing(customer: str, amount: int) -> None:
    """Do nothing."""
    tally.count()


@keeping.task
async def one(customer: str, amount: int) -> int:
    """Return a value, which is stored."""
    tally.count()
    return 1


@plain.task
async def mark(customer: str, amount: int) -> None:
    """Tell when it started."""
    tally.mark()


TASKS = {"nothing": nothing, "one": one, "mark": mark}


async def open() -> None:
    await plain.startup()
    await keeping.startup()


async def enqueue(name: str, count: int) -> None:
    task = TASKS[name]
    for _ in range(count):
        await task.kiq(*ARGS)


async def close() -> None:
    await plain.shutdown()
    await keeping.shutdown()


async def _work() -> None:
    import asyncio

    os.environ.setdefault("TASKIQ_WORKER", "1")
    async with asyncio.TaskGroup() as group:
        for broker in (plain, keeping):
            broker.is_worker_process = True
            group.create_task(
                run_receiver_task(
                    broker, max_async_tasks=100, max_prefetch=100, run_startup=True,
                    validate_params=False,
                )
            )  # fmt: skip


def serve() -> None:
    uvloop.run(_work())
