"""The Redis store keeps every promise: in a time that a test moves, and in the server's own."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from hypothesis import settings
from services.redis import RedisServer
from services.server import Server

from stem_core.plugin import Place, PluginContext, StemURL
from stem_core.testing import BrokerContract, FakeClock, ResultBackendContract, Stage
from stem_core.testing.contract.staging import OnBroker
from stem_core.testing.faults import RESP, FaultProxy
from stem_core.testing.model.machine import RUN, run_model
from stem_redis.backend import RedisResultBackend
from stem_redis.broker import RedisStreamsBroker
from stem_redis.options import RedisOptions

_names = itertools.count()
_UNIT_MS = 10_000
"""Keys expire by the server's own clock, which must not overtake that of the test."""

_BREATH_S = 0.01
"""What is on its way to a server has arrived after this."""

EVERYTHING = frozenset({
    "delay", "priority", "uniqueness", "dedupe", "cancel", "pause", "dead_letters",
    "atomic_results", "broadcast", "limits",
})  # fmt: skip

OURS = ("turn", "epoch", "swept", "walk", "health")
"""Keys of a namespace that hold no task and do not grow."""


class ServerStage(Stage):
    """A stage whose store is reached over a connection."""

    async def breathe(self) -> None:
        await super().breathe()
        await asyncio.sleep(_BREATH_S)


def in_a_time_of_its_own(url: str, results_db: int | None = None) -> Callable[[], Awaitable[Stage]]:
    """Open fresh namespaces whose time stands still until a test moves it."""

    async def open_stage() -> Stage:
        clock = FakeClock()
        context = PluginContext(namespace=fresh_name(), clock=clock)

        async def let_pass(duration_ms: int) -> None:
            clock.advance(timedelta(milliseconds=duration_ms))
            await stage.breathe()

        broker, backend = await opened(url, context, results_db)
        stage = ServerStage(
            broker,
            backend,
            let_pass=let_pass,
            wall_ms=clock.wall_ms,
            due_shows=frozenset({Place.DELAYED}),
            unit_ms=_UNIT_MS,
            cut=cutting(broker),
        )
        return stage

    return open_stage


def in_the_servers_time(url: str) -> Callable[[], Awaitable[Stage]]:
    """Open fresh namespaces that go by the server's clock, and can name what is left in them."""

    async def open_stage() -> Stage:
        context = PluginContext(namespace=fresh_name())
        broker, backend = await opened(url, context, None)

        async def leftovers() -> Sequence[str]:
            return await kept_by(broker)

        return ServerStage(broker, backend, unit_ms=500, leftovers=leftovers, cut=cutting(broker))

    return open_stage


def behind(proxy: FaultProxy, url: str) -> Callable[[], Awaitable[Stage]]:
    """Open fresh namespaces of a server of our own, which is reached through *proxy*."""

    async def open_stage() -> Stage:
        near = url.replace(StemURL.parse(url).netloc, proxy.netloc)
        broker, backend = await opened(near, PluginContext(namespace=fresh_name()), None)

        async def used_memory() -> int:
            told = (await broker.enter().command("INFO", "memory")).decode()
            return int(told.split("used_memory:")[1].split()[0])

        @asynccontextmanager
        async def full() -> AsyncIterator[None]:
            server = broker.enter()
            await server.command("CONFIG", "SET", "maxmemory", await used_memory() - 100_000)
            try:
                yield
            finally:
                await server.command("CONFIG", "SET", "maxmemory", 0)

        @asynccontextmanager
        async def read_only() -> AsyncIterator[None]:
            server = broker.enter()
            await server.command("REPLICAOF", "127.0.0.1", "1")
            try:
                yield
            finally:
                await server.command("REPLICAOF", "NO", "ONE")

        return ServerStage(
            broker, backend, unit_ms=500, full=full, read_only=read_only, network=proxy
        )

    return open_stage


def fresh_name() -> str:
    return f"contract-{os.getpid()}-{next(_names)}"


async def opened(
    url: str, context: PluginContext, results_db: int | None
) -> tuple[RedisStreamsBroker, RedisResultBackend]:
    home = StemURL.parse(url)
    other = home if results_db is None else home.with_path(f"/{results_db}")
    broker = await RedisStreamsBroker.open(home, RedisOptions(results_db=results_db), context)
    return broker, await RedisResultBackend.open(other, RedisOptions(), context)


def cutting(broker: RedisStreamsBroker) -> Callable[[], Awaitable[None]]:
    """Return what cuts every connection to the server but the one that asks for it."""

    async def cut() -> None:
        await broker.enter().command("CLIENT", "KILL", "TYPE", "pubsub")
        await broker.enter().command("CLIENT", "KILL", "TYPE", "normal")

    return cut


async def kept_by(broker: RedisStreamsBroker) -> list[str]:
    """Name the keys of the namespace of *broker* that hold something of a task."""
    prefix = broker.store.prefix
    keys = await broker.enter().command("KEYS", f"{prefix}*")
    names = sorted(key.decode().removeprefix(prefix) for key in keys)
    return [name for name in names if name not in OURS and not name.startswith("z:")]


class TestBroker(BrokerContract):
    claims = EVERYTHING

    @pytest.fixture(params=["one database", "results in another"])
    def stem_broker(self, request: pytest.FixtureRequest, redis_server: Server) -> object:
        results_db = None if request.param == "one database" else 7
        return in_a_time_of_its_own(redis_server.url, results_db)


class TestBackend(ResultBackendContract):
    claims = frozenset({"push", "listing", "progress"})

    @pytest.fixture
    def stem_backend(self, redis_server: Server) -> object:
        return in_a_time_of_its_own(redis_server.url)


class TestBrokerInTheServersTime(BrokerContract):
    claims = EVERYTHING

    @pytest.fixture
    def stem_broker(self, redis_server: Server) -> object:
        return redis_server.url


class TestRetentionInTheServersTime(OnBroker):
    """Only the server's own clock lets keys expire."""

    test_nothing_is_left = (
        BrokerContract.test_when_every_retention_is_over_nothing_is_left_at_the_store
    )

    @pytest.fixture
    def stem_broker(self, redis_server: Server) -> object:
        return in_the_servers_time(redis_server.url)


@pytest.fixture(scope="module")
def own_server() -> Iterator[RedisServer]:
    """A server whose settings a test may change."""
    with RedisServer() as server:
        yield server


class TestTroubleOfTheServer(OnBroker):
    """What a test can only see on a server that it may spoil: full, read-only, cut off."""

    test_without_room = (
        BrokerContract.test_a_settlement_without_room_for_what_it_adds_changes_nothing
    )
    test_without_writes = BrokerContract.test_a_store_that_takes_no_writes_is_not_healthy
    test_publish_cut_off = (
        BrokerContract.test_a_publish_whose_reply_the_network_lost_makes_no_second_message
    )
    test_settle_cut_off = BrokerContract.test_a_settlement_whose_reply_the_network_lost_happens_once

    @pytest.fixture
    def stem_broker(self, own_server: RedisServer) -> Iterator[object]:
        (home,) = StemURL.parse(own_server.url).hosts
        with FaultProxy.running(home.name, home.port, dialect=RESP) as proxy:
            yield behind(proxy, own_server.url)


class TestBackendInTheServersTime(ResultBackendContract):
    claims = frozenset({"push", "listing", "progress"})

    @pytest.fixture
    def stem_backend(self, redis_server: Server) -> object:
        return redis_server.url


def test_the_redis_store_does_what_the_model_says(redis_server: Server):
    run_model(in_a_time_of_its_own(redis_server.url), settings=settings(RUN, max_examples=15))
