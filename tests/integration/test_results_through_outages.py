"""Whoever waits for a result goes on waiting while the store is away, as long as he said."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from integration.on_postgres import with_tables
from services.postgres import PostgresServer
from services.redis import RedisServer
from services.server import Server

from stem_core import Job, ResultTimeout, Stem, TaskRegistry, Worker
from stem_core.plugin import StoreUnavailable

ASLEEP_S = 0.5
"""After this, somebody who waits for a result has found none and is told by the store."""
DEADLINE_S = 1.0
"""How long every call but one with a time of its own waits for a store that is away."""

tasks = TaskRegistry()


@tasks.task
async def double(n: int) -> int:
    return 2 * n


@pytest.fixture(params=[PostgresServer, RedisServer])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param(durable=True) as server:
        if request.param is PostgresServer:
            with_tables(server.url)
        yield server


@pytest.fixture
def stem(server: Server, monkeypatch: pytest.MonkeyPatch) -> Stem:
    monkeypatch.setenv("STEM_PUBLISH_DEADLINE", f"{DEADLINE_S:g}s")
    stem = Stem(server.url)
    stem.include(tasks)
    return stem


async def asked(stem: Stem, timeout: float | None) -> tuple[Job[int], asyncio.Task[int]]:
    """Enqueue a task, and return it with somebody who waits for it."""
    job = await double.enqueue(21)
    waiting = asyncio.create_task(job.result(timeout=timeout))
    await asyncio.sleep(ASLEEP_S)
    return job, waiting


def run(work: Coroutine[Any, Any, None]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(in_time())


def test_an_outage_within_the_timeout_is_outlasted_and_the_result_comes(server: Server, stem: Stem):
    async def work() -> None:
        async with stem:
            _, waiting = await asked(stem, timeout=50)
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(2 * DEADLINE_S)  # longer than anything else is asked again
            assert not waiting.done()
            await asyncio.to_thread(server.start)
            async with Worker(stem):
                assert await waiting == 42

    run(work())


def test_a_timeout_that_ends_in_an_outage_says_so(server: Server, stem: Stem):
    async def work() -> None:
        async with stem:
            _, waiting = await asked(stem, timeout=2)
            await asyncio.to_thread(server.kill)
            async with asyncio.timeout(8):
                with pytest.raises(ResultTimeout, match="within 2s: the result backend does not"):
                    await waiting
            await asyncio.to_thread(server.start)

    run(work())


def test_without_a_timeout_an_outage_is_outlasted_as_long_as_by_any_call(
    server: Server, stem: Stem
):
    async def work() -> None:
        async with stem:
            job, waiting = await asked(stem, timeout=None)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            async with Worker(stem):
                assert await waiting == 42
            await asyncio.to_thread(server.kill)
            with pytest.raises(StoreUnavailable, match="did not answer within 1s"):
                await job.result()
            await asyncio.to_thread(server.start)

    run(work())
