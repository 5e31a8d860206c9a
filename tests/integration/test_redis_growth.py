"""What is left at a Redis server after many tasks: nothing that grows.

STEM_TEST_TASKS says after how many; without it a few thousand. `nox -s soak` asks for 200,000.
"""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from services.redis import RedisServer

from stem_core.plugin import Message, Record, Settlement, State
from stem_redis import RedisStreamsBroker

TASKS = int(os.environ.pop("STEM_TEST_TASKS", "4000"))
AT_ONCE = 500
QUEUES = 7
MOST_PER_TASK = 1
TREMOR = 64 * 1024
"""Bytes: what an allocator or the buffer of a connection may take without a leak."""

OURS = {"turn": 128, "epoch": 128, "swept": 128, "walk": 128}
"""The keys that stay, and their greatest size in bytes: a counter, a name of these data, and two
notes that expire."""

PATIENCE_S = 240
WINDOW_MS = 1_000
"""How long ids and records are remembered here."""


async def many_tasks(broker: RedisStreamsBroker, name: str, count: int) -> None:
    """Let *count* tasks come and go, with results."""
    for start in range(0, count, AT_ONCE):
        await broker.publish(
            [
                Message(
                    id=f"{name}-{start + n}", queue=f"q{n % QUEUES}", task="t", body=b"x" * 200,
                    dedupe_for_ms=WINDOW_MS,
                )
                for n in range(AT_ONCE)
            ]
        )  # fmt: skip
        queues = [f"q{n}" for n in range(QUEUES)]
        while taken := await broker.fetch(queues, limit=AT_ONCE, wait_ms=0, worker="w"):
            await broker.settle([Settlement(receipt=d.receipt, record=ended(d)) for d in taken])


def ended(delivery) -> Record:
    return Record(
        id=delivery.message.id, state=State.SUCCEEDED, fence=delivery.receipt.fence,
        value=b'"done"', ttl_ms=WINDOW_MS,
    )  # fmt: skip


async def kept(broker: RedisStreamsBroker) -> dict[str, int]:
    """Return the keys of both databases and their sizes, in bytes."""
    home, results = broker.homes
    call = broker.enter().command
    sizes = {}
    for db in dict.fromkeys((home, results)):
        for name in await call("EVAL", _KEYS, 0, db, home):
            size = int(await call("EVAL", _SIZE, 0, db, home, name) or 0)
            sizes[name.decode().removeprefix(broker.store.prefix)] = size
    return sizes


_KEYS = "redis.call('SELECT', ARGV[1]) local k = redis.call('KEYS', '*') "
_KEYS += "redis.call('SELECT', ARGV[2]) return k"
_SIZE = "redis.call('SELECT', ARGV[1]) local n = redis.call('MEMORY', 'USAGE', ARGV[3]) "
_SIZE += "redis.call('SELECT', ARGV[2]) return n"


async def forgotten(broker: RedisStreamsBroker) -> int:
    """Wait until no key is left but those of `OURS`; return the bytes that the server uses."""
    queues, call = [f"q{n}" for n in range(QUEUES)], broker.enter().command
    until = time.monotonic() + PATIENCE_S
    while strangers := (sizes := await kept(broker)).keys() - OURS.keys():
        assert time.monotonic() < until, f"{len(strangers)} keys stay: {sorted(strangers)[:9]}"
        # Who looks sweeps; who waited would leave a note for each queue.
        await broker.fetch(queues, limit=1, wait_ms=0, worker="w")
        await asyncio.sleep(0.2)
    assert all(size <= OURS[name] for name, size in sizes.items()), sizes
    await call("MEMORY", "PURGE")
    told = (await call("INFO", "memory")).decode()
    return int(told.partition("used_memory:")[2].split()[0])


@pytest.mark.parametrize("where", ["", "?results_db=1"])
def test_keys_and_memory_return_to_where_they_were(where: str) -> None:
    async def trial(server: RedisServer) -> None:
        broker = await RedisStreamsBroker.connect(server.url + where)
        await many_tasks(broker, "first", TASKS)  # buffers, scripts and tables have their size
        before = await forgotten(broker)
        await many_tasks(broker, "more", TASKS)
        after = await forgotten(broker)
        names = sorted(await kept(broker))
        print(f"{TASKS:,} tasks {where}: {before:,} bytes; as many again: {after:,}; keys {names}")
        assert after - before < TASKS * MOST_PER_TASK + TREMOR
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
