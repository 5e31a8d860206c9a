"""PgQueuer: jobs taken and logged in batches, told by LISTEN/NOTIFY; it keeps no results.

The batch is the last word of the name under which it is run: 500 or its default, 10.
"""

from __future__ import annotations

import logging
import sys

import asyncpg
import redis_tally as tally
import uvloop
from measure import ARGS
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

logging.disable(logging.CRITICAL)
PAYLOAD = b'{"customer": "%s", "amount": %d}' % (ARGS[0].encode(), ARGS[1])
DEFAULT_BATCH, LARGE_BATCH = 10, 500
run = uvloop.run


async def _pool() -> asyncpg.Pool:
    return await asyncpg.create_pool(tally.URL, min_size=5, max_size=5)


async def open() -> None:
    global pool, queries
    pool = await _pool()
    queries = Queries(AsyncpgPoolDriver(pool))
    await queries.install()


async def enqueue(name: str, count: int) -> None:
    for _ in range(count):
        await queries.enqueue(name, PAYLOAD, 0)


async def enqueue_many(name: str, count: int) -> None:
    while count > 0:
        size = min(count, 1_000)
        await queries.enqueue([name] * size, [PAYLOAD] * size, [0] * size)
        count -= size


async def close() -> None:
    await pool.close()


async def _work(batch: int) -> None:
    consumer = PgQueuer(AsyncpgPoolDriver(await _pool()))

    @consumer.entrypoint("nothing")
    async def nothing(job: Job) -> None:
        tally.count()

    @consumer.entrypoint("one")
    async def one(job: Job) -> None:
        tally.count()

    @consumer.entrypoint("mark")
    async def mark(job: Job) -> None:
        tally.mark()

    await consumer.run(batch_size=batch)


def serve() -> None:
    uvloop.run(_work(DEFAULT_BATCH if "default" in sys.argv[3] else LARGE_BATCH))
