"""Fifty workers whose server is away: they come back by themselves, and not all at once.

STEM_TEST_OUTAGE says for how many seconds; without it a few. `nox -s soak` asks for 300.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import pairwise
from statistics import fmean
from urllib.parse import urlsplit

from services.redis import RedisServer

from stem_core import Stem, Worker
from stem_core.testing.faults import FaultProxy

FLEET = 50
IS_LONG = "STEM_TEST_OUTAGE" in os.environ
OUTAGE_S = int(os.environ.pop("STEM_TEST_OUTAGE", "10"))
RAMP_S = 5
"""How long it takes until waits have doubled from 50 ms to 2 s, and connects are spread."""

MOST_A_SECOND = FLEET if IS_LONG else 1.5 * FLEET
"""Counted over any two seconds: who was held up for a moment is seen in the next one."""

RESUME_S = 3 if IS_LONG else 9
"""How soon all of them work again; a short trial shares its machine with others."""


busy: set[int] = set()


async def hold(number: int) -> None:
    """End when all are there: with one slot each, every worker has one then."""
    busy.add(number)
    while len(busy) < FLEET:
        await asyncio.sleep(0.02)


async def until(is_so: Callable[[], bool], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.02)


def test_fifty_workers_outlast_an_outage_and_come_back_a_few_at_a_time() -> None:
    async def trial(server: RedisServer) -> None:
        port = urlsplit(server.url).port
        async with FaultProxy(port=port) as proxy, AsyncExitStack() as stack:
            for number in range(FLEET):
                stem = Stem(f"redis://{proxy.netloc}/0")
                stem.task(name="hold")(hold)
                stack.push_async_callback(stem.aclose)
                await stack.enter_async_context(Worker(stem, concurrency=1, name=f"w{number}"))

            proxy.cut()
            rates = []
            for _ in range(OUTAGE_S):
                before, began = proxy.connections, time.monotonic()
                await asyncio.sleep(1)
                rates.append((proxy.connections - before) / (time.monotonic() - began))
            spread = [fmean(both) for both in pairwise(rates[RAMP_S:])]
            told = ", ".join(f"{rate:.0f}" for rate in rates)
            print(f"{FLEET} workers; connections in each second of the outage: {told}")
            print(f"in the end {fmean(spread):.0f} of them, {max(spread):.0f} at most")
            assert min(spread) > 0
            assert max(spread) <= MOST_A_SECOND

            async with Stem(server.url) as direct:
                calls = [direct.call("hold", {"number": number}) for number in range(FLEET)]
                await direct.enqueue_many(calls)
            back = time.monotonic()
            proxy.restore()
            await until(lambda: len(busy) == FLEET, RESUME_S)
            took = time.monotonic() - back
            print(f"all {FLEET} workers had a task {took:.2f} s after the return")

    with RedisServer() as server:
        asyncio.run(trial(server))
