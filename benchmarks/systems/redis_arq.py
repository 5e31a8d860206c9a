"""arq: a sorted set that is polled; looked at every 10 ms, for half a second is its default."""

from __future__ import annotations

import logging
from typing import Any

import redis_tally as tally
import uvloop
from arq import Worker, create_pool, func
from arq.connections import ArqRedis, RedisSettings
from measure import ARGS

logging.disable(logging.CRITICAL)
settings = RedisSettings.from_dsn(tally.URL)
pool: ArqRedis


async def nothing(context: Any, customer: str, amount: int) -> None:
    """Do nothing."""
    tally.count()


async def one(context: Any, customer: str, amount: int) -> int:
    """Return a value, which is stored."""
    tally.count()
    return 1


async def mark(context: Any, customer: str, amount: int) -> None:
    """Tell when it started."""
    tally.mark()


async def open() -> None:
    global pool
    pool = await create_pool(settings)


async def enqueue(name: str, count: int) -> None:
    for _ in range(count):
        await pool.enqueue_job(name, *ARGS)


async def close() -> None:
    await pool.aclose()


async def _work() -> None:
    worker = Worker(
        functions=[func(nothing, keep_result=0), func(one), func(mark, keep_result=0)],
        redis_settings=settings,
        max_jobs=100,
        poll_delay=0.01,
        queue_read_limit=200,
    )
    await worker.async_run()


def serve() -> None:
    uvloop.run(_work())
