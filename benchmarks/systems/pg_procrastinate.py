"""Procrastinate: one job a claim, told by LISTEN/NOTIFY; it keeps no results."""

from __future__ import annotations

import logging

import redis_tally as tally
import uvloop
from measure import ARGS
from procrastinate import App, PsycopgConnector

logging.disable(logging.CRITICAL)
CUSTOMER, AMOUNT = ARGS
CONCURRENCY = 20
app = App(connector=PsycopgConnector(conninfo=tally.URL, min_size=4, max_size=CONCURRENCY))
run = uvloop.run


@app.task(name="nothing")
async def nothing(customer: str, amount: int) -> None:
    """Do nothing."""
    tally.count()


@app.task(name="one")
async def one(customer: str, amount: int) -> int:
    """Return a value, which is not stored."""
    tally.count()
    return 1


@app.task(name="mark")
async def mark(customer: str, amount: int) -> None:
    """Tell when it started."""
    tally.mark()


TASKS = {"nothing": nothing, "one": one, "mark": mark}


async def open() -> None:
    await app.open_async()
    await app.schema_manager.apply_schema_async()


async def enqueue(name: str, count: int) -> None:
    task = TASKS[name]
    for _ in range(count):
        await task.defer_async(customer=CUSTOMER, amount=AMOUNT)


async def enqueue_many(name: str, count: int) -> None:
    task = TASKS[name]
    while count > 0:
        size = min(count, 1_000)
        await task.batch_defer_async(*[{"customer": CUSTOMER, "amount": AMOUNT}] * size)
        count -= size


async def close() -> None:
    await app.close_async()


async def _work() -> None:
    async with app.open_async():
        await app.run_worker_async(concurrency=CONCURRENCY, delete_jobs="successful")


def serve() -> None:
    uvloop.run(_work())
