"""What a Redis server says in hard times, under a worker that runs; and replies that are lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest
from integration.test_redis_faults import message, one_task, patiently, run, take
from services.redis import RedisServer

from stem_core import ResultTimeout, Stem, TaskCancelled, Worker
from stem_core.observe.health import complaint
from stem_core.plugin import (
    Cancellation,
    CancelStatus,
    ExtendStatus,
    Extension,
    Fault,
    Progress,
    PublishStatus,
    Record,
    Settlement,
    SettleStatus,
    State,
    StoreError,
    StoreUnavailable,
)
from stem_core.testing.faults import RESP, FaultProxy
from stem_redis import RedisResultBackend, RedisStreamsBroker
from stem_redis.scripts import script

MANY = 30


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.01)


runs: Counter[str] = Counter()
"""How often each task ran, by a name that the test chose."""

may_end = asyncio.Event()


async def count(key: str) -> str:
    runs[key] += 1
    return key


async def hold(key: str) -> str:
    runs[key] += 1
    while not may_end.is_set():
        await asyncio.sleep(0.01)
    return key


@pytest.fixture(autouse=True)
def nothing_has_run() -> None:
    runs.clear()
    may_end.clear()


def stem_at(url: str) -> Stem:
    stem = Stem(url, backend=url)
    stem.task(name="count")(count)
    stem.task(name="hold", visibility_timeout="1h")(hold)
    return stem


# ── what the server says for a while ─────────────────────────────────────────

SAID = {
    "LOADING": b"-LOADING Redis is loading the dataset in memory\r\n",
    "MISCONF": b"-MISCONF Redis is configured to save RDB snapshots, and cannot\r\n",
    "BUSY": b"-BUSY Redis is busy running a script.\r\n",
    "MASTERDOWN": b"-MASTERDOWN Link with MASTER is down\r\n",
    "TRYAGAIN": b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
    "CLUSTERDOWN": b"-CLUSTERDOWN The cluster is down\r\n",
}
TIMES = 8


@pytest.mark.parametrize("code", SAID)
def test_a_worker_outlasts_what_the_server_says_for_a_while(code: str, server: RedisServer):
    async def work(proxy: FaultProxy) -> None:
        near, far = stem_at(server.url), stem_at(f"redis://{proxy.netloc}/0")
        async with near, far, Worker(far, concurrency=4) as worker:
            held = await near.enqueue("hold", args={"key": "held"})
            await until(lambda: runs["held"] == 1)
            for turn in range(TIMES):
                proxy.inject(SAID[code], of=turn + 1)
            ids = [await near.enqueue("count", args={"key": str(n)}) for n in range(MANY)]
            may_end.set()
            async with asyncio.timeout(8):
                ended = [await near.result(id) for id in (held, *ids)]
            assert ended == ["held", *map(str, range(MANY))]
            await until(lambda: not complaint(worker.vitals))
        assert proxy.sprung == TIMES
        assert set(runs.values()) == {1}  # what was refused was not done

    with FaultProxy.running(port=server.port, dialect=RESP) as proxy:
        run(work(proxy))


# ── rights and passwords that are taken away and given back ──────────────────


@asynccontextmanager
async def admin(server: RedisServer) -> AsyncIterator[Callable[..., Awaitable[bytes]]]:
    """Say commands to the server at a connection that is never refused."""
    reader, writer = await asyncio.open_unix_connection(server.socket)

    async def say(command: str) -> bytes:
        writer.write(command.encode() + b"\r\n")
        first = await reader.readline()
        if first.startswith(b"$"):
            return await reader.readexactly(int(first[1:]) + 2)
        assert not first.startswith(b"-"), first
        return first

    try:
        yield say
    finally:
        writer.close()
        await writer.wait_closed()


TAKEN_AWAY = {
    "NOAUTH": (
        ["CONFIG SET requirepass hunter2", "CLIENT KILL TYPE normal", "CLIENT KILL TYPE pubsub"],
        ["CONFIG SET requirepass ''"],
    ),
    "WRONGPASS": (
        ["ACL SETUSER bob resetpass >other", "CLIENT KILL USER bob"],
        ["ACL SETUSER bob resetpass >secret"],
    ),
    "NOPERM": (
        ["ACL SETUSER bob -evalsha -eval", "CLIENT KILL USER bob"],
        ["ACL SETUSER bob +evalsha +eval"],
    ),
    "NOPERM-in-scripts": (
        ["ACL SETUSER bob -zrange", "CLIENT KILL USER bob"],
        ["ACL SETUSER bob +zrange"],
    ),
}
LASTS_S = 1
MOST_CONNECTIONS = 30
"""Of all that a worker does beside each other, each with waits that double up to 2 s."""


@pytest.mark.parametrize("what", TAKEN_AWAY)
def test_a_worker_that_loses_its_rights_says_so_and_goes_on_when_it_has_them_again(what: str):
    take_away, give_back = TAKEN_AWAY[what]

    async def work(server: RedisServer) -> None:
        url = server.url if what == "NOAUTH" else server.url_of("bob", "secret")
        async with admin(server) as say, stem_at(url) as stem, Worker(stem) as worker:
            held = await stem.enqueue("hold", args={"key": "held"})
            await until(lambda: runs["held"] == 1)
            before = await accepted(say)
            for command in take_away:
                await say(command)
            may_end.set()  # its end cannot be told meanwhile
            await until(lambda: worker.vitals.fault == Fault.FATAL_CONFIG.value)
            assert "fatal-config" in complaint(worker.vitals)
            await asyncio.sleep(LASTS_S)
            assert await accepted(say) - before < MOST_CONNECTIONS
            for command in give_back:
                await say(command)
            async with asyncio.timeout(8):
                assert await patiently_result(stem, held) == "held"
                assert await stem.result(await stem.enqueue("count", args={"key": "b"})) == "b"
                await until(lambda: not complaint(worker.vitals))
            assert runs["held"] == 1
            if what == "NOAUTH":
                await a_cancel_is_heard_of(stem)

    config = {"user": "bob on >secret ~* &* +@all"}
    with RedisServer(config=config) as server:
        run(work(server))


async def patiently_result(stem: Stem, id: str) -> object:
    while True:
        try:
            return await stem.result(id)
        except StoreError:
            await asyncio.sleep(0.05)


async def a_cancel_is_heard_of(stem: Stem) -> None:
    """Cancel a task whose lease is not renewed for long: only the control channel tells of it."""
    may_end.clear()
    id = await stem.enqueue("hold", args={"key": "cancelled"})
    await until(lambda: runs["cancelled"] == 1)
    async with asyncio.timeout(8):
        while True:  # the channel listens again a little later than the rest works
            await stem.cancel(id)
            try:
                await stem.result(id, timeout=0.1)
            except ResultTimeout:
                continue
            except TaskCancelled:
                return


async def accepted(say: Callable[..., Awaitable[bytes]]) -> int:
    stats = (await say("INFO stats")).decode()
    return int(stats.split("total_connections_received:")[1].split()[0])


# ── replies that are lost ────────────────────────────────────────────────────

Lost = Literal["cut", "swallow"]
LEASE_MS = 400
IMPATIENT = "?timeout=300ms&connect_timeout=300ms"


@asynccontextmanager
async def behind(server: RedisServer) -> AsyncIterator[tuple[FaultProxy, RedisStreamsBroker]]:
    async with FaultProxy(port=server.port, dialect=RESP) as proxy:
        broker = await RedisStreamsBroker.connect(f"redis://{proxy.netloc}/0{IMPATIENT}")
        try:
            yield proxy, broker
        finally:
            await broker.aclose()


def sha_of(name: str, broker: RedisStreamsBroker) -> bytes:
    return script(name, broker.store.facts.reads_shebangs).sha.encode()


@pytest.mark.parametrize("then", ["cut", "swallow"])
def test_what_a_lost_reply_of_fetch_held_is_delivered_again_when_its_lease_ends(
    then: Lost, server: RedisServer
):
    async def work() -> None:
        async with behind(server) as (proxy, broker):
            ids = {f"m{n}" for n in range(10)}
            await take(broker)  # the script is known from now on
            await broker.publish([message(id, lease_ms=LEASE_MS) for id in sorted(ids)])
            proxy.drop_reply(matching=sha_of("fetch", broker), then=then)
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await take(broker)
            assert proxy.sprung == 1
            found: set[str] = set()
            while found != ids:
                taken = await patiently(lambda: take(broker, wait_ms=1_000))
                assert [each.lapses for each in taken] == [1] * len(taken)
                await broker.settle([Settlement(receipt=each.receipt) for each in taken])
                found |= {each.message.id for each in taken}
            assert time.monotonic() - began < 2

    run(work())


@pytest.mark.parametrize("then", ["cut", "swallow"])
def test_a_lost_reply_of_extend_and_of_cancel_can_be_asked_for_again(
    then: Lost, server: RedisServer
):
    async def work() -> None:
        async with behind(server) as (proxy, broker):
            await broker.publish([message("held"), message("waits", delay_ms=60_000)])
            (held,) = await take(broker)
            extension = [Extension(receipt=held.receipt, lease_ms=60_000)]
            await broker.extend(extension)  # both scripts are known from now on
            await broker.cancel([Cancellation(id="unknown")])
            proxy.drop_reply(matching=sha_of("extend", broker), then=then)
            with pytest.raises(StoreUnavailable):
                await broker.extend(extension)
            (kept,) = await broker.extend(extension)
            assert kept.status is ExtendStatus.HELD
            wish = [Cancellation(id="waits", reason="why"), Cancellation(id="held", reason="why")]
            proxy.drop_reply(matching=sha_of("cancel", broker), then=then)
            with pytest.raises(StoreUnavailable):
                await broker.cancel(wish)
            assert proxy.sprung == 2
            gone, asked = await broker.cancel(wish)
            assert (gone.status, asked.status) == (CancelStatus.FINISHED, CancelStatus.REQUESTED)
            (heard,) = await broker.extend(extension)
            assert heard.cancel_reason == "why"
            (settled,) = await broker.settle([Settlement(receipt=held.receipt)])
            assert settled.status is SettleStatus.DONE

    run(work())


def test_a_call_into_a_black_hole_fails_in_its_time_and_the_handle_works_again(
    server: RedisServer,
):
    async def work() -> None:
        async with behind(server) as (proxy, broker):
            backend = await RedisResultBackend.connect(f"redis://{proxy.netloc}/0{IMPATIENT}")
            await one_task(broker, "before")
            proxy.black_hole()
            for call in (
                lambda: broker.publish([message("lost")]),
                lambda: take(broker),
                lambda: backend.save([Record(id="r", state=State.SUCCEEDED)]),
                lambda: backend.wait("r", timeout_ms=10_000),
            ):
                async with asyncio.timeout(1):
                    with pytest.raises(StoreUnavailable):
                        await call()
            proxy.restore()
            await one_task(broker, "after")
            assert await backend.save([Record(id="r", state=State.SUCCEEDED)]) == [True]
            await backend.aclose()

    run(work())


# ── too much for the server ──────────────────────────────────────────────────

TOO_MUCH = 513 << 20


def test_what_the_server_would_cut_the_connection_for_is_refused_before_a_byte_is_sent(
    server: RedisServer,
):
    async def work() -> None:
        async with behind(server) as (proxy, broker):
            backend = await RedisResultBackend.connect(f"redis://{proxy.netloc}/0")
            await one_task(broker, "before")
            await backend.load(["r"])
            sent, opened = proxy.requests, proxy.connections
            (refused,) = await broker.publish([message("m", body=bytes(TOO_MUCH))])
            assert refused.status is PublishStatus.REFUSED
            for call in (
                lambda: backend.save(
                    [Record(id="r", state=State.SUCCEEDED, value=b"1" * (5 << 20))]
                ),
                lambda: backend.progress([Progress("r", 1, bytes(TOO_MUCH))]),
            ):
                with pytest.raises(StoreError) as told:
                    await call()
                assert told.value.fault is Fault.DATA
            assert (proxy.requests, proxy.connections) == (sent, opened)
            await one_task(broker, "after")
            assert proxy.connections == opened
            await backend.aclose()

    run(work())
