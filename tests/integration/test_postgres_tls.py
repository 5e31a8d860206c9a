"""A PostgreSQL server over TLS that goes and comes: an outage, and no matter for people."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from integration.on_postgres import do, message, one_task, run, with_tables
from services.certificates import Authority
from services.postgres import PostgresServer

from stem_core import Stem, TaskCancelled, Worker
from stem_core.plugin import StoreUnavailable
from stem_core.producer.registry import TaskRegistry
from stem_postgres import PostgresBroker

LEASE_S = 90
"""It is renewed after 30 s: who hears of a cancel before that was told."""

WAITING = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

registry = TaskRegistry()
running: set[str] = set()


@registry.task(name="tls.short")
async def short(n: int) -> int:
    return n


@registry.task(name="tls.long", visibility_timeout=LEASE_S)
async def long(name: str) -> None:
    running.add(name)
    await asyncio.sleep(600)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    with PostgresServer(tls=Authority(tmp_path).identity(), durable=True) as server:
        with_tables(server.url)
        yield server


def test_the_driver_takes_tls_wherever_a_server_has_it(server: PostgresServer):
    with psycopg.connect(server.url) as connection:
        assert connection.pgconn.ssl_in_use


def test_a_server_that_dies_under_a_call_is_away(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        await one_task(broker, "before")
        with psycopg.connect(server.url) as holder:
            holder.execute("SELECT pg_advisory_xact_lock(7314159)")
            waiting = asyncio.create_task(broker.run("meta.alone", ()))
            while not await asyncio.to_thread(do, server.url, WAITING):
                await asyncio.sleep(0.01)
            await asyncio.to_thread(server.kill)
            holder.close()
        with pytest.raises(StoreUnavailable):
            await waiting
        with pytest.raises(StoreUnavailable):  # in the middle of a handshake
            await broker.publish([message("m")])
        await asyncio.to_thread(server.start)
        await one_task(broker, "after")
        await broker.aclose()

    run(work())


def test_nobody_but_the_clock_notices_that_it_was_away(server: PostgresServer):
    async def work() -> None:
        stem = Stem(server.url, registry=registry)
        async with stem, Worker(stem, concurrency=4, grace=0):
            ids: list[str] = []
            is_over = asyncio.Event()

            async def produce() -> None:
                while not is_over.is_set():
                    ids.append(await stem.enqueue("tls.short", {"n": len(ids)}))

            producers = [asyncio.create_task(produce()) for _ in range(3)]
            for hit in (server.kill, server.stop, partial(end_all, server)):
                await asyncio.sleep(0.5)
                await asyncio.to_thread(hit)
                if not server.is_running:
                    await asyncio.sleep(0.5)
                    await asyncio.to_thread(server.start)
            is_over.set()
            await asyncio.gather(*producers)
            results = [await stem.result(id, timeout=30) for id in ids]
            assert len(results) == len(ids) > 10
            await is_told_of_a_cancel(stem)

    run(work())


def end_all(server: PostgresServer) -> None:
    """End every connection of Stem, as an operator may."""
    do(
        server.url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name LIKE 'stem%'",
    )


async def is_told_of_a_cancel(stem: Stem) -> None:
    id = await stem.enqueue("tls.long", {"name": "after"})
    async with asyncio.timeout(20):
        while "after" not in running:
            await asyncio.sleep(0.01)
    await stem.cancel(id, "enough")
    with pytest.raises(TaskCancelled):
        await stem.result(id, timeout=LEASE_S / 4)
