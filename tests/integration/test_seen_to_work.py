"""What a newcomer, or a doubter, would try first. Real time only where time is the point."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from integration import shop
from integration.shop import stem

from stem_core.model.outcome import State
from stem_core.model.retry import RetryPolicy
from stem_core.producer.client import Stem
from stem_core.producer.registry import TaskRegistry
from stem_core.testing.clock import FakeClock
from stem_core.worker.burst import burst
from stem_core.worker.worker import Worker

NOW = RetryPolicy(base=0, cap=0)


@pytest.mark.parametrize(("max_retries", "times"), [(3, 4), (0, 1), (1, 2), (None, 6)])
def test_retries_given_at_the_call_win_over_the_five_of_the_task(max_retries, times):
    given = {} if max_retries is None else {"max_retries": max_retries}
    with stem.override() as t:
        job = shop.always_fails.using(**given).blocking.enqueue()
        t.drain()
        status = job.status()
    assert shop.runs["always_fails"] == times
    assert status is not None
    assert (status.state, status.attempt) == (State.DEAD, times)
    assert f"failure number {times}" in (status.error.message if status.error else "")


worker_tasks = TaskRegistry()
counted: list[int] = []


@worker_tasks.task(name="counted", max_retries=2, retry_policy=NOW)
async def count_and_fail() -> None:
    counted.append(1)
    raise ValueError("again")


def test_a_producer_without_task_code_does_not_override_the_options_of_the_worker():
    counted.clear()
    producer, worker_side = Stem("memory://plain"), Stem("memory://plain", registry=worker_tasks)

    async def main():
        await producer.enqueue("counted")
        await burst(worker_side)

    asyncio.run(main())
    assert len(counted) == 3


@contextmanager
def beside(work: Callable[[], Coroutine[Any, Any, None]]) -> Iterator[None]:
    """Do *work* in a loop and a thread of its own; wait for its end."""
    thread = threading.Thread(target=lambda: asyncio.run(work()), daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(30)


async def five_leases_pass(clock: FakeClock) -> None:
    """Let them, once a task blocks its loop; go on as soon as its lease was renewed."""
    await asyncio.to_thread(shop.gate.begun.wait, 30)
    broker = (await stem.lane()).broker
    for _ in range(20):
        for _ in range(500):  # who is never renewed shall lose its lease
            [held] = await broker.lookup(["blocks"])
            if held is None or held.lease_ms > 15_000:
                break
            await asyncio.sleep(0.005)
        clock.advance("7.5s")
        await asyncio.sleep(0.005)  # whoever looks for work may find it now
    shop.gate.open.set()


async def blocked() -> int:
    job = await shop.blocks_the_loop.using(task_id="blocks").enqueue()
    return await job.result(timeout=20)


def test_a_task_that_blocks_the_event_loop_for_five_leases_runs_once():
    clock = FakeClock()

    async def main():
        async with Worker(stem), Worker(stem, name="the other one"), asyncio.timeout(60):
            return await blocked()

    with stem.override(clock=clock), beside(lambda: five_leases_pass(clock)):
        assert asyncio.run(main()) == 1
    assert shop.runs["blocks_the_loop"] == 1


def test_another_loop_does_not_get_what_a_blocked_worker_holds():
    """The other worker's loop turns while the first one's stands still."""
    clock = FakeClock()

    async def other_worker() -> None:
        await asyncio.to_thread(shop.gate.begun.wait, 30)
        async with Worker(stem, name="other"):
            await five_leases_pass(clock)

    async def main():
        async with Worker(stem, name="blocked"), asyncio.timeout(60):
            return await blocked()

    with stem.override(clock=clock), beside(other_worker):
        asyncio.run(main())
    assert shop.runs["blocks_the_loop"] == 1


def test_two_event_loops_one_after_the_other():
    async def main(number: int) -> int:
        async with Worker(stem):
            return await (await shop.add.enqueue(number)).result(timeout=10)

    with stem.override():
        assert [asyncio.run(main(number)) for number in range(3)] == [1, 2, 3]


def test_twenty_threads_without_an_event_loop():
    jobs: list = []

    def produce() -> None:
        jobs.extend(shop.add.blocking.enqueue(number) for number in range(10))

    with stem.override() as t:
        threads = [threading.Thread(target=produce) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert t.drain() == 200
        assert sorted(job.result(timeout=10) for job in jobs) == sorted([*range(1, 11)] * 20)


def test_a_fork_after_use_enqueues_and_works_in_the_child():
    """The child has a store of its own: memory:// is one process, and says so."""

    async def work() -> int:
        async with Worker(stem):
            return await (await shop.add.enqueue(41)).result(timeout=10)

    with stem.override():
        assert asyncio.run(work()) == 42
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if asyncio.run(work()) == 42 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert asyncio.run(work()) == 42


def test_nothing_is_left_after_a_drain():
    async def main():
        await stem.enqueue_many([shop.add.call(n) for n in range(300)])
        assert await burst(stem) == 300
        lane = await stem.lane()
        assert lane.broker.admin is not None
        (stats,) = await lane.broker.admin.stats(["default"])
        return stats.ready, stats.delayed, stats.leased, stats.dead

    with stem.override():
        assert asyncio.run(main()) == (0, 0, 0, 0)


def test_a_test_turns_the_clock_and_sees_the_whole_path():
    with stem.override(clock=FakeClock()) as t:
        job = shop.hello.using(delay="1h").blocking.enqueue("ada")
        t.drain()
        status = job.status()
        assert status is not None
        assert status.state is State.SCHEDULED
        t.advance("1h")
        t.drain()
        assert job.result(timeout=1) == "Hello, ada!"
        assert [envelope.args for envelope in t.enqueued] == [{"name": "ada"}]
