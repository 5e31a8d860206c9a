"""What the tests of a PostgreSQL store share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from stem_core.plugin import (
    Delivery,
    Message,
    PublishStatus,
    Settlement,
    SettleStatus,
    StemURL,
    StoreUnavailable,
    TlsConfig,
)
from stem_postgres import PostgresBroker
from stem_postgres.location import location_of
from stem_postgres.migrating import migrate
from stem_postgres.options import PostgresOptions

GRANTS = (
    "GRANT USAGE ON SCHEMA stem TO plain",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA stem TO plain",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA stem TO plain",
)
"""What the documentation gives to a worker."""


def message(id: str, **fields: Any) -> Message:
    return Message(**{"id": id, "queue": "q", "task": "t", "body": b"{}", **fields})


def name_for(test: str) -> str:
    """Return a namespace that only *test* uses."""
    return "".join(c if c.isalnum() else "-" for c in test)[-100:]


def run(work: Coroutine[Any, Any, None]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(in_time())


async def take(broker: PostgresBroker, limit: int = 10, wait_ms: int = 0) -> list[Delivery]:
    return list(await broker.fetch(["q"], limit=limit, wait_ms=wait_ms, worker="w"))


async def ack(broker: PostgresBroker, *deliveries: Delivery) -> list[SettleStatus]:
    replies = await broker.settle([Settlement(receipt=each.receipt) for each in deliveries])
    return [reply.status for reply in replies]


async def one_task(broker: PostgresBroker, id: str) -> None:
    """Publish, take and end one task, and insist that each step did what it should."""
    assert [p.status for p in await broker.publish([message(id)])] == [PublishStatus.CREATED]
    (delivery,) = await take(broker)
    assert delivery.message.id == id
    assert await ack(broker, delivery) == [SettleStatus.DONE]


async def patiently(call: Callable[[], Awaitable[Any]]) -> Any:
    """Call again while the store is away, as a worker does."""
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(0.05)


def with_tables(url: str, schema: str = "stem") -> str:
    asyncio.run(migrate(place(url, schema=schema)))
    return url


def place(url: str, **options: Any) -> Any:
    return location_of(StemURL.parse(url), PostgresOptions(**options), TlsConfig())


def do(url: str, *statements: str) -> list[Any]:
    """Run SQL as somebody else, and return the rows of the last statement."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@asynccontextmanager
async def somebody(url: str) -> Any:
    """A connection of somebody else, in a transaction that is rolled back."""
    connection = await psycopg.AsyncConnection.connect(url)
    try:
        yield connection
    finally:
        await connection.rollback()
        await connection.close()
