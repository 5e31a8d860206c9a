"""A Redis that loses what it holds: said once, counted, and lived through."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from integration.test_redis_ways_in import copied, copies, patiently
from services.redis import RedisServer
from services.sentinel import Sentinel

from stem_core import Stem, Worker
from stem_core.observe.metrics import Metrics
from stem_core.plugin import Event, Loss, Message, StoreError, StoreUnavailable
from stem_redis import RedisStreamsBroker
from stem_redis.facts import facts_of

LOST = "what waited in the namespace stem is lost"


def run(work: Coroutine[Any, Any, None]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(in_time())


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was said of lost data so far, and with what gravity."""
    return lambda: [
        f"{record.levelname} {record.getMessage()}"
        for record in caplog.records
        if LOST in record.getMessage()
    ]


class Watched:
    """A broker that takes whatever comes, and what it told of losses."""

    def __init__(self, broker: RedisStreamsBroker) -> None:
        self.broker = broker
        self.losses: list[tuple[Loss, int]] = []
        broker.losses.add(lambda loss, count: self.losses.append((loss, count)))

    async def sweeps(self) -> None:
        """Return once it has swept from now on, however long the server is away."""
        before = self.broker._fetching.sweeper._at_ms
        while True:
            try:
                await self.broker.fetch(["q"], limit=10, wait_ms=0, worker="w")
            except StoreUnavailable:
                before = self.broker._fetching.sweeper._at_ms  # it tried in vain
            else:
                if self.broker._fetching.sweeper._at_ms != before:
                    return
            await asyncio.sleep(0.02)


async def watched(url: str) -> Watched:
    it = Watched(await RedisStreamsBroker.connect(url))
    await it.broker.publish([message("m")])
    await it.sweeps()
    return it


async def uptime_s(broker: RedisStreamsBroker) -> int:
    return facts_of((await broker.enter().command("INFO", "server")).decode(), "").uptime_s


def message(id: str) -> Message:
    return Message(id=id, queue="q", task="t", body=b"{}", lease_ms=60_000)


# ── it is said, once ─────────────────────────────────────────────────────────


def test_a_server_that_comes_back_empty_is_told_of_once_for_each_time(
    server: RedisServer, said: Callable[[], list[str]]
):
    async def work() -> None:
        it = await watched(server.url)
        for times in (1, 2):
            server.restart(keep_data=False)
            await patiently(lambda: it.broker.publish([message("new")]))  # and hides nothing
            await it.sweeps()
            await it.sweeps()
            assert it.losses == [(Loss.EVERYTHING, 0)] * times
        await it.broker.aclose()

    run(work())
    assert len(said()) == 2
    assert said()[0].startswith(f"ERROR redis://127.0.0.1:{server.port}/0 came back without its")


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB"])
def test_a_server_that_is_emptied_is_told_of_once(
    command: str, server: RedisServer, said: Callable[[], list[str]]
):
    async def work() -> None:
        it = await watched(server.url)
        other = await watched(server.url)
        while await uptime_s(it.broker) < 4:  # longer than the brokers have not looked
            await it.sweeps()
            await other.sweeps()
        await it.broker.enter().command(command)
        for each in (it, other, it, other):
            await each.sweeps()
        assert (it.losses, other.losses) == ([(Loss.EVERYTHING, 0)], [(Loss.EVERYTHING, 0)])
        await it.broker.aclose()
        await other.broker.aclose()

    run(work())
    assert len(said()) == 2  # by each of them
    assert "was emptied while it ran (FLUSHALL or FLUSHDB)" in said()[0]


def test_no_password_is_in_what_is_said_of_a_loss(said: Callable[[], list[str]]):
    async def work(server: RedisServer) -> None:
        it = await watched(server.url)
        await it.broker.enter().command("FLUSHALL")
        await it.sweeps()
        await it.broker.aclose()

    with RedisServer(config={"requirepass": "hunter2"}) as server:
        run(work(server))
    assert len(said()) == 1
    assert "hunter2" not in said()[0]


def test_a_server_that_kept_its_data_is_not_told_of(said: Callable[[], list[str]]):
    async def work(server: RedisServer) -> None:
        it = await watched(server.url)
        server.kill()
        server.start()
        await it.sweeps()
        await it.sweeps()
        assert it.losses == []
        await it.broker.aclose()

    with RedisServer(durable=True) as server:
        run(work(server))
    assert said() == []


def test_a_replica_that_takes_over_with_all_data_is_not_told_of(said: Callable[[], list[str]]):
    async def work(master: RedisServer, replica: RedisServer, sentinel: Sentinel) -> None:
        await copied(replica)
        it = await watched(sentinel.url)
        await asyncio.sleep(1.2)  # the sentinel asks its master for replicas once in a second
        master.kill()
        await it.sweeps()
        await it.sweeps()
        assert it.losses == []
        await it.broker.aclose()

    with (
        RedisServer() as master,
        RedisServer(config=copies(master)) as replica,
        Sentinel(master) as sentinel,
    ):
        run(work(master, replica, sentinel))
    assert said() == []


def test_who_accepts_that_keys_are_thrown_away_is_not_told_that_all_is_lost(
    said: Callable[[], list[str]],
):
    async def work(server: RedisServer) -> None:
        it = await watched(f"{server.url}?allow_eviction=true")
        await it.broker.enter().command("DEL", "{stem}:epoch")
        await it.sweeps()
        assert it.losses == []
        await it.broker.aclose()

    with RedisServer(config={"maxmemory-policy": "allkeys-random"}) as server:
        run(work(server))
    assert said() == []


def test_a_stranger_in_the_place_of_the_mark_is_named_and_not_taken_for_a_loss(
    server: RedisServer, said: Callable[[], list[str]]
):
    async def work() -> None:
        it = await watched(server.url)
        await it.broker.enter().command("RENAME", "{stem}:epoch", "aside")
        await it.broker.enter().command("RPUSH", "{stem}:epoch", "stranger")
        with pytest.raises(StoreError, match="epoch holds a list"):
            await it.sweeps()
        await it.broker.enter().command("RENAME", "aside", "{stem}:epoch")
        await it.sweeps()
        assert it.losses == []
        await it.broker.aclose()

    run(work())
    assert said() == []


# ── it is counted, and lived through ─────────────────────────────────────────


class Seen:
    """All events of a worker, and its numbers."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.metrics = Metrics({"work"}, {"default"})

    def on_event(self, event: Event, /) -> None:
        self.events.append(event)
        self.metrics.on_event(event)

    def count(self, family: str) -> float:
        return sum(row.numbers[0] for row in self.metrics.rows() if row.family == family)

    async def ends(self, count: int) -> list[Event]:
        """Return how tasks have come out, once so many have."""
        while True:
            ends = [event for event in self.events if event.name == "task-succeeded"]
            if len(ends) >= count:
                return ends
            await asyncio.sleep(0.02)


class Gate:
    """Lets a test know that the task has begun, and the task that it may end."""

    begun: asyncio.Event
    may_end: asyncio.Event


stem = Stem()


@stem.task(name="work")
async def work_until_told() -> str:
    Gate.begun.set()
    await Gate.may_end.wait()
    return "done"


def over(url: str, work: Coroutine[Any, Any, None], results: str = "") -> None:
    """Run *work* with `stem` at *url*."""
    Gate.begun, Gate.may_end = asyncio.Event(), asyncio.Event()
    with stem.override(broker=url, backend=results or url):
        run(work)


async def command(server: RedisServer, *words: str) -> None:
    """Tell *server* something, from outside."""
    stranger = await RedisStreamsBroker.connect(server.url)
    await stranger.enter().command(*words)
    await stranger.aclose()


@pytest.mark.parametrize("results", ["", "/1", "memory://lost-results"])
def test_what_runs_while_the_server_is_emptied_ends_and_its_result_is_kept(
    results: str, server: RedisServer, caplog: pytest.LogCaptureFixture
):
    async def work() -> None:
        seen = Seen()
        async with stem, Worker(stem, observers=[seen]):
            id = await stem.enqueue("work")
            await Gate.begun.wait()
            await command(server, "FLUSHALL")
            Gate.may_end.set()
            (first,) = await seen.ends(1)
            assert await stem.result(id, timeout=20) == "done"
            while seen.count("stem_store_emptied_total") < 1:
                await asyncio.sleep(0.02)
            second = await stem.enqueue("work")
            assert await stem.result(second, timeout=20) == "done"
            _, later = await seen.ends(2)
        assert (first.detail.get("orphan"), later.detail.get("orphan")) == (True, None)

    over(server.url, work(), server.url.replace("/0", "/1") if results == "/1" else results)
    assert "has ended, but its store has lost its message; its record is kept" in caplog.text


def test_what_ends_while_a_server_restarts_empty_is_an_orphan_too(server: RedisServer):
    async def work() -> None:
        seen = Seen()
        async with stem, Worker(stem, observers=[seen]):
            id = await stem.enqueue("work")
            await Gate.begun.wait()
            server.stop()
            Gate.may_end.set()
            while not any(event.name == "store-failed" for event in seen.events):
                await asyncio.sleep(0.02)
            server.start()
            (end,) = await seen.ends(1)
            assert await stem.result(id, timeout=20) == "done"
        assert end.detail["orphan"] is True

    over(server.url, work())


def test_messages_that_somebody_deletes_are_counted(server: RedisServer):
    async def work() -> None:
        seen = Seen()
        async with stem:
            ids = [await stem.enqueue("work") for _ in range(3)]
            await command(server, "DEL", *(f"{{stem}}:m:{id}" for id in ids[:2]))
            Gate.may_end.set()
            async with Worker(stem, observers=[seen]):
                assert await stem.result(ids[2], timeout=20) == "done"
        assert seen.count("stem_messages_vanished_total") == 2
        assert seen.count("stem_store_emptied_total") == 0

    over(server.url, work())
