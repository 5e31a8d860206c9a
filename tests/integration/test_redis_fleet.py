"""Fifty workers whose server is away: they come back by themselves, and not all at once.

STEM_TEST_OUTAGE says for how many seconds; without it a few.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from statistics import fmean
from urllib.parse import urlsplit

from services.redis import RedisServer

from stem_core import Stem, Worker
from stem_core.testing.faults import FaultProxy

FLEET = 50
OUTAGE_S = int(os.environ.pop("STEM_TEST_OUTAGE", "9"))
MOST_A_SECOND = FLEET
RAMP_S = 6
"""How long it takes until waits have doubled from 50 ms to 2 s."""

seen: set[int] = set()


async def note(number: int) -> None:
    seen.add(number)
    await asyncio.sleep(0.2)  # so that one worker cannot take them all


async def until(is_so: Callable[[], bool], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.02)


def test_fifty_workers_outlast_an_outage_and_come_back_a_few_at_a_time() -> None:
    async def trial(server: RedisServer) -> None:
        port = urlsplit(server.url).port
        async with FaultProxy(port=port) as proxy, AsyncExitStack() as fleet:
            url = f"redis://{proxy.netloc}/0"
            for number in range(FLEET):
                stem = Stem(url)
                stem.task(name="note")(note)
                fleet.push_async_callback(stem.aclose)
                await fleet.enter_async_context(Worker(stem, concurrency=1, name=f"w{number}"))

            proxy.cut()
            rates = []
            for _ in range(OUTAGE_S):
                before = proxy.connections
                await asyncio.sleep(1)
                rates.append(proxy.connections - before)
            print(f"{FLEET} workers; connections in each second of the outage: {rates}")
            assert 0 < fmean(rates[RAMP_S:]) <= MOST_A_SECOND

            async with Stem(server.url) as direct:
                await direct.enqueue_many(
                    [direct.call("note", {"number": n}) for n in range(FLEET)]
                )
            back = time.monotonic()
            proxy.restore()
            await until(lambda: len(seen) == FLEET, 60)
            took = time.monotonic() - back
            print(f"all {FLEET} tasks had been started {took:.2f} s after the return")

    with RedisServer() as server:
        asyncio.run(trial(server))
