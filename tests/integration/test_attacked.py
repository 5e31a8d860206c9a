"""What broken and hostile tasks do to a worker: cost themselves, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from integration.shop import gate, seen

from stem_core.contracts.messages import Place
from stem_core.model.errors import Snooze, TaskFailed
from stem_core.model.outcome import State
from stem_core.model.retry import RetryPolicy
from stem_core.producer.client import Stem
from stem_core.testing.clock import FakeClock
from stem_core.worker.exits import HANDED_BACK, STUCK
from stem_core.worker.worker import Worker

stem = Stem("memory://attacked")

AT_ONCE = RetryPolicy(base=0, cap=0)


class EndsTheWorker(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class Hidden(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__module__", "__qualname__", "__mro__"):
            raise RuntimeError(name)
        return type.__getattribute__(cls, name)


class HasNoName(Exception, metaclass=Hidden):
    pass


class Unwritable(dict[str, int]):
    def items(self) -> Any:
        raise SystemExit(9)


ERRORS: dict[str, Callable[[], BaseException]] = {
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "SystemExit when described": EndsTheWorker,
    "no name": HasNoName,
}


@stem.task(max_retries=0)
async def fails(how: str) -> None:
    raise ERRORS[how]()


@stem.task(max_retries=0)
async def fails_later(how: str) -> None:
    await asyncio.sleep(0)
    raise ERRORS[how]()


@stem.task(max_retries=0)
def fails_in_thread(how: str) -> None:
    raise ERRORS[how]()


@stem.task(max_retries=0, hard_time_limit="1h")
async def fails_within_a_limit(how: str) -> None:
    raise ERRORS[how]()


@stem.task(max_retries=0)
async def cancels_itself() -> None:
    me = asyncio.current_task()
    assert me is not None
    me.cancel()
    await asyncio.sleep(3600)


@stem.task(max_retries=0)
async def returns_unwritable() -> Any:
    seen.append("ran")
    return Unwritable(a=1)


@stem.task
async def neighbour() -> str:
    return "well"


@stem.task(retry_policy=AT_ONCE, max_retries=1)
async def never_ends() -> None:
    """Whatever it is told, until its gate is opened."""
    seen.append("began")
    gate.begun.set()
    while not gate.open.is_set():
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            seen.append("told")


@stem.task
async def waits() -> None:
    gate.begun.set()
    await asyncio.sleep(3600)


@stem.task(max_retries=1)
async def snoozes_for_ever() -> None:
    raise Snooze(0)


def run(main: Callable[[], Awaitable[Any]], **how: Any) -> Any:
    async def in_time() -> Any:
        async with asyncio.timeout(30):
            return await main()

    with stem.override(**how):
        return asyncio.run(in_time())


async def located(id: str) -> Any:
    (where,) = await (await stem.lane()).broker.lookup([id])
    return where


async def until(is_so: Callable[[], bool], clock: FakeClock | None = None) -> None:
    while not is_so():
        await asyncio.sleep(0.001)
        if clock is not None:
            clock.advance("1s")


# ── errors ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ERRORS)
@pytest.mark.parametrize("task", [fails, fails_later, fails_in_thread, fails_within_a_limit])
def test_whatever_a_task_raises_fails_it_and_leaves_its_slot_free(task, how):
    async def main():
        async with Worker(stem, concurrency=1):
            job = await task.enqueue(how)
            with pytest.raises(TaskFailed):
                await job.result(timeout=5)
            value = await (await neighbour.enqueue()).result(timeout=5)
            return await job.status(), value

    status, value = run(main)
    assert (status.state, status.attempt, value) == (State.DEAD, 1, "well")


def test_a_task_that_cancels_itself_has_failed():
    async def main():
        async with Worker(stem, concurrency=1):
            job = await cancels_itself.enqueue()
            with pytest.raises(TaskFailed, match="not by Stem"):
                await job.result(timeout=5)
            return await (await neighbour.enqueue()).result(timeout=5)

    assert run(main) == "well"


def test_a_worker_whose_loop_is_torn_down_leaves_its_tasks_to_their_leases():
    async def main():
        await Worker(stem).start()
        job = await waits.enqueue()
        await until(gate.begun.is_set)
        return job.id  # and the loop cancels all that is left

    with stem.override():
        id = asyncio.run(main())
        where = asyncio.run(located(id))
    assert where.place is Place.LEASED


def test_an_error_after_the_function_was_called_does_not_have_it_called_again():
    async def main():
        async with Worker(stem, concurrency=1):
            job = await returns_unwritable.enqueue()
            with pytest.raises(TaskFailed):
                await job.result(timeout=5)
            return await (await neighbour.enqueue()).result(timeout=5)

    assert (run(main), seen) == ("well", ["ran"])


# ── tasks that do not end ────────────────────────────────────────────────────


def test_a_task_that_ignores_its_hard_limit_uses_up_its_attempts():
    clock = FakeClock()

    async def main():
        job = await never_ends.using(hard_time_limit="10s").enqueue()
        codes = []
        for _ in range(2):
            worker = asyncio.create_task(Worker(stem, grace=0).run())
            await until(worker.done, clock)
            codes.append(await worker)
        gate.open.set()
        return codes, await job.status()

    codes, status = run(main, clock=clock)
    assert codes == [STUCK, STUCK]
    assert (status.state, status.reason, status.attempt) == (State.DEAD, "timed-out", 2)
    assert seen.count("began") == 2


def test_a_task_that_does_not_end_at_a_shutdown_is_handed_back_without_blame():
    clock = FakeClock()

    async def main():
        worker = Worker(stem, grace=0)
        running = asyncio.create_task(worker.run())
        job = await never_ends.enqueue()
        await until(gate.begun.is_set)
        worker.stop_now()
        await until(running.done, clock)
        gate.open.set()
        return await running, await job.status()

    code, status = run(main, clock=clock)
    assert (code, status.state, status.attempt) == (HANDED_BACK, State.QUEUED, 0)


async def a_second_passes(clock: FakeClock, id: str) -> None:
    """Advance *clock*, but not before the lease of *id* is good for more."""
    while (await located(id)).lease_ms < 15_000:
        await asyncio.sleep(0.001)
    clock.advance("1s")
    await asyncio.sleep(0.001)


def test_a_task_that_goes_on_though_it_was_cancelled_is_named_once(caplog):
    clock = FakeClock()

    async def main():
        async with Worker(stem) as worker:
            job = await never_ends.enqueue()
            await until(gate.begun.is_set)
            await job.cancel()
            while "goes on" not in caplog.text:
                await a_second_passes(clock, job.id)
            for _ in range(60):
                await a_second_passes(clock, job.id)
            assert worker.running == 1
            gate.open.set()

    run(main, clock=clock)
    (warning,) = [each for each in caplog.records if "goes on" in each.message]
    assert "never_ends" in warning.message
    assert warning.levelname == "WARNING"


def test_a_task_that_snoozes_for_ever_is_no_hot_loop():
    with stem.override(clock=(clock := FakeClock())) as test:
        job = snoozes_for_ever.blocking.enqueue()
        assert test.drain() == 1
        clock.advance("99ms")
        assert test.drain() == 0
        clock.advance("1ms")
        assert test.drain() == 1
        status = job.status()
    assert status is not None
    assert status.attempt == 0
