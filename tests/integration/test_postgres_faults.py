"""What can happen to a PostgreSQL server: killed, cut, locked, exhausted, set up otherwise."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import psycopg
import pytest
from integration.on_postgres import (
    GRANTS,
    ack,
    do,
    message,
    name_for,
    one_task,
    patiently,
    run,
    somebody,
    take,
    with_tables,
)
from services.postgres import PostgresServer
from services.server import Server

from stem_core.plugin import (
    Cancellation,
    CancelStatus,
    ControlMessage,
    ExtendStatus,
    Extension,
    Fault,
    PluginContext,
    Record,
    Settlement,
    SettleStatus,
    State,
    StemURL,
    StoreUnavailable,
)
from stem_core.testing import FakeClock
from stem_core.testing.faults import FaultProxy
from stem_postgres import PostgresBroker, PostgresResultBackend


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
    return f"faults-{name_for(request.node.name)}"


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
    do(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name LIKE 'stem%'",
    )


LISTENERS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'stem listen'"


async def a_listener(url: str, *others: int) -> int:
    """Return the process at the server that tells a connection of Stem, once it is not one of
    *others*."""
    while True:
        pids = {pid for (pid,) in await asyncio.to_thread(do, url, LISTENERS)} - {*others}
        if pids:
            (pid,) = pids
            return int(pid)
        await asyncio.sleep(0.02)


async def cut_and_made_again(url: str) -> None:
    """End the connection that listens, and return when there is another one."""
    lost = await a_listener(url)
    assert await asyncio.to_thread(do, url, f"SELECT pg_terminate_backend({lost})") == [(True,)]
    async with asyncio.timeout(3):
        await a_listener(url, lost)


def without_polls() -> PluginContext:
    """A context whose time stands still: no poll ever comes, and only who is told goes on."""
    return PluginContext(namespace="stem", clock=FakeClock())


def test_a_lost_listener_is_made_again_and_tells_of_work(server: PostgresServer):
    async def work() -> None:
        home = StemURL.parse(server.url)
        broker = await PostgresBroker.open(home, None, without_polls())
        waiting = asyncio.create_task(take(broker, 1, 30_000))
        await cut_and_made_again(server.url)
        other = broker.sibling()
        await other.publish([message("m")])
        async with asyncio.timeout(5):
            (delivery,) = await waiting
        assert delivery.message.id == "m"
        await broker.aclose()
        await other.aclose()

    run(work())


def test_a_lost_listener_is_made_again_and_tells_of_a_result(server: PostgresServer):
    async def work() -> None:
        home = StemURL.parse(server.url)
        backend = await PostgresResultBackend.open(home, None, without_polls())
        waiting = asyncio.create_task(backend.wait("r", timeout_ms=30_000))
        await cut_and_made_again(server.url)
        other = backend.sibling()
        await other.save([Record(id="r", state=State.SUCCEEDED, fence=1)])
        async with asyncio.timeout(5):
            record = await waiting
        assert record is not None
        assert record.state is State.SUCCEEDED
        await backend.aclose()
        await other.aclose()

    run(work())


def test_a_result_comes_to_whoever_waits_where_no_connection_may_listen(server: PostgresServer):
    async def work() -> None:
        backend = await PostgresResultBackend.connect(server.url_of("plain"))
        await backend.load(["a"])  # a connection that stays
        await asyncio.to_thread(do, server.url, "ALTER ROLE plain NOLOGIN")
        waiting = asyncio.create_task(backend.wait("a", timeout_ms=30_000))
        await asyncio.sleep(0.3)
        other = await PostgresResultBackend.connect(server.url)
        await other.save([Record(id="a", state=State.SUCCEEDED, fence=1)])
        assert [await waiting] == list(await other.load(["a"]))
        await backend.aclose()
        await other.aclose()

    do(server.url, "CREATE ROLE plain LOGIN", *GRANTS)
    run(work())


def test_who_may_log_in_again_hears_of_cancels_again(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url_of("plain"))
        other = await PostgresBroker.connect(server.url)
        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def listen() -> None:
            async for told in broker.control.listen():
                heard.put_nowait(told.body)

        async def told_of(body: bytes) -> None:
            while heard.empty():
                await other.control.send(ControlMessage(body=body))
                await asyncio.sleep(0.1)
            while not heard.empty():
                assert heard.get_nowait() == body

        listening = asyncio.create_task(listen())
        await told_of(b"before")
        await asyncio.to_thread(do, server.url, "ALTER ROLE plain NOLOGIN")
        await asyncio.to_thread(cut_all, server.url)
        await asyncio.sleep(0.5)  # it is refused meanwhile, more than once
        assert not listening.done()
        await asyncio.to_thread(do, server.url, "ALTER ROLE plain LOGIN")
        await patiently(lambda: told_of(b"after"))
        listening.cancel()
        await asyncio.wait([listening])
        await broker.aclose()
        await other.aclose()

    do(server.url, "CREATE ROLE plain LOGIN", *GRANTS)
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
            await patiently(lambda: broker.lookup(["m"]))
            proxy.black_hole()
            began = asyncio.get_running_loop().time()
            with pytest.raises(StoreUnavailable, match="did not answer in time"):
                await broker.lookup(["m"])
            assert asyncio.get_running_loop().time() - began < 30  # it is not for ever
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
        hasty = await PostgresBroker.connect(server.url + "?timeout=400ms")
        broker = await PostgresBroker.connect(server.url)
        async with somebody(server.url) as human:
            await human.execute("LOCK TABLE stem.message IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreUnavailable) as caught:
                await hasty.publish([message("m")])
            assert caught.value.fault is Fault.BACKOFF
        await one_task(broker, "m")
        await patiently(lambda: hasty.lookup(["m"]))
        await hasty.aclose()
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


def test_a_handle_opens_few_connections(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        waiting = asyncio.create_task(broker.fetch(["none"], limit=1, wait_ms=2_000, worker="w"))
        await asyncio.gather(*[broker.publish([message(f"m{n}")]) for n in range(100)])
        ((count,),) = await asyncio.to_thread(
            do,
            server.url,
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'stem%'",
        )
        assert count <= 5
        await waiting
        await broker.aclose()

    run(work())


def test_a_lease_runs_from_the_end_of_a_lock_that_was_waited_for(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        other = broker.sibling()
        await broker.publish([message("m", lease_ms=10_000), message("n", lease_ms=10_000)])
        (held,) = await take(broker, 1)
        async with somebody(server.url) as person:
            await person.execute("LOCK TABLE stem.message IN ACCESS EXCLUSIVE MODE")
            fetching = asyncio.create_task(take(broker, 1))
            extending = asyncio.create_task(broker.extend([Extension(held.receipt, 10_000)]))
            while len(await asyncio.to_thread(do, server.url, WAITING)) < 2:
                await asyncio.sleep(0.02)
            await asyncio.to_thread(do, server.url, "SELECT pg_sleep(1.2)")
        (taken,) = await fetching
        (extended,) = await extending
        assert taken.lease_ms > 9_000
        assert taken.message.id == "n"
        assert extended.status is ExtendStatus.HELD
        assert extended.remaining_ms > 9_000
        assert await take(other) == []
        await broker.aclose()
        await other.aclose()

    run(work())


WAITING = "SELECT pid FROM pg_locks WHERE NOT granted"
