"""The Postgres store behind a real PgBouncer in transaction mode, whose sessions everybody shares.

`nox -s pooler` runs it. No Python package brings a PgBouncer: STEM_TEST_PGBOUNCER names the file,
or it is on the PATH. The file is not collected without being named.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from conformance.test_postgres import EVERYTHING, InTransactions, in_a_time_of_its_own
from hypothesis import settings
from integration.on_postgres import (
    ack,
    do,
    message,
    one_task,
    patiently,
    place,
    run,
    take,
    with_tables,
)
from services.finding import NoServer
from services.pgbouncer import PgBouncer, programs
from services.postgres import PostgresServer

from stem_core import Stem, Worker
from stem_core.plugin import Fault, Record, State, StoreMisconfigured
from stem_core.testing import BrokerContract, ResultBackendContract
from stem_core.testing.model.machine import RUN, run_model
from stem_postgres import PostgresBroker, PostgresResultBackend
from stem_postgres.errors import translated
from stem_postgres.migrating import migrate
from stem_postgres.schema import LATEST

POOLED = "?pooler=true&poll=100ms"
MANY, TASKS = 8, 200
SESSIONS = 3
"""How many there are, for handles of up to four connections each."""


@pytest.fixture(scope="session", autouse=True)
def _there_is_one() -> None:
    """Say in one sentence what is missing, instead of trying."""
    try:
        programs()
    except NoServer as error:
        pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        with_tables(server.url)
        yield server


@pytest.fixture(scope="module")
def pooler(server: PostgresServer) -> Iterator[PgBouncer]:
    with PgBouncer(server) as pooler:
        yield pooler


@pytest.fixture(scope="module")
def postgres_url(pooler: PgBouncer) -> str:
    """Where callers of `InTransactions` open transactions of their own: there, too."""
    return pooler.url


@pytest.fixture(scope="module")
def url(pooler: PgBouncer) -> str:
    return pooler.url + POOLED


# ── every promise ────────────────────────────────────────────────────────────


class TestBroker(InTransactions, BrokerContract):
    claims = EVERYTHING

    # Behind a pooler whoever waits only looks, again and again, and here no time goes by between
    # two looks. In the server's time, below, all of these are run.
    test_a_message_that_is_published_ends_the_wait = None
    test_a_resume_wakes_whoever_waits = None
    test_no_wake_up_is_missed_between_many_waiters = None
    test_nothing_is_visible_before_the_commit = None

    @pytest.fixture
    def stem_broker(self, url: str, server: PostgresServer) -> object:
        return in_a_time_of_its_own(url, server.url)


class TestBackend(ResultBackendContract):
    claims = frozenset({"push", "listing", "progress"})

    test_a_waiter_is_woken_by_the_terminal_record = None  # as above
    test_waits_that_begin_together_are_woken_each_by_its_own_record = None

    @pytest.fixture
    def stem_backend(self, url: str, server: PostgresServer) -> object:
        return in_a_time_of_its_own(url, server.url)


class TestBrokerInTheServersTime(InTransactions, BrokerContract):
    claims = EVERYTHING
    unit_ms = 2000

    @pytest.fixture
    def stem_broker(self, url: str) -> object:
        return url


class TestBackendInTheServersTime(ResultBackendContract):
    claims = frozenset({"push", "listing", "progress"})
    unit_ms = 2000

    @pytest.fixture
    def stem_backend(self, url: str) -> object:
        return url


def test_the_store_does_what_the_model_says(url: str, server: PostgresServer):
    run_model(in_a_time_of_its_own(url, server.url), settings=settings(RUN, max_examples=15))


# ── few sessions for many ────────────────────────────────────────────────────


RAN: Counter[int] = Counter()


async def count(n: int) -> int:
    RAN[n] += 1
    return n


def test_many_workers_share_few_sessions_and_each_task_runs_once(server: PostgresServer):
    async def work(url: str) -> None:
        stems = [Stem(url, namespace="shared") for _ in range(MANY)]
        async with contextlib.AsyncExitStack() as stack:
            for stem in stems:
                await stack.enter_async_context(stem)
                stem.task(name="count")(count)
                await stack.enter_async_context(Worker(stem))
            calls = [stems[0].call("count", {"n": n}) for n in range(TASKS)]
            jobs = await stems[0].enqueue_many(calls)
            results = await asyncio.gather(*[job.result(timeout=30) for job in jobs])
        assert results == list(range(TASKS))

    RAN.clear()
    before = sessions_at(server)
    with PgBouncer(server, config={"default_pool_size": str(SESSIONS)}) as pooler:
        run(work(pooler.url + POOLED))
        assert sessions_at(server) - before <= SESSIONS
    assert set(RAN.values()) == {1}
    assert len(RAN) == TASKS


def sessions_at(server: PostgresServer) -> int:
    ((count,),) = do(
        server.url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stem'"
    )
    return int(count)


def test_nothing_is_left_in_a_session_for_the_next_one(server: PostgresServer):
    async def use(url: str) -> None:
        broker = await PostgresBroker.connect(url)
        backend = await PostgresResultBackend.connect(url)
        for n in range(10):  # often enough that a driver prepares what it sends
            await one_task(broker, f"left-{n}")
        waiting = asyncio.create_task(backend.wait("never", timeout_ms=300))
        assert not await take(broker, wait_ms=300)
        assert await waiting is None
        await broker.aclose()
        await backend.aclose()

    with PgBouncer(server, config={"default_pool_size": "1"}) as pooler:
        run(use(pooler.url + POOLED))
        left = do(
            pooler.url,
            "SELECT (SELECT count(*) FROM pg_prepared_statements), "
            "(SELECT count(*) FROM pg_listening_channels()), "
            "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'), "
            "current_setting('transaction_isolation')",
        )
    assert left == [(0, 0, 0, "read committed")]


def test_what_a_role_has_set_for_its_people_harms_no_task(server: PostgresServer):
    do(server.url, "ALTER ROLE postgres SET default_transaction_isolation = 'serializable'")
    do(server.url, "ALTER ROLE postgres SET default_transaction_read_only = on")
    try:
        with PgBouncer(server) as pooler:

            async def work() -> None:
                broker = await PostgresBroker.connect(pooler.url + POOLED)
                await one_task(broker, "serial")
                await broker.aclose()

            run(work())
    finally:
        with psycopg.connect(server.url, options="-c default_transaction_read_only=off") as person:
            person.execute("ALTER ROLE postgres RESET ALL")


def test_a_pooler_that_is_started_again_loses_nothing(server: PostgresServer):
    async def work(pooler: PgBouncer) -> None:
        broker = await PostgresBroker.connect(pooler.url + POOLED, namespace="again")
        backend = await PostgresResultBackend.connect(pooler.url + POOLED, namespace="again")
        await broker.publish([message("kept")])
        waiting = asyncio.create_task(patiently(lambda: backend.wait("kept", timeout_ms=20_000)))
        await asyncio.to_thread(pooler.kill)
        await asyncio.to_thread(pooler.start)
        (kept,) = await patiently(lambda: take(broker, wait_ms=5_000))
        assert await ack(broker, kept)
        await backend.save([Record(id="kept", state=State.SUCCEEDED, fence=kept.receipt.fence)])
        record = await waiting
        assert record is not None
        assert record.state is State.SUCCEEDED
        await broker.aclose()
        await backend.aclose()

    with PgBouncer(server) as pooler:
        run(work(pooler))


@pytest.mark.parametrize("ignored", ["", "options"], ids=["as it comes", "options ignored"])
def test_with_the_option_session_mode_will_do_as_well(ignored: str, server: PostgresServer):
    async def work(url: str) -> None:
        broker = await PostgresBroker.connect(url, namespace=f"sessions{ignored}")
        await one_task(broker, "m")
        await broker.aclose()

    config = {"pool_mode": "session", "ignore_startup_parameters": ignored}
    with PgBouncer(server, config=config) as pooler:
        run(work(pooler.url + POOLED))


def test_a_pooler_that_takes_no_transactions_is_called_what_it_is(server: PostgresServer):
    with (
        PgBouncer(server, config={"pool_mode": "statement"}) as pooler,
        pytest.raises(StoreMisconfigured, match="pool_mode = transaction"),
    ):
        asyncio.run(PostgresBroker.connect(pooler.url + POOLED))


def test_tables_can_be_made_through_a_pooler(pooler: PgBouncer):
    done = asyncio.run(migrate(place(pooler.url, schema="pooled", pooler=True)))
    assert (done.before.version, done.after.version) == (0, LATEST)


# ── who forgets the option ───────────────────────────────────────────────────


def refused(error: BaseException) -> bool:
    """Say whether it names the option, as something that people must change."""
    assert isinstance(error, StoreMisconfigured)
    return error.fault is Fault.FATAL_CONFIG and "pooler=true" in str(error)


@pytest.mark.parametrize("ignored", ["", "options"], ids=["as it comes", "options ignored"])
@pytest.mark.parametrize("handle", [PostgresBroker, PostgresResultBackend])
def test_who_forgets_the_option_is_told_its_name_at_once(
    ignored: str, handle: Any, server: PostgresServer
):
    with PgBouncer(server, config={"ignore_startup_parameters": ignored}) as pooler:
        with pytest.raises(StoreMisconfigured) as caught:
            asyncio.run(handle.connect(pooler.url))
        assert refused(caught.value)


@pytest.mark.parametrize("ignored", ["", "options"], ids=["as it comes", "options ignored"])
def test_who_forgets_it_is_told_by_stem_too_and_when_tables_are_made(
    ignored: str, server: PostgresServer
):
    async def enqueue(url: str) -> None:
        async with Stem(url) as stem:
            await stem.enqueue("task")

    with PgBouncer(server, config={"ignore_startup_parameters": ignored}) as pooler:
        with pytest.raises(StoreMisconfigured) as caught:
            asyncio.run(enqueue(pooler.url))
        assert refused(caught.value)
        if not ignored:
            with pytest.raises(StoreMisconfigured) as caught:
                asyncio.run(migrate(place(pooler.url)))
            assert refused(caught.value)


def test_a_pooler_that_comes_in_between_later_is_told_of_by_its_statements(server: PostgresServer):
    with PgBouncer(server, config={"default_pool_size": "1"}) as pooler:
        one, other = (psycopg.connect(pooler.url, autocommit=True) for _ in range(2))
        with one, other:
            one.execute("SELECT %s::int", (1,), prepare=True)
            with pytest.raises(psycopg.Error) as caught:
                other.execute("SELECT %s::int", (1,), prepare=True)
        assert refused(translated(caught.value, pooler.url))
