"""Whoever waits for results in Redis is told of them by one connection, and without it looks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

import pytest
from integration.test_redis_faults import run
from services.redis import RedisServer

from stem_core.plugin import SYSTEM_CLOCK, Nap, Record, State
from stem_core.testing.faults import RESP, FaultProxy
from stem_redis import RedisResultBackend

IDS = [f"r{n}" for n in range(20)]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def ended(id: str) -> Record:
    return Record(id=id, state=State.SUCCEEDED, fence=1)


def waits(backend: RedisResultBackend, *ids: str) -> list[asyncio.Task[Record | None]]:
    return [asyncio.create_task(backend.wait(id, timeout_ms=60_000)) for id in ids]


async def told(backend: RedisResultBackend) -> Sequence[str]:
    """Return which results the server tells somebody of."""
    channels = await backend.enter().command("PUBSUB", "CHANNELS")
    return [channel.decode() for channel in channels]


async def listeners(backend: RedisResultBackend) -> int:
    """Return how many connections are subscribed to something."""
    clients = await backend.enter().command("CLIENT", "LIST", "TYPE", "pubsub")
    return len(clients.splitlines())


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await is_so():
            await asyncio.sleep(0.01)


async def all_told(backend: RedisResultBackend, count: int = len(IDS)) -> None:
    async def is_so() -> bool:
        return len(await told(backend)) == count

    await until(is_so)


def test_many_who_wait_share_one_connection_and_leave_nothing_subscribed(server: RedisServer):
    async def work() -> None:
        backend = await RedisResultBackend.connect(server.url)
        other = backend.sibling()
        for _ in range(2):
            waiting = waits(backend, *IDS)
            await all_told(other)
            assert await listeners(other) == 1
            await other.save([ended(id) for id in IDS])
            assert await asyncio.gather(*waiting) == [ended(id) for id in IDS]
            await all_told(other, 0)
            await other.enter().command("FLUSHALL")
        clients = await other.enter().command("INFO", "clients")
        assert b"connected_clients:1\r" not in clients  # the line is kept for the next
        await backend.aclose()
        await other.aclose()

    run(work())


def test_results_come_at_once_after_the_connection_was_cut_under_many_who_wait(
    server: RedisServer,
):
    async def work() -> None:
        backend = await RedisResultBackend.connect(server.url)
        other = backend.sibling()
        waiting = waits(backend, *IDS)
        for half in (IDS[:10], IDS[10:]):
            await all_told(other, len(IDS) if half[0] == IDS[0] else 10)
            await other.enter().command("CLIENT", "KILL", "TYPE", "pubsub")
            await other.save([ended(id) for id in half])
            async with asyncio.timeout(2):  # who looked by himself would be later
                found = await asyncio.gather(*waiting[: len(half)])
            assert found == [ended(id) for id in half]
            del waiting[: len(half)]
        await backend.aclose()
        await other.aclose()

    run(work())


def test_who_joins_a_wait_for_the_same_result_misses_no_end(server: RedisServer):
    async def work() -> None:
        backend = await RedisResultBackend.connect(server.url)
        other = backend.sibling()
        nap, look, never = Nap(), backend._ended, 10**9
        backend._pushes.follow(backend.enter(), nap, "r")
        await nap.sleep(SYSTEM_CLOCK, never)  # its subscription is confirmed

        async def saved_meanwhile(id: str) -> Record | None:
            backend._ended = look  # type: ignore[method-assign]
            found = await look(id)
            await other.save([ended(id)])
            await nap.sleep(SYSTEM_CLOCK, never)  # it was told to others
            return found

        backend._ended = saved_meanwhile  # type: ignore[method-assign]
        async with asyncio.timeout(2):
            assert await backend.wait("r", timeout_ms=60_000) == ended("r")
        await backend.aclose()
        await other.aclose()

    run(work())


SILENT = "bob on >secret resetchannels ~* &{stem}:control:* +@all"


def test_who_may_not_be_told_waits_all_the_same_and_is_warned_once(
    caplog: pytest.LogCaptureFixture,
):
    async def work(server: RedisServer) -> None:
        backend = await RedisResultBackend.connect(server.url_of("bob", "secret"))
        other = await RedisResultBackend.connect(server.url)
        before = await accepted(other)
        waiting = waits(backend, *IDS)
        await asyncio.sleep(1)
        await other.save([ended(id) for id in IDS])
        async with asyncio.timeout(3):
            assert await asyncio.gather(*waiting) == [ended(id) for id in IDS]
        assert await accepted(other) - before < 30  # of which 16 are for looks
        await backend.aclose()
        await other.aclose()

    with RedisServer(config={"user": SILENT}) as server:
        run(work(server))
    warnings = [each for each in caplog.records if "looks for them instead" in each.message]
    assert len(warnings) == 1


async def accepted(backend: RedisResultBackend) -> int:
    stats = (await backend.enter().command("INFO", "stats")).decode()
    return int(stats.split("total_connections_received:")[1].split()[0])


def test_a_subscription_that_is_never_confirmed_delays_a_result_a_little_and_fails_nobody(
    server: RedisServer,
):
    async def work() -> None:
        async with FaultProxy(port=server.port, dialect=RESP) as proxy:
            backend = await RedisResultBackend.connect(f"redis://{proxy.netloc}/0")
            other = await RedisResultBackend.connect(server.url)
            proxy.drop_reply(matching=b"SUBSCRIBE", then="swallow")
            waiting = waits(backend, "a", "b")
            await until(sprung(proxy))
            await other.save([ended("a")])
            async with asyncio.timeout(3):
                assert await waiting[0] == ended("a")
            assert not waiting[1].done()
            proxied = backend._pushes._channels
            await until(has_another(backend, proxied))  # the silent connection is given up
            await other.save([ended("b")])
            async with asyncio.timeout(0.5):
                assert await waiting[1] == ended("b")
            await backend.aclose()
            await other.aclose()

    run(work())


def sprung(proxy: FaultProxy) -> Callable[[], Awaitable[bool]]:
    async def is_so() -> bool:
        return proxy.sprung == 1

    return is_so


def has_another(backend: RedisResultBackend, old: object) -> Callable[[], Awaitable[bool]]:
    async def is_so() -> bool:
        channels = backend._pushes._channels
        return channels is not None and channels is not old and "b" in channels.told

    return is_so


def test_whoever_comes_and_goes_while_the_connection_opens_leaves_none_behind(
    server: RedisServer,
):
    async def work() -> None:
        backend = await RedisResultBackend.connect(server.url)
        other = backend.sibling()
        await backend.load(["r"])
        before = await accepted_and_open(other)
        for turns in range(40):  # a cancel at each step of an opening
            (waiting,) = waits(backend, "r")
            for _ in range(turns // 2):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        await asyncio.sleep(0.1)
        assert await accepted_and_open(other) <= before + 1
        (waiting,) = waits(backend, "r")
        await all_told(other, 1)
        await other.save([ended("r")])
        async with asyncio.timeout(2):
            assert await waiting == ended("r")
        await backend.aclose()
        await other.aclose()

    run(work())


async def accepted_and_open(backend: RedisResultBackend) -> int:
    return len((await backend.enter().command("CLIENT", "LIST")).splitlines())


def test_a_backend_that_is_closed_sends_home_whoever_waits(server: RedisServer):
    async def work() -> None:
        backend = await RedisResultBackend.connect(server.url)
        other = backend.sibling()
        waiting = waits(backend, *IDS)
        await all_told(other)
        await backend.aclose()
        async with asyncio.timeout(0.5):
            assert await asyncio.gather(*waiting) == [None] * len(IDS)
        await all_told(other, 0)
        await other.aclose()

    run(work())
