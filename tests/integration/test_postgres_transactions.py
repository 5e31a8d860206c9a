"""A task that ends in the transaction of its own effect: both are there, or neither is."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from services.postgres import PostgresServer
from services.server import Server

from stem_core import RetryPolicy, Stem, TaskContext, Worker
from stem_core.plugin import CapabilityMissing, LeaseLost, State, StemURL, TlsConfig
from stem_postgres.location import location_of
from stem_postgres.migrating import migrate
from stem_postgres.options import PostgresOptions

stem = Stem("memory://")
told: list[str] = []
database: list[str] = []
"""The URL of the database that the tasks write to."""


async def connected() -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(database[0])


async def write(connection: psycopg.AsyncConnection[Any], ctx: TaskContext) -> None:
    await connection.execute("INSERT INTO effects VALUES (%s)", (ctx.id,))


@stem.task(context=True)
async def pay(ctx: TaskContext, n: int) -> dict[str, int]:
    async with await connected() as connection:
        await write(connection, ctx)
        ctx.enqueue(tell.call(n))
        return await ctx.complete(connection, {"paid": n})


@stem.task
async def tell(n: int) -> int:
    return n


@stem.task(context=True, max_retries=1, retry_policy=RetryPolicy(base="1ms"))
async def pay_and_regret(ctx: TaskContext) -> int:
    async with await connected() as connection:
        await write(connection, ctx)
        value = await ctx.complete(connection, ctx.attempt)
        if value == 1:
            await connection.rollback()
        return value


@stem.task(context=True, max_retries=0)
async def pay_too_late(ctx: TaskContext) -> None:
    async with await connected() as thief:
        await thief.execute("UPDATE txn.message SET fence = fence + 1 WHERE id = %s", (ctx.id,))
    async with await connected() as connection:
        await write(connection, ctx)
        try:
            await ctx.complete(connection)
        except LeaseLost as error:
            told.append(str(error))
            raise


@stem.task(context=True, max_retries=0)
async def pay_from_memory(ctx: TaskContext) -> str:
    try:
        await ctx.complete(object())
    except CapabilityMissing as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def url(postgres_server: Server) -> str:
    database[:] = [postgres_server.url]
    options = PostgresOptions(schema="txn")
    asyncio.run(migrate(location_of(StemURL.parse(database[0]), options, TlsConfig())))
    with psycopg.connect(database[0]) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS effects (id text)")
    return f"{database[0]}?schema=txn"


@pytest.fixture
def on_postgres(url: str) -> Iterator[None]:
    with stem.override(broker=url, backend=url):
        yield


def effects(id: str) -> int:
    with psycopg.connect(database[0]) as connection:
        row = connection.execute("SELECT count(*) FROM effects WHERE id = %s", (id,)).fetchone()
    assert row is not None
    return int(row[0])


def run(work: Coroutine[Any, Any, None]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(60), Worker(stem):
            await work

    asyncio.run(in_time())


@pytest.mark.usefixtures("on_postgres")
def test_effect_end_and_follow_ups_commit_together():
    async def work() -> None:
        job = await pay.enqueue(3)
        assert await job.result(timeout=20) == {"paid": 3}
        assert await asyncio.to_thread(effects, job.id) == 1
        while not (await stem.list(tasks=[tell.name], states=[State.SUCCEEDED])).items:
            await asyncio.sleep(0.05)

    run(work())


@pytest.mark.usefixtures("on_postgres")
def test_a_rollback_after_completing_is_a_failed_attempt():
    async def work() -> None:
        job = await pay_and_regret.enqueue()
        assert await job.result(timeout=20) == 2
        assert await asyncio.to_thread(effects, job.id) == 1

    run(work())


@pytest.mark.usefixtures("on_postgres")
def test_whoever_lost_the_lease_is_told_to_roll_back():
    async def work() -> None:
        job = await pay_too_late.enqueue()
        while not told:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        assert await asyncio.to_thread(effects, job.id) == 0

    run(work())


def test_without_a_transactional_broker_it_is_refused():
    async def work() -> None:
        job = await pay_from_memory.enqueue()
        assert "transactional" in await job.result(timeout=20)

    run(work())


EXAMPLE = Path(__file__).parents[2] / "examples" / "transactional.py"
SELLERS = 8


def sellers_killed(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE), url, "--trials", str(SELLERS), "--seed", "1"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_however_a_seller_is_killed_each_order_has_its_task_and_each_task_its_order(
    postgres_server: Server,
):
    asyncio.run(
        migrate(location_of(StemURL.parse(postgres_server.url), PostgresOptions(), TlsConfig()))
    )
    done = sellers_killed(postgres_server.url)
    assert done.returncode == 0, done.stderr
    killed, orders, undone, lacking, surplus = map(int, re.findall(r"\d+", done.stdout))
    assert (killed, lacking, surplus) == (SELLERS, 0, 0)
    assert orders >= SELLERS  # each of them has sold
    assert undone > 0  # some were hit between an order and its commit


def test_a_seller_that_ends_by_itself_is_no_trial_of_a_kill():
    with PostgresServer() as server:  # without the tables of Stem
        done = sellers_killed(server.url)
    assert "there are no tables in the schema stem" in done.stderr
    assert "a seller ended by itself" in done.stderr
    assert (done.returncode, done.stdout) == (1, "")
