"""Publishing that replicas confirm: a primary, and a replica that follows, stands still or goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest
from attrs import frozen
from integration.test_redis_ways_in import copied, copies
from services.redis import RedisServer

from stem_core import Stem, StemConfig
from stem_core.plugin import (
    Fault,
    Message,
    Milliseconds,
    Place,
    Published,
    PublishStatus,
    StoreFull,
    StoreMisconfigured,
    StoreUnavailable,
    UniqueKey,
)
from stem_redis import RedisStreamsBroker

WAIT_MS = 200
SLACK_S = 3.0

stem = Stem()


@stem.task(name="work")
async def work_on(n: int) -> None:
    pass


@frozen
class Pair:
    """A primary and its replica, which has all that the primary has."""

    primary: RedisServer
    replica: RedisServer

    @property
    def url(self) -> str:
        return f"{self.primary.url}?wait_replicas=1&wait_ms={WAIT_MS}ms"


def run(work: Coroutine[Any, Any, None]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(in_time())


@pytest.fixture
def pair() -> Iterator[Pair]:
    at_once = {"repl-diskless-sync-delay": "0"}
    with RedisServer(config=at_once) as primary, RedisServer(config=copies(primary)) as replica:
        run(copied(replica))
        yield Pair(primary, replica)


def message(id: str, **fields: Any) -> Message:
    return Message(**{"id": id, "queue": "q", "task": "t", "body": b"{}", **fields})


Ways = Callable[[str], Sequence[Message]]

WAYS: dict[str, Ways] = {
    "one": lambda name: [message(name)],
    "many": lambda name: [message(f"{name}{n}") for n in range(20)],
    "of several queues": lambda name: [message(f"{name}{n}", queue=f"q{n}") for n in range(3)],
    "delayed": lambda name: [message(name, delay_ms=3_600_000)],
    "unique": lambda name: [message(name, unique=UniqueKey(key=name))],
}


async def refused(broker: RedisStreamsBroker, messages: Sequence[Message]) -> str:
    """Publish *messages*, which nobody confirms; return what is said of it."""
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="not confirmed by 1 replica") as told:
        await broker.publish(messages)
    assert time.monotonic() - began < WAIT_MS / 1000 + SLACK_S
    assert told.value.fault is Fault.RECONNECT
    return told.value.message


def statuses(replies: Sequence[Published]) -> set[PublishStatus]:
    return {reply.status for reply in replies}


def test_what_a_replica_has_is_confirmed(pair: Pair):
    sent: list[str] = []

    async def work() -> None:
        broker = await RedisStreamsBroker.connect(pair.url)
        for n in range(30):  # by then the server is known to be near
            for way in WAYS:
                messages = WAYS[way](f"{way} {n} ")
                assert statuses(await broker.publish(messages)) == {PublishStatus.CREATED}
                sent.extend(each.id for each in messages)
        await broker.aclose()
        pair.primary.kill()
        await told(pair.replica, "REPLICAOF NO ONE")
        there = await RedisStreamsBroker.connect(pair.replica.url)
        assert all(await there.lookup(sent))
        await there.aclose()

    run(work())


async def told(server: RedisServer, command: str) -> None:
    """Tell *server* something without opening it as a store, which a replica refuses."""
    reader, writer = await asyncio.open_unix_connection(server.socket)
    writer.write(f"{command}\r\n".encode())
    assert (await reader.read(16)).startswith(b"+OK")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("harm", ["stands still", "is gone"])
def test_what_no_replica_has_is_not_confirmed_in_time_and_is_there_once(harm: str, pair: Pair):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(pair.url)
        for n in range(30):
            await broker.publish([message(f"warm{n}", queue="warm")])
        again = broker.sibling()
        pair.replica.kill() if harm == "is gone" else pair.replica.pause()
        batches = [WAYS[way](f"{way} ") for way in WAYS]
        for messages in batches:
            said = await refused(broker, messages)
            assert f"within {WAIT_MS} ms (0 did)" in said
            assert "a failover may still lose it" in said
            await refused(again, messages)  # at first by a connection that has written nothing
        pair.replica.start() if harm == "is gone" else pair.replica.resume()
        await copied(pair.replica)
        for messages in batches:
            assert statuses(await again.publish(messages)) == {PublishStatus.DUPLICATE}
        ids = [each.id for messages in batches for each in messages]
        assert [each and each.message.id for each in await broker.lookup(ids)] == ids
        counted = [each for each in await broker.admin.stats() if each.queue != "warm"]
        assert sum(each.ready + each.delayed for each in counted) == len(ids)
        await broker.aclose()
        await again.aclose()

    run(work())


def test_every_way_to_enqueue_is_confirmed_or_says_that_it_is_not(pair: Pair):
    config = StemConfig(publish_deadline_ms=Milliseconds(600))

    async def work(stem: Stem) -> None:
        async with stem:
            for n in range(30):
                await stem.enqueue("work", {"n": n})
            pair.replica.pause()
            ways: Sequence[Callable[[], Awaitable[Any]]] = [
                lambda: stem.enqueue("work", {"n": 1}),
                lambda: stem.enqueue_many([work_on.call(n) for n in range(1200)]),
                lambda: asyncio.to_thread(lambda: stem.blocking.enqueue("work", {"n": 1})),
                lambda: asyncio.gather(*(stem.enqueue("work", {"n": n}) for n in range(3))),
            ]
            for way in ways:
                with pytest.raises(StoreUnavailable, match="not confirmed by 1 replica"):
                    await way()
            pair.replica.resume()
            for way in ways:
                await way()

    run(work(Stem(broker=pair.url, config=config)))


def test_without_the_option_nobody_is_waited_for(pair: Pair):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(pair.primary.url)
        pair.replica.pause()
        await broker.publish([message("m")])
        (located,) = await broker.lookup(["m"])
        assert located is not None
        assert located.place is Place.READY
        stats = (await broker.enter().command("INFO", "commandstats")).decode()
        assert "cmdstat_wait:" not in stats
        await broker.aclose()

    run(work())


def test_a_confirmed_publish_is_one_round_trip_and_leaves_its_line_in_order(pair: Pair):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(pair.url)
        server = broker.enter()
        await broker.publish([message("first")])
        await server.command("SCRIPT", "FLUSH")
        await broker.publish([message("second")])  # by its text
        used = int((await server.command("INFO", "memory")).decode().split("used_memory:")[1][:9])
        await server.command("CONFIG", "SET", "maxmemory", str(used // 2))
        with pytest.raises(StoreFull):
            await broker.publish([message("no-room")])
        await server.command("CONFIG", "SET", "maxmemory", "0")
        before = server.calls
        await broker.publish([message("third")])
        assert server.calls - before == 1
        assert await server.command("PING") == b"PONG"
        assert len(server._idle) == 1
        await broker.aclose()

    run(work())


def test_who_may_not_ask_for_replicas_is_told_at_start():
    rights = "bob on >secret ~* &* +@all -wait"

    async def work(server: RedisServer) -> None:
        url = server.url_of("bob", "secret")
        await (await RedisStreamsBroker.connect(url)).aclose()
        with pytest.raises(StoreMisconfigured, match="does not allow this user"):
            await RedisStreamsBroker.connect(f"{url}?wait_replicas=1")

    with RedisServer(config={"user": ["default off", rights]}) as server:
        run(work(server))
