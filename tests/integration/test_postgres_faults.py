"""What can happen to a PostgreSQL server: killed, cut, locked, exhausted, set up otherwise."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from services.certificates import Authority
from services.postgres import PostgresServer
from services.server import Server

from stem_core import Stem
from stem_core.plugin import (
    Cancellation,
    CancelStatus,
    Delivery,
    ExtendStatus,
    Extension,
    Fault,
    Message,
    PublishStatus,
    Record,
    Settlement,
    SettleStatus,
    State,
    StemURL,
    StoreError,
    StoreMisconfigured,
    StoreUnavailable,
    TlsConfig,
    UniqueKey,
    UsageError,
)
from stem_core.testing.faults import FaultProxy
from stem_postgres import PostgresBroker, PostgresResultBackend
from stem_postgres.location import location_of
from stem_postgres.migrating import migrate
from stem_postgres.options import PostgresOptions


def message(id: str, **fields: Any) -> Message:
    return Message(**{"id": id, "queue": "q", "task": "t", "body": b"{}", **fields})


def run(work: Coroutine[Any, Any, None]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(in_time())


async def take(broker: PostgresBroker, limit: int = 10, wait_ms: int = 0) -> list[Delivery]:
    return list(await broker.fetch(["q"], limit=limit, wait_ms=wait_ms, worker="w"))


async def ack(broker: PostgresBroker, *deliveries: Delivery) -> list[SettleStatus]:
    replies = await broker.settle([Settlement(receipt=each.receipt) for each in deliveries])
    return [reply.status for reply in replies]


async def one_task(broker: PostgresBroker, id: str) -> None:
    """Publish, take and end one task, and insist that each step did what it should."""
    assert [p.status for p in await broker.publish([message(id)])] == [PublishStatus.CREATED]
    (delivery,) = await take(broker)
    assert delivery.message.id == id
    assert await ack(broker, delivery) == [SettleStatus.DONE]


async def patiently(call: Callable[[], Awaitable[Any]]) -> Any:
    """Call again while the store is away, as a worker does."""
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(0.05)


def with_tables(url: str, schema: str = "stem") -> str:
    asyncio.run(migrate(place(url, schema=schema)))
    return url


def place(url: str, **options: Any) -> Any:
    return location_of(StemURL.parse(url), PostgresOptions(**options), TlsConfig())


def do(url: str, *statements: str) -> list[Any]:
    """Run SQL as somebody else, and return the rows of the last statement."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@asynccontextmanager
async def somebody(url: str) -> Any:
    """A connection of somebody else, in a transaction that is rolled back."""
    connection = await psycopg.AsyncConnection.connect(url)
    try:
        yield connection
    finally:
        await connection.rollback()
        await connection.close()


@pytest.fixture
def server() -> Any:
    with PostgresServer() as server:
        with_tables(server.url)
        yield server


@pytest.fixture(scope="session")
def url(postgres_server: Server) -> str:
    return with_tables(postgres_server.url)


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    return "faults-" + "".join(c if c.isalnum() else "-" for c in request.node.name)[-100:]


# ── the server goes and comes ────────────────────────────────────────────────


def test_what_was_accepted_survives_the_death_of_a_server():
    async def work(server: PostgresServer) -> None:
        broker = await PostgresBroker.connect(server.url)
        await broker.publish([message(f"m{n}") for n in range(50)])
        taken = await take(broker, 20)
        server.kill()
        with pytest.raises(StoreUnavailable):
            await ack(broker, taken[0])
        server.start()
        settled = await patiently(lambda: ack(broker, *taken))
        assert set(settled) == {SettleStatus.DONE}
        assert len(await take(broker, 100)) == 30
        await broker.aclose()

    with PostgresServer(durable=True) as server:
        with_tables(server.url)
        run(work(server))


def test_a_restart_under_load_loses_nothing_and_settles_nothing_twice():
    async def produce(broker: PostgresBroker, count: int) -> None:
        for n in range(count):
            await patiently(partial(broker.publish, [message(f"m{n}")]))

    async def consume(broker: PostgresBroker, done: list[str], count: int) -> None:
        while len(done) < count:
            for delivery in await patiently(lambda: take(broker, 10, 200)):
                (status,) = await patiently(partial(ack, broker, delivery))
                if status in (SettleStatus.DONE, SettleStatus.ALREADY):
                    done.append(delivery.message.id)

    async def work(server: PostgresServer) -> None:
        broker = await PostgresBroker.connect(server.url)
        other = broker.sibling()
        done: list[str] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(produce(broker, 600))
            consumer = group.create_task(consume(other, done, 600))
            await asyncio.sleep(0.3)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await consumer
        assert sorted(done) == sorted(f"m{n}" for n in range(600))
        await broker.aclose()
        await other.aclose()

    with PostgresServer(durable=True) as server:
        with_tables(server.url)
        run(work(server))


def test_who_waits_for_work_gets_it_after_every_connection_was_cut(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        other = await PostgresBroker.connect(server.url)
        waiting = asyncio.create_task(take(broker, 1, 30_000))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(cut_all, server.url)
        await patiently(lambda: other.publish([message("m")]))
        try:
            taken = await waiting
        except StoreUnavailable:  # a worker asks again
            taken = await patiently(lambda: take(broker, 1, 30_000))
        assert [each.message.id for each in taken] == ["m"]
        await broker.aclose()
        await other.aclose()

    run(work())


def cut_all(url: str) -> None:
    do(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name='stem'")


def cut_listeners(url: str) -> None:
    do(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name='stem' AND query LIKE 'LISTEN%'",
    )


def test_a_lost_listener_is_made_again_and_work_comes_at_the_next_poll(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        waiting = asyncio.create_task(take(broker, 1, 30_000))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(cut_listeners, server.url)
        began = asyncio.get_running_loop().time()
        other = await PostgresBroker.connect(server.url)
        await other.publish([message("m")])
        (delivery,) = await waiting
        assert delivery.message.id == "m"
        assert asyncio.get_running_loop().time() - began < 5
        await broker.aclose()
        await other.aclose()

    run(work())


def test_a_result_that_is_waited_for_comes_though_the_listener_was_lost(server: PostgresServer):
    async def work() -> None:
        backend = await PostgresResultBackend.connect(server.url)
        waiting = asyncio.create_task(backend.wait("r", timeout_ms=30_000))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(cut_listeners, server.url)
        other = backend.sibling()
        await other.save([Record(id="r", state=State.SUCCEEDED, fence=1)])
        record = await waiting
        assert record is not None
        assert record.state is State.SUCCEEDED
        await backend.aclose()
        await other.aclose()

    run(work())


def test_a_connection_that_was_closed_while_idle_is_not_used_again(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        await one_task(broker, "a")
        await asyncio.to_thread(cut_all, server.url)
        await asyncio.sleep(0.1)
        await one_task(broker, "b")
        await broker.aclose()

    run(work())


def test_a_server_that_never_answers_is_given_up_in_time(url: str):
    async def work() -> None:
        home = StemURL.parse(url)
        host = home.hosts[0]
        async with FaultProxy(port=host.port or 5432) as proxy:
            behind = url.replace(str(host), proxy.netloc)
            broker = await PostgresBroker.connect(f"{behind}?timeout=500ms&connect_timeout=2s")
            await broker.lookup(["m"])
            proxy.black_hole()
            began = asyncio.get_running_loop().time()
            with pytest.raises(StoreUnavailable, match="did not answer in time"):
                await broker.lookup(["m"])
            assert asyncio.get_running_loop().time() - began < 5
            proxy.restore()
            await patiently(lambda: broker.lookup(["m"]))
            await broker.aclose()

    run(work())


# ── what a role or a person does ─────────────────────────────────────────────


@pytest.mark.parametrize(
    "setting",
    [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "statement_timeout = '1ms'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "search_path = 'nowhere'",
        "timezone = 'Pacific/Kiritimati'",
        "enable_indexscan = off",
    ],
)
def test_what_a_role_has_set_for_its_people_harms_no_task(setting: str, server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url_of("worker"))
        assert await asyncio.gather(*[one_of_many(broker, n) for n in range(8)])
        await broker.aclose()

    async def one_of_many(broker: PostgresBroker, n: int) -> bool:
        for round in range(10):
            await broker.publish([message(f"m{n}-{round}")])
            await ack(broker, *await take(broker, 3))
        return True

    do(server.url, "CREATE ROLE worker LOGIN SUPERUSER", f"ALTER ROLE worker SET {setting}")
    run(work())


def test_a_server_that_ends_idle_sessions_is_worked_with(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        waiting = asyncio.create_task(take(broker, 1, 10_000))
        await asyncio.sleep(1.0)
        other = await PostgresBroker.connect(server.url)
        await other.publish([message("m")])
        assert [each.message.id for each in await waiting] == ["m"]
        await broker.aclose()
        await other.aclose()

    do(server.url, "ALTER SYSTEM SET idle_session_timeout = '300ms'", "SELECT pg_reload_conf()")
    run(work())


def test_a_row_that_a_person_has_locked_stops_no_other(url: str, namespace: str):
    async def work() -> None:
        broker = await PostgresBroker.connect(url, namespace=namespace)
        await broker.publish([message("locked"), message("free")])
        async with somebody(url) as human:
            await human.execute("SELECT FROM stem.message WHERE id = 'locked' FOR UPDATE")
            assert [each.message.id for each in await take(broker)] == ["free"]
        assert [each.message.id for each in await take(broker)] == ["locked"]
        await broker.aclose()

    run(work())


def test_a_lease_whose_row_is_locked_is_held_and_does_not_lapse(url: str, namespace: str):
    async def work() -> None:
        broker = await PostgresBroker.connect(url, namespace=namespace)
        await broker.publish([message("m", lease_ms=100)])
        (delivery,) = await take(broker)
        async with somebody(url) as handler:
            settled = await broker.settle_in(handler, [Settlement(receipt=delivery.receipt)])
            assert settled[0].status is SettleStatus.DONE
            await asyncio.sleep(0.2)
            assert await take(broker) == []
            (extended,) = await broker.extend([Extension(delivery.receipt, 10_000)])
            assert extended.status is ExtendStatus.HELD
            (cancelled,) = await broker.cancel([Cancellation(id="m")])
            assert cancelled.status is CancelStatus.REQUESTED
        (again,) = await take(broker)  # it was rolled back, and the lease is over
        assert again.lapses == 1
        await broker.aclose()

    run(work())


def test_a_table_that_is_locked_is_a_matter_of_waiting(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url + "?timeout=400ms")
        async with somebody(server.url) as human:
            await human.execute("LOCK TABLE stem.message IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreUnavailable) as caught:
                await broker.publish([message("m")])
            assert caught.value.fault is Fault.BACKOFF
        await one_task(broker, "m")
        await broker.aclose()

    run(work())


def test_a_server_without_a_free_connection_is_a_matter_of_waiting():
    async def work(server: PostgresServer) -> None:
        broker = await PostgresBroker.connect(server.url_of("plain"))
        crowd = []
        try:
            while True:
                crowd.append(await psycopg.AsyncConnection.connect(server.url_of("plain")))
        except psycopg.OperationalError:
            pass
        with pytest.raises(StoreUnavailable) as caught:
            await broker.lookup(["m"])
        assert caught.value.fault is Fault.BACKOFF
        for each in crowd:
            await each.close()
        await patiently(lambda: broker.lookup(["m"]))
        await broker.aclose()

    with PostgresServer(config={"max_connections": "12"}) as server:
        with_tables(server.url)
        do(server.url, "CREATE ROLE plain LOGIN", *GRANTS)
        run(work(server))


GRANTS = (
    "GRANT USAGE ON SCHEMA stem TO plain",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA stem TO plain",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA stem TO plain",
)


def test_a_handle_opens_few_connections(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        waiting = asyncio.create_task(broker.fetch(["none"], limit=1, wait_ms=2_000, worker="w"))
        await asyncio.gather(*[broker.publish([message(f"m{n}")]) for n in range(100)])
        ((count,),) = await asyncio.to_thread(
            do,
            server.url,
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stem'",
        )
        assert count <= 5
        await waiting
        await broker.aclose()

    run(work())


# ── the tables ───────────────────────────────────────────────────────────────


def test_without_tables_the_command_that_makes_them_is_named(server: PostgresServer):
    async def work() -> None:
        with pytest.raises(StoreMisconfigured, match="stem migrate up") as caught:
            await PostgresBroker.connect(server.url + "?schema=other")
        assert caught.value.fault is Fault.FATAL_CONFIG

    run(work())


def test_newer_tables_are_refused_and_stay_as_they_are(server: PostgresServer):
    do(server.url, "UPDATE stem.version SET version = 99")
    with pytest.raises(StoreMisconfigured, match="version 99"):
        asyncio.run(PostgresBroker.connect(server.url))
    with pytest.raises(StoreMisconfigured, match="version 99"):
        asyncio.run(migrate(place(server.url)))
    assert do(server.url, "SELECT version FROM stem.version") == [(99,)]


def test_tables_that_vanish_are_a_matter_for_people(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        await asyncio.to_thread(do, server.url, "DROP SCHEMA stem CASCADE")
        with pytest.raises(StoreMisconfigured, match="stem migrate up"):
            await broker.publish([message("m")])
        await broker.aclose()

    run(work())


def test_of_eight_that_make_the_tables_at_once_one_does_and_none_fails(server: PostgresServer):
    async def work() -> None:
        where = place(server.url, schema="crowded")
        steps = await asyncio.gather(*[migrate(where) for _ in range(8)])
        assert sorted(steps) == [(0, 1)] + [(1, 1)] * 7

    run(work())


def test_two_schemas_of_one_database_know_nothing_of_each_other(server: PostgresServer):
    with_tables(server.url, "second")

    async def work() -> None:
        one = await PostgresBroker.connect(server.url)
        other = await PostgresBroker.connect(server.url + "?schema=second")
        assert one.store_id != other.store_id
        await one.publish([message("m")])
        assert await other.lookup(["m"]) == [None]
        await one_task(other, "m")
        await one.aclose()
        await other.aclose()

    run(work())


# ── who may, and what is shown ───────────────────────────────────────────────


_SECRET = "s3cr%t@:/#?w"


def test_a_password_is_asked_for_and_never_shown(capfd: pytest.CaptureFixture[str]):
    with PostgresServer(password=_SECRET) as server:
        right = server.url
        with_tables(right)

        async def use(url: str) -> None:
            broker = await PostgresBroker.connect(url)
            await one_task(broker, "m")
            await broker.aclose()

        run(use(right))
        shown = []
        for wrong in (
            server.url_of("postgres", _SECRET + "x"),
            server.url_of("nobody", _SECRET),
            server.url_of("postgres", _SECRET, "nowhere"),
            server.url_of("postgres", _SECRET).replace(str(server.port), "1"),
            server.url_of("postgres", _SECRET) + "?schema=other",
            server.url_of("postgres", _SECRET) + "?sslmode=require",
            server.url_of("postgres", _SECRET) + "?target_session_attrs=standby",
        ):
            with pytest.raises(StoreError) as caught:
                run(use(wrong))
            shown.append("".join(traceback.format_exception(caught.value)) + repr(caught.value))
        shown += list(capfd.readouterr())
    for text in shown:
        assert not any(piece in text for piece in ("s3cr", "cr%t", "cr%25t", "#?w", "%23%3Fw"))
    assert "refuses this user and password" in shown[0]
    assert "no database of this name" in shown[2]


def test_the_rights_that_the_docs_name_are_enough(server: PostgresServer):
    async def work() -> None:
        url = server.url_of("plain")
        broker = await PostgresBroker.connect(url)
        backend = await PostgresResultBackend.connect(url)
        await broker.publish([message("m", unique=UniqueKey(key="k"))])
        (delivery,) = await take(broker)
        record = Record(id="m", state=State.SUCCEEDED, fence=delivery.receipt.fence)
        (reply,) = await broker.settle([Settlement(receipt=delivery.receipt, record=record)])
        assert reply.status is SettleStatus.DONE
        assert await backend.wait("m", timeout_ms=1_000) == record
        await broker.admin.stats()
        await broker.aclose()
        await backend.aclose()

    do(server.url, "CREATE ROLE plain LOGIN", *GRANTS)
    run(work())


def test_a_producer_needs_fewer_rights_and_a_reader_fewer_still(server: PostgresServer):
    async def work() -> None:
        owner = await PostgresBroker.connect(server.url)  # the namespace is there from now on
        web = await PostgresBroker.connect(server.url_of("web"))
        replies = await web.publish(
            [message("a"), message("b", unique=UniqueKey(key="k"), delay_ms=5), message("a")]
        )
        assert [each.status for each in replies] == [
            PublishStatus.CREATED, PublishStatus.CREATED, PublishStatus.DUPLICATE,
        ]  # fmt: skip
        with pytest.raises(StoreMisconfigured):
            await take(web)
        reader = await PostgresBroker.connect(server.url_of("reader"))
        (stats,) = await reader.admin.stats()
        assert stats.ready + stats.delayed == 2
        with pytest.raises(StoreMisconfigured):
            await reader.publish([message("c")])
        for each in (owner, web, reader):
            await each.aclose()

    do(
        server.url,
        "CREATE ROLE web LOGIN",
        "CREATE ROLE reader LOGIN",
        "GRANT USAGE ON SCHEMA stem TO web, reader",
        "GRANT SELECT ON ALL TABLES IN SCHEMA stem TO web, reader",
        "GRANT INSERT, UPDATE, DELETE ON stem.message, stem.unique_key, stem.dead, stem.sleeper, "
        "stem.waiter TO web",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA stem TO web",
    )
    run(work())


def test_rights_that_are_missing_are_a_matter_for_people(server: PostgresServer):
    do(server.url, "CREATE ROLE nothing LOGIN")
    with pytest.raises(StoreMisconfigured, match="docs/brokers/postgres"):
        asyncio.run(PostgresBroker.connect(server.url_of("nothing")))


def test_a_unix_socket_is_as_good_as_a_port(server: PostgresServer):
    async def work() -> None:
        folder, port = server.socket.parent, server.port
        broker = await PostgresBroker.connect(
            f"postgresql://postgres@/postgres?host={folder}&port={port}"
        )
        await one_task(broker, "m")
        await broker.aclose()

    run(work())


def test_tls_is_checked_and_its_refusals_name_the_way_out(tmp_path: Path):
    folders = [tmp_path / name for name in ("ours", "theirs")]
    for folder in folders:
        folder.mkdir()
    authority, stranger = map(Authority, folders)

    async def work(server: PostgresServer) -> None:
        trusted = TlsConfig(ca_certificate_file=str(authority.certificate))
        broker = await PostgresBroker.connect(server.url, tls=trusted)
        await one_task(broker, "m")
        await broker.aclose()
        wrong = TlsConfig(ca_certificate_file=str(stranger.certificate))
        with pytest.raises(StoreMisconfigured, match="STEM_TLS_CA_CERT"):
            await PostgresBroker.connect(server.url, tls=wrong)
        with pytest.raises(StoreMisconfigured, match="STEM_TLS_CA_CERT"):
            await PostgresBroker.connect(server.url + "?sslmode=verify-full")
        broker = await PostgresBroker.connect(server.url, tls=TlsConfig(allow_insecure=True))
        await one_task(broker, "n")
        await broker.aclose()

    with PostgresServer(tls=authority.identity()) as server:
        with_tables(server.url)
        run(work(server))


def test_of_several_hosts_the_one_that_answers_is_taken(url: str, namespace: str):
    async def work() -> None:
        home = StemURL.parse(url)
        both = url.replace(home.netloc, f"127.0.0.1:1,{home.netloc}")
        broker = await PostgresBroker.connect(both, namespace=namespace)
        await one_task(broker, "m")
        await broker.aclose()

    run(work())


# ── behind a pooler, and in the caller's transaction ─────────────────────────


def test_behind_a_pooler_nothing_is_kept_in_a_session(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url + "?pooler=true&poll=100ms")
        waiting = asyncio.create_task(take(broker, 1, 5_000))
        other = broker.sibling()
        for n in range(5):
            await other.publish([message(f"m{n}")])
        assert len(await waiting) == 1
        rows = await asyncio.to_thread(
            do,
            server.url,
            "SELECT query, state FROM pg_stat_activity WHERE application_name = 'stem'",
        )
        assert all("LISTEN" not in query and state == "idle" for query, state in rows)
        await broker.aclose()
        await other.aclose()

    do(server.url, "ALTER ROLE postgres SET default_transaction_isolation = 'serializable'")
    run(work())


def test_an_order_and_its_task_are_committed_together_or_not_at_all(server: PostgresServer):
    do(server.url, "CREATE TABLE orders (id int PRIMARY KEY)")

    async def work() -> None:
        connection = await psycopg.AsyncConnection.connect(server.url)
        async with Stem(server.url) as stem, connection:
            for n in range(10):
                await connection.execute("INSERT INTO orders VALUES (%s)", (n,))
                id = await stem.enqueue("ship", {"order": n}, connection=connection)
                if n % 2:
                    await connection.rollback()
                else:
                    await connection.commit()
                status = await stem.status(id)
                assert (status is None) == bool(n % 2)
        rows = await asyncio.to_thread(
            do,
            server.url,
            "SELECT count(*) FROM orders UNION ALL SELECT count(*) FROM stem.message",
        )
        assert rows == [(5,), (5,)]

    run(work())


def test_the_blocking_verbs_join_the_transaction_of_the_thread(server: PostgresServer):
    stem = Stem(server.url)
    try:
        with psycopg.connect(server.url) as connection:
            kept = stem.blocking.enqueue("ship", {"order": 1}, connection=connection)
        with psycopg.connect(server.url) as connection:
            gone = stem.blocking.enqueue("ship", {"order": 2}, connection=connection)
            connection.rollback()
        assert stem.blocking.status(kept) is not None
        assert stem.blocking.status(gone) is None
    finally:
        stem.close()


def test_a_connection_that_commits_each_statement_is_refused(url: str, namespace: str):
    async def work() -> None:
        broker = await PostgresBroker.connect(url, namespace=namespace)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            with pytest.raises(UsageError, match="autocommit"):
                await broker.publish_in(connection, [message("m")])
            async with connection.transaction():
                await broker.publish_in(connection, [message("m")])
        assert [each.message.id for each in await take(broker)] == ["m"]
        await broker.aclose()

    run(work())
