from __future__ import annotations

import asyncio

import pytest

from stem_core.model.errors import SoftTimeLimitExceeded
from stem_core.worker.limits import Softened


def run_and_reach(body, *, at: asyncio.Event | None = None):
    """Run *body*; reach its limit as soon as it waits."""

    async def main():
        softened = Softened(body())

        async def carry():
            return await softened

        task = asyncio.create_task(carry())
        await asyncio.sleep(0)
        softened.reach()
        return await task, task.cancelling()

    return asyncio.run(main())


def test_a_coroutine_without_a_limit_gives_its_value():
    async def body():
        await asyncio.sleep(0)
        return 5

    async def main():
        return await Softened(body())

    assert asyncio.run(main()) == 5


def test_the_limit_is_raised_where_the_coroutine_waits_and_can_be_caught():
    async def body():
        try:
            await asyncio.sleep(60)
        except SoftTimeLimitExceeded:
            await asyncio.sleep(0)  # cleaning up may wait
            return "cleaned up"

    value, cancelling = run_and_reach(body)
    assert value == "cleaned up"
    assert cancelling == 0


def test_an_uncaught_limit_ends_the_coroutine():
    async def body():
        await asyncio.sleep(60)

    with pytest.raises(SoftTimeLimitExceeded):
        run_and_reach(body)


def test_a_task_group_cleans_up_its_children():
    ended = []

    async def child():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("child")

    async def body():
        async with asyncio.TaskGroup() as group:
            group.create_task(child())

    with pytest.raises(SoftTimeLimitExceeded):
        run_and_reach(body)
    assert ended == ["child"]


def test_a_timeout_inside_is_not_confused_by_it():
    async def body():
        try:
            async with asyncio.timeout(60):
                await asyncio.sleep(60)
        except SoftTimeLimitExceeded:
            return "the outer one"

    assert run_and_reach(body)[0] == "the outer one"


def test_a_real_cancellation_stays_one():
    seen = []

    async def body():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            seen.append(isinstance(error, SoftTimeLimitExceeded))
            raise

    async def main():
        async def carry():
            return await Softened(body())

        task = asyncio.create_task(carry())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(main())
    assert seen == [False]


def test_reaching_the_limit_of_what_has_ended_changes_nothing():
    async def body():
        return 1

    async def main():
        softened = Softened(body())
        value = await softened
        softened.reach()
        await asyncio.sleep(0)
        return value

    assert asyncio.run(main()) == 1


def test_an_exception_of_the_coroutine_comes_through():
    async def body():
        await asyncio.sleep(0)
        raise KeyError("x")

    async def main():
        await Softened(body())

    with pytest.raises(KeyError):
        asyncio.run(main())
