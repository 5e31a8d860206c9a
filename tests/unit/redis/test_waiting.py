"""A nap ends when it is woken or when its time is over, and no wake is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import pytest

from stem_core.plugin import Nap, StoreUnavailable
from stem_core.testing import FakeClock


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 10))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_nap_ends_with_its_time():
    async def work() -> None:
        clock, nap = FakeClock(), Nap()
        sleeping = asyncio.ensure_future(nap.sleep(clock, 100))
        await turns()
        assert not sleeping.done()
        clock.advance(timedelta(milliseconds=100))
        await sleeping
        assert clock.sleepers == 0

    run(work())


def test_a_nap_ends_when_it_is_woken_and_leaves_no_alarm():
    async def work() -> None:
        clock, nap = FakeClock(), Nap()
        sleeping = asyncio.ensure_future(nap.sleep(clock, 10**9))
        await turns()
        nap.wake()
        await sleeping
        await turns()
        assert clock.sleepers == 0

    run(work())


def test_a_wake_before_the_sleep_ends_it_once():
    async def work() -> None:
        clock, nap = FakeClock(), Nap()
        nap.wake()
        nap.wake()
        await nap.sleep(clock, 10**9)
        sleeping = asyncio.ensure_future(nap.sleep(clock, 10**9))
        await turns()
        assert not sleeping.done()
        sleeping.cancel()

    run(work())


def test_an_error_that_wakes_is_raised_once():
    async def work() -> None:
        clock, nap = FakeClock(), Nap()
        nap.wake(StoreUnavailable("gone"))
        with pytest.raises(StoreUnavailable):
            await nap.sleep(clock, 10**9)
        nap.wake()
        await nap.sleep(clock, 10**9)

    run(work())
