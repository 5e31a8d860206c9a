"""What is left at a Redis server after many tasks: nothing that grows.

STEM_TEST_TASKS says after how many; without it a few thousand.
"""

from __future__ import annotations

import asyncio
import os

from services.redis import RedisServer

from stem_core.plugin import Message, Record, Settlement, State
from stem_redis import RedisStreamsBroker

TASKS = int(os.environ.pop("STEM_TEST_TASKS", "4000"))
AT_ONCE = 500
WINDOW_MS = 1_000
"""How long ids and records are remembered here."""


async def many_tasks(broker: RedisStreamsBroker, name: str, count: int) -> None:
    """Let *count* tasks come and go, with results."""
    for start in range(0, count, AT_ONCE):
        await broker.publish(
            [
                Message(
                    id=f"{name}-{start + n}", queue=f"q{n % 7}", task="t", body=b"x" * 200,
                    dedupe_for_ms=WINDOW_MS,
                )
                for n in range(AT_ONCE)
            ]
        )  # fmt: skip
        queues = [f"q{n}" for n in range(7)]
        while taken := await broker.fetch(queues, limit=AT_ONCE, wait_ms=0, worker="w"):
            await broker.settle([Settlement(receipt=d.receipt, record=ended(d)) for d in taken])


def ended(delivery) -> Record:
    return Record(
        id=delivery.message.id, state=State.SUCCEEDED, fence=delivery.receipt.fence,
        value=b'"done"', ttl_ms=WINDOW_MS,
    )  # fmt: skip


async def held(broker: RedisStreamsBroker) -> tuple[int, int]:
    """Return keys and bytes once what was remembered for a while has been forgotten."""
    queues, server = [f"q{n}" for n in range(7)], broker.enter()
    async with asyncio.timeout(120):
        while (keys := await server.command("DBSIZE")) > 5:
            # Who looks sweeps; who waited would leave a note for each queue.
            await broker.fetch(queues, limit=1, wait_ms=0, worker="w")
            await asyncio.sleep(0.2)
    await server.command("MEMORY", "PURGE")
    told = (await server.command("INFO", "memory")).decode()
    return keys, int(told.partition("used_memory:")[2].split()[0])


def test_keys_and_memory_return_to_where_they_were() -> None:
    async def trial(server: RedisServer) -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await many_tasks(broker, "first", AT_ONCE)  # buffers and scripts have their size
        keys, used = await held(broker)
        await many_tasks(broker, "more", TASKS)
        left, now_used = await held(broker)
        print(f"{TASKS} tasks: {keys} keys, {used:,} bytes; then {left} keys, {now_used:,} bytes")
        assert left <= 5
        assert now_used < used + 1_000_000
        await broker.aclose()

    with RedisServer() as server:
        asyncio.run(trial(server))


def test_a_queue_leaves_nothing_once_nobody_sleeps_there() -> None:
    """Its sleeper outlasts several sweeps, and must not cost the key that wakes him."""

    async def trial(server: RedisServer) -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        call = broker.enter().command

        async def sweep() -> None:
            await call("DEL", "{stem}:swept")  # else nobody does for half a second
            other = broker.sibling()
            await other.fetch(["elsewhere"], limit=1, wait_ms=0, worker="w")
            await other.aclose()

        waiting = asyncio.create_task(
            broker.fetch(["passing"], limit=1, wait_ms=30_000, worker="w")
        )
        await reached(call, "z:passing")
        await broker.publish(
            [Message(id="a", queue="passing", task="t", body=b"x", dedupe_for_ms=1)]
        )
        [delivery] = await waiting
        await broker.settle([Settlement(receipt=delivery.receipt)])
        sleeper = asyncio.create_task(
            broker.fetch(["passing"], limit=1, wait_ms=30_000, worker="w")
        )
        await reached(call, "z:passing")
        for _ in range(3):
            await sweep()
        assert await call("EXISTS", "{stem}:w:passing") == 1
        sleeper.cancel()
        await asyncio.wait([sleeper])
        await call("DEL", "{stem}:z:passing")  # as when its time is over
        async with asyncio.timeout(60):
            while await call("EXISTS", "{stem}:w:passing", "{stem}:queues"):
                await sweep()
        await broker.aclose()

    with RedisServer() as server:
        asyncio.run(trial(server))


async def reached(call, key: str) -> None:
    async with asyncio.timeout(60):
        while not await call("EXISTS", "{stem}:" + key):
            await asyncio.sleep(0.01)
