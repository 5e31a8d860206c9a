"""Uniqueness and expiry as a producer and a worker see them, on each store."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stem_core import Stem, TaskRegistry, Worker
from stem_core.contracts.messages import Place
from stem_core.model.outcome import State
from stem_core.model.unique import Unique
from stem_core.worker.burst import burst

STORES = ("memory", "sqlite", "redis", "postgres")

tasks = TaskRegistry()
ran: list[int] = []


class Gate:
    """Where a task waits until a test lets it go on."""

    def close(self) -> None:
        self.begun = asyncio.Event()
        self.open = asyncio.Event()


gate = Gate()


@tasks.task(name="once.import_orders")
async def import_orders(shop: int, page: int = 1) -> int:
    ran.append(shop)
    return shop


@tasks.task(name="once.waits")
async def waits(shop: int) -> None:
    ran.append(shop)
    gate.begun.set()
    await gate.open.wait()


@tasks.task(name="once.fails", max_retries=0)
async def fails(shop: int) -> None:
    raise ValueError(shop)


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of each kind."""
    if request.param == "memory":
        return f"memory://once-{time.monotonic_ns()}"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/tasks.db"
    server = request.getfixturevalue(f"{request.param}_server")
    if request.param == "postgres":
        migrate = [sys.executable, "-m", "stem_core", "migrate", "up", server.url]
        subprocess.run(migrate, check=True, stdout=subprocess.DEVNULL)
    return str(server.url)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Stem]:
    async with Stem(url, namespace=f"once{os.getpid()}x{time.monotonic_ns()}") as stem:
        stem.include(tasks)
        yield stem


def on(url: str, body: Callable[[Stem], Awaitable[Any]]) -> None:
    async def main() -> None:
        gate.close()
        ran.clear()
        async with asyncio.timeout(60), opened(url) as stem:
            await body(stem)

    asyncio.run(main())


def test_a_second_call_with_the_same_arguments_is_the_first_one(url: str) -> None:
    async def body(stem: Stem) -> None:
        task = import_orders.using(unique=True)
        first = await task.enqueue(1)
        again, other = await task.enqueue(1), await task.enqueue(2)
        assert (again.id, again.created) == (first.id, False)
        assert (other.id == first.id, other.created) == (False, True)
        await burst(stem)
        assert sorted(ran) == [1, 2]
        assert await again.result() == 1

    on(url, body)


def test_only_the_arguments_that_are_named_are_compared(url: str) -> None:
    async def body(stem: Stem) -> None:
        task = import_orders.using(unique=("shop",))
        first = await task.enqueue(1, page=1)
        assert (await task.enqueue(1, page=2)).id == first.id
        assert (await task.enqueue(2, page=1)).id != first.id

    on(url, body)


@pytest.mark.parametrize("task", [import_orders, fails])
def test_a_call_is_free_again_when_the_first_one_has_finished_however(url: str, task: Any) -> None:
    async def body(stem: Stem) -> None:
        unique = task.using(unique=Unique(until="finished"))
        first = await unique.enqueue(1)
        await burst(stem)
        second = await unique.enqueue(1)
        assert second.id != first.id

    on(url, body)


def test_a_call_is_held_while_the_first_one_runs(url: str) -> None:
    async def body(stem: Stem) -> None:
        unique = waits.using(unique=Unique(until="finished"))
        async with Worker(stem):
            first = await unique.enqueue(1)
            await gate.begun.wait()
            assert (await unique.enqueue(1)).id == first.id
            gate.open.set()
            await first.result()
            assert (await unique.enqueue(1)).id != first.id

    on(url, body)


def test_a_call_is_free_again_when_the_first_one_has_started(url: str) -> None:
    async def body(stem: Stem) -> None:
        unique = waits.using(unique=Unique(until="started"))
        first = await unique.enqueue(1)
        assert (await unique.enqueue(1)).id == first.id
        async with Worker(stem):
            await gate.begun.wait()
            second = await unique.enqueue(1)
            assert second.id != first.id
            gate.open.set()
            await first.result()
            await second.result()

    on(url, body)


def test_a_call_is_held_for_its_window_whatever_becomes_of_the_first_one(url: str) -> None:
    async def body(stem: Stem) -> None:
        long = import_orders.using(unique=Unique(until="window", window="60s"))
        held = await long.enqueue(1)
        await burst(stem)
        assert (await long.enqueue(1)).id == held.id
        unique = import_orders.using(unique=Unique(until="window", window="2s"))
        first = await unique.enqueue(2)
        while (later := await unique.enqueue(2)).id == first.id:
            await asyncio.sleep(0.05)
        await burst(stem)
        assert ran == [1, 2, 2]
        assert later.created

    on(url, body)


def test_a_call_is_free_again_when_the_first_one_was_cancelled(url: str) -> None:
    async def body(stem: Stem) -> None:
        unique = import_orders.using(unique=True)
        first = await unique.enqueue(1)
        await first.cancel()
        assert (await unique.enqueue(1)).id != first.id

    on(url, body)


def test_of_many_that_come_at_once_one_is_there(url: str) -> None:
    async def body(stem: Stem) -> None:
        unique = import_orders.using(unique=True)
        jobs = await asyncio.gather(*(unique.enqueue(1) for _ in range(20)))
        assert len({job.id for job in jobs}) == 1
        assert [job.created for job in jobs].count(True) == 1
        await burst(stem)
        assert ran == [1]

    on(url, body)


def test_what_comes_too_late_is_not_run_and_leaves_a_record_and_a_dead_letter(url: str) -> None:
    async def body(stem: Stem) -> None:
        unique = import_orders.using(expires="50ms", unique=True)
        job = await unique.enqueue(1)
        await asyncio.sleep(0.06)  # the clocks of stores are their own
        await burst(stem)
        status = await job.status()
        assert status is not None
        assert (status.state, status.reason) == (State.EXPIRED, "expired")
        (where,) = await (await stem.lane()).broker.lookup([job.id])
        assert where is not None
        assert (where.place, str(where.reason)) == (Place.DEAD, "expired")
        assert ran == []
        assert (await unique.enqueue(1)).id != job.id  # its key is free

    on(url, body)
