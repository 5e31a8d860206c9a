"""The Postgres store keeps every promise: in a time that a test moves, and in the server's own."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

import psycopg
import pytest
from hypothesis import settings
from services.postgres import PostgresServer
from services.server import Server

from stem_core.plugin import PluginContext, StemURL, TlsConfig, options_from_query
from stem_core.testing import BrokerContract, FakeClock, ResultBackendContract, Stage
from stem_core.testing.contract.staging import OnBroker
from stem_core.testing.model.machine import RUN, run_model
from stem_postgres.backend import PostgresResultBackend
from stem_postgres.broker import PostgresBroker
from stem_postgres.location import location_of
from stem_postgres.migrating import migrate
from stem_postgres.options import PostgresOptions

_names = itertools.count()
_BREATH_S = 0.02
"""What is on its way to a server has arrived after this."""

EVERYTHING = frozenset({
    "delay", "priority", "uniqueness", "dedupe", "cancel", "pause", "dead_letters",
    "transactional", "atomic_results", "broadcast", "limits",
})  # fmt: skip

KEPT = (
    "message",
    "dead",
    "ended",
    "unique_key",
    "loose_key",
    "untold",
    "record",
    "progress",
    "waiter",
    "lock",
    "start",
    "holder",
    "heartbeat",
    "control",
)
"""Tables of what must go when its time is over. Others stay: the version, namespaces, paused queues
and schedules until somebody says otherwise, sleepers a few seconds longer than they sleep."""


class ServerStage(Stage):
    """A stage whose store is reached over a connection."""

    async def breathe(self) -> None:
        await super().breathe()
        await asyncio.sleep(_BREATH_S)


@pytest.fixture(scope="session")
def postgres_url(postgres_server: Server) -> str:
    """A database that has the tables."""
    url = StemURL.parse(postgres_server.url)
    asyncio.run(migrate(location_of(url, PostgresOptions(), TlsConfig())))
    return postgres_server.url


def in_a_time_of_its_own(url: str, server: str = "") -> Callable[[], Awaitable[Stage]]:
    """Open fresh namespaces whose time stands still until a test moves it.

    *server* is the URL of the server itself, where *url* is that of what stands before it.
    """

    async def open_stage() -> Stage:
        clock = FakeClock()
        context = PluginContext(namespace=fresh_name(), clock=clock)

        async def let_pass(duration_ms: int) -> None:
            clock.advance(timedelta(milliseconds=duration_ms))
            await stage.breathe()

        broker, backend = await opened(url, context)

        async def leftovers() -> Sequence[str]:
            return await kept_by(broker)

        stage = ServerStage(
            broker,
            backend,
            let_pass=let_pass,
            wall_ms=clock.wall_ms,
            leftovers=leftovers,
            cut=cutting(server or url),
        )
        return stage

    return open_stage


def in_the_servers_time(server: PostgresServer) -> Callable[[], Awaitable[Stage]]:
    """Open fresh namespaces on a server of our own, whose tests may spoil it."""

    async def open_stage() -> Stage:
        broker, backend = await opened(server.url, PluginContext(namespace=fresh_name()))

        async def leftovers() -> Sequence[str]:
            return await kept_by(broker)

        return ServerStage(
            broker,
            backend,
            unit_ms=500,
            leftovers=leftovers,
            full=lambda: without_room(server),
            read_only=lambda: as_a_standby(server),
            cut=cutting(server.url),
        )

    return open_stage


@asynccontextmanager
async def without_room(server: PostgresServer) -> AsyncIterator[None]:
    """Let the server say of each new message what it says when its disk is full."""
    async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as somebody:
        await somebody.execute(
            "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$"
        )
        await somebody.execute(
            "CREATE TRIGGER no_room BEFORE INSERT ON stem.message "
            "FOR EACH STATEMENT EXECUTE FUNCTION no_room()"
        )
        try:
            yield
        finally:
            await somebody.execute("DROP FUNCTION no_room CASCADE")


@asynccontextmanager
async def as_a_standby(server: PostgresServer) -> AsyncIterator[None]:
    """Let the server come back as a standby that refuses writes, and promote it in the end."""
    await asyncio.to_thread(server.stop)
    mark = server.data / "standby.signal"
    mark.touch()
    server.program.runner.take(mark)
    await asyncio.to_thread(server.start)
    try:
        yield
    finally:
        async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as somebody:
            await somebody.execute("SELECT pg_promote(true, 30)")


def fresh_name() -> str:
    return f"contract-{os.getpid()}-{next(_names)}"


async def opened(url: str, context: PluginContext) -> tuple[PostgresBroker, PostgresResultBackend]:
    home = StemURL.parse(url)
    options = options_from_query(PostgresOptions, home.query, source="url")
    broker = await PostgresBroker.open(home, options, context)
    return broker, await PostgresResultBackend.open(home, options, context)


def cutting(url: str) -> Callable[[], Awaitable[None]]:
    """Return what cuts every connection of Stem to the server."""

    async def cut() -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name LIKE 'stem%'"
            )

    return cut


async def kept_by(broker: PostgresBroker) -> list[str]:
    """Count what the namespace of *broker* holds, by table; what holds nothing is left out."""
    counts = {}
    for name in KEPT:
        sql = f"SELECT count(*) FROM stem.{name} WHERE ns = %s"
        ((counts[name],),) = await broker.enter().run(sql.encode(), (broker.store.ns,))
    return [f"{count} × {name}" for name, count in counts.items() if count]


class InTransactions:
    """Opens transactions of the caller's, on connections of his own."""

    @pytest.fixture(autouse=True)
    def remember_the_url(self, postgres_url: str) -> None:
        self.url = postgres_url

    @asynccontextmanager
    async def transaction(self, broker: object) -> AsyncIterator[object]:
        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            yield connection

    @contextmanager
    def transaction_sync(self, broker: object) -> Iterator[object]:
        with psycopg.connect(self.url) as connection:
            yield connection


class TestBroker(InTransactions, BrokerContract):
    claims = EVERYTHING

    @pytest.fixture
    def stem_broker(self, postgres_url: str) -> object:
        return in_a_time_of_its_own(postgres_url)


class TestBackend(ResultBackendContract):
    claims = frozenset({"push", "listing", "progress"})

    @pytest.fixture
    def stem_backend(self, postgres_url: str) -> object:
        return in_a_time_of_its_own(postgres_url)


class TestBrokerInTheServersTime(InTransactions, BrokerContract):
    claims = EVERYTHING

    @pytest.fixture
    def stem_broker(self, postgres_url: str) -> object:
        return postgres_url


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may spoil."""
    with PostgresServer(durable=True) as server:
        asyncio.run(migrate(location_of(StemURL.parse(server.url), PostgresOptions(), TlsConfig())))
        yield server


class TestTroubleOfTheServer(OnBroker):
    """What a test can only see on a server that it may spoil: full, and read-only."""

    test_without_room = (
        BrokerContract.test_a_settlement_without_room_for_what_it_adds_changes_nothing
    )
    test_without_writes = BrokerContract.test_a_store_that_takes_no_writes_is_not_healthy
    test_leftovers = BrokerContract.test_when_every_retention_is_over_nothing_is_left_at_the_store

    @pytest.fixture
    def stem_broker(self, own_server: PostgresServer) -> object:
        return in_the_servers_time(own_server)


class TestBackendInTheServersTime(ResultBackendContract):
    claims = frozenset({"push", "listing", "progress"})

    @pytest.fixture
    def stem_backend(self, postgres_url: str) -> object:
        return postgres_url


def test_the_postgres_store_does_what_the_model_says(postgres_url: str):
    run_model(in_a_time_of_its_own(postgres_url), settings=settings(RUN, max_examples=15))
