"""A task enqueued and ended on a session or connection of SQLAlchemy, in its transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Any

import psycopg
import pytest
from services.server import Server
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session

from stem_core import Stem, TaskContext, Worker
from stem_core.plugin import Delivery, InvalidOption, StemURL, TlsConfig, UsageError
from stem_postgres import PostgresBroker
from stem_postgres.location import location_of
from stem_postgres.migrating import migrate
from stem_postgres.options import PostgresOptions

SCHEMA = "alchemy"
INSERT = text("INSERT INTO alchemy_orders VALUES (:id)")
NEVER = "poll=30s"
"""Whoever gets work sooner than that was told of it."""


@pytest.fixture(scope="module")
def server_url(postgres_server: Server) -> str:
    url = postgres_server.url
    options = PostgresOptions(schema=SCHEMA)
    asyncio.run(migrate(location_of(StemURL.parse(url), options, TlsConfig())))
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS alchemy_orders (id text)")
    return url


@pytest.fixture
def url(server_url: str) -> str:
    """The URL for Stem, in whose queues there is nothing."""
    with psycopg.connect(server_url) as connection:
        connection.execute(f"TRUNCATE {SCHEMA}.message, {SCHEMA}.ended, alchemy_orders")
    return f"{server_url}?schema={SCHEMA}&{NEVER}"


def of_sqlalchemy(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


# ── the four ways in ─────────────────────────────────────────────────────────

SyncWay = Callable[..., AbstractContextManager[Any]]
AsyncWay = Callable[..., AbstractAsyncContextManager[Any]]


@contextmanager
def session(url: str, **how: Any) -> Iterator[Session]:
    engine = create_engine(of_sqlalchemy(url), **how)
    with Session(engine) as opened:
        yield opened
    engine.dispose()


@contextmanager
def connection(url: str, **how: Any) -> Iterator[Connection]:
    engine = create_engine(of_sqlalchemy(url), **how)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


@asynccontextmanager
async def engine_of(url: str, **how: Any) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(of_sqlalchemy(url), **how)
    yield engine
    await engine.dispose()


@asynccontextmanager
async def async_session(url: str, **how: Any) -> AsyncIterator[AsyncSession]:
    async with engine_of(url, **how) as engine, async_sessionmaker(engine)() as opened:
        yield opened


@asynccontextmanager
async def async_connection(url: str, **how: Any) -> AsyncIterator[AsyncConnection]:
    async with engine_of(url, **how) as engine, engine.connect() as opened:
        yield opened


SYNC: list[SyncWay] = [session, connection]
ASYNC: list[AsyncWay] = [async_session, async_connection]


WAYS: dict[str, AsyncWay] = {"session": async_session, "connection": async_connection}
shop = Stem("memory://")


@shop.task(context=True, name="alchemy.pay")
async def pay(ctx: TaskContext, way: str, server_url: str) -> str:
    async with WAYS[way](server_url) as ours:
        await ours.execute(INSERT, {"id": ctx.id})
        value = await ctx.complete(ours, "paid")
        assert await asyncio.to_thread(there, server_url) == (0, 1)
        await ours.commit()
        return value


# ── what is seen ─────────────────────────────────────────────────────────────


def run(work: Coroutine[Any, Any, None]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(20):
            await work

    asyncio.run(in_time())


def count(url: str, what: str) -> int:
    with psycopg.connect(url) as somebody:
        row = somebody.execute(f"SELECT count(*) FROM {what}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def there(url: str) -> tuple[int, int]:
    """Return how many orders and messages others see."""
    return count(url, "alchemy_orders"), count(url, f"{SCHEMA}.message")


async def waits(broker: PostgresBroker, url: str) -> asyncio.Task[Any]:
    """Start to wait for a task, and return once that is told of every commit."""
    waiting = asyncio.create_task(
        broker.fetch(["default"], limit=1, wait_ms=30_000, worker="w"), name="waiting"
    )
    listening = "pg_stat_activity WHERE application_name = 'stem listen'"
    while not await asyncio.to_thread(count, url, listening):
        await asyncio.sleep(0.02)
    for _ in range(10):  # it looks once more, 0.1 s after it fell asleep
        await asyncio.sleep(0.02)
    return waiting


async def is_told(url: str, server_url: str, commit: Callable[[], Awaitable[str]]) -> None:
    """Insist that nobody gets what *commit* enqueues before it commits, and then at once."""
    broker = await PostgresBroker.connect(url)
    waiting = await waits(broker, server_url)
    id = await commit()
    (delivery,) = await asyncio.wait_for(waiting, 5)
    assert isinstance(delivery, Delivery)
    assert delivery.message.id == id
    await broker.aclose()


@pytest.mark.parametrize("open", ASYNC)
def test_a_commit_wakes_a_worker_and_nobody_sees_the_task_before(
    url: str, server_url: str, open: AsyncWay
):
    async def commit() -> str:
        async with Stem(url) as stem, open(server_url) as ours:
            await ours.execute(INSERT, {"id": "a"})
            id = await stem.enqueue("ship", {"order": 1}, connection=ours)
            assert await asyncio.to_thread(there, server_url) == (0, 0)
            await ours.commit()
            return id

    run(is_told(url, server_url, commit))
    assert there(server_url) == (1, 1)


@pytest.mark.parametrize("open", SYNC)
def test_the_blocking_forms_do_the_same_in_the_thread_of_the_caller(
    url: str, server_url: str, open: SyncWay
):
    def committed() -> str:
        stem = Stem(url)
        try:
            with open(server_url) as ours:
                ours.execute(INSERT, {"id": "a"})
                id = stem.blocking.enqueue("ship", {"order": 1}, connection=ours)
                assert there(server_url) == (0, 0)
                ours.commit()
            return id
        finally:
            stem.close()

    run(is_told(url, server_url, lambda: asyncio.to_thread(committed)))
    assert there(server_url) == (1, 1)


@pytest.mark.parametrize("open", ASYNC)
def test_after_a_rollback_there_is_neither_order_nor_task(
    url: str, server_url: str, open: AsyncWay
):
    async def work() -> None:
        async with Stem(url) as stem, open(server_url) as ours:
            await ours.execute(INSERT, {"id": "a"})
            id = await stem.enqueue("ship", {"order": 1}, connection=ours)
            await ours.rollback()
            assert await stem.status(id) is None

    run(work())
    assert there(server_url) == (0, 0)


@pytest.mark.parametrize("open", SYNC)
def test_after_a_rollback_of_a_blocking_session_there_is_neither(
    url: str, server_url: str, open: SyncWay
):
    stem = Stem(url)
    try:
        with open(server_url) as ours:
            ours.execute(INSERT, {"id": "a"})
            stem.blocking.enqueue("ship", {"order": 1}, connection=ours)
            ours.rollback()
    finally:
        stem.close()
    assert there(server_url) == (0, 0)


@pytest.mark.parametrize("open", ASYNC)
def test_a_connection_that_commits_each_statement_is_refused(
    url: str, server_url: str, open: AsyncWay
):
    async def work() -> None:
        async with Stem(url) as stem, open(server_url, isolation_level="AUTOCOMMIT") as ours:
            with pytest.raises(UsageError, match="autocommit"):
                await stem.enqueue("ship", {"order": 1}, connection=ours)

    run(work())
    assert there(server_url) == (0, 0)


def test_a_session_of_another_driver_is_refused(url: str):
    async def work() -> None:
        engine = create_engine("sqlite://")
        async with Stem(url) as stem:
            with Session(engine) as other, pytest.raises(InvalidOption, match="connection=Session"):
                await stem.enqueue("ship", {"order": 1}, connection=other)
        engine.dispose()

    run(work())


@pytest.mark.parametrize("way", WAYS)
def test_a_task_ends_in_the_transaction_of_its_effect(url: str, server_url: str, way: str):
    async def work() -> None:
        async with Worker(shop):
            job = await pay.enqueue(way, server_url)
            assert await job.result(timeout=10) == "paid"

    with shop.override(broker=url, backend=url):
        run(work())
    assert there(server_url) == (1, 0)
