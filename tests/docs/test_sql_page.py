"""Every query on the page about SQL runs on a server that has something of each to show."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from services.postgres import PostgresServer

from stem_core import Reject, Stem, TaskRegistry, Worker
from stem_core.plugin import StemURL, TlsConfig
from stem_postgres.location import location_of
from stem_postgres.migrating import migrate
from stem_postgres.options import PostgresOptions

PAGE = Path(__file__).parents[2] / "docs" / "brokers" / "postgres-sql.md"
QUERIES = re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
NAMES = [f"{number}: {' '.join(query.split())[:50]}" for number, query in enumerate(QUERIES)]
READER = (
    "CREATE ROLE reader LOGIN",
    "GRANT USAGE ON SCHEMA stem TO reader",
    "GRANT SELECT ON ALL TABLES IN SCHEMA stem TO reader",
    "GRANT pg_monitor TO reader",
)
"""The rights that the documentation gives to somebody who looks."""

tasks = TaskRegistry()


@tasks.task(name="shop.ship")
async def ship(order: int) -> str:
    if order < 0:
        raise Reject("no such order")
    return f"shipped {order}"


async def something_of_each(url: str) -> None:
    """Leave results, dead letters, a lease, a delay, a unique key and what waits."""
    stem = Stem(url)
    stem.include(tasks)
    async with stem:
        broker = (await stem.lane()).broker
        assert broker.admin is not None
        await broker.admin.pause("paused")
        async with Worker(stem):
            await ship.using(task_id="order-1").enqueue(1)
            await ship.using(task_id="order-2").enqueue(-2)
            await stem.result("order-1", timeout=20)
            with contextlib.suppress(Exception):
                await stem.result("order-2", timeout=20)
        await ship.using(task_id="order-16", queue="busy").enqueue(16)
        assert await broker.fetch(["busy"], limit=1, wait_ms=0, worker="somebody")
        await ship.using(task_id="order-17").enqueue(17)
        await ship.using(task_id="order-18", unique=True).enqueue(18)
        await ship.using(task_id="order-19", delay="1h").enqueue(19)


@contextlib.contextmanager
def somebody_waiting_for(url: str) -> Iterator[None]:
    """Let one transaction hold a row, and another one wait for it."""
    lock = b"SELECT FROM stem.message WHERE id = 'order-17' FOR UPDATE"
    with psycopg.connect(url) as holder, psycopg.connect(url) as waiting:
        holder.execute(lock)
        thread = threading.Thread(target=waiting.execute, args=[lock])
        thread.start()
        is_blocked = b"SELECT cardinality(pg_blocking_pids(%s)) > 0"
        with psycopg.connect(url, autocommit=True) as other:
            while other.execute(is_blocked, [waiting.info.backend_pid]).fetchone() != (True,):
                time.sleep(0.01)
        yield
        holder.rollback()
        thread.join()


@pytest.fixture(scope="module")
def reader() -> Iterator[psycopg.Connection[Any]]:
    with PostgresServer() as server:
        place = location_of(StemURL.parse(server.url), PostgresOptions(), TlsConfig())
        asyncio.run(migrate(place))
        with psycopg.connect(server.url, autocommit=True) as owner:
            for grant in READER:
                owner.execute(grant.encode())
        asyncio.run(something_of_each(server.url))
        listening = psycopg.connect(server.url, application_name="stem")
        url = server.url_of("reader")
        with (
            listening,
            somebody_waiting_for(server.url),
            psycopg.connect(url, autocommit=True) as reader,
        ):
            yield reader


@pytest.mark.parametrize("query", QUERIES, ids=NAMES)
def test_a_query_of_the_page_finds_what_is_there(
    query: str, reader: psycopg.Connection[Any]
) -> None:
    rows = reader.execute(query.encode()).fetchall()
    assert rows


def test_there_are_queries_to_run() -> None:
    assert len(QUERIES) >= 15
