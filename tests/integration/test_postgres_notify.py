"""Who is told of work and of results in PostgreSQL, and when: at most who waits, by the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from integration.on_postgres import ack, do, message, name_for, run, somebody, take, with_tables
from services.server import Server

from stem_core.plugin import Record, Settlement, SettleStatus, State
from stem_postgres import PostgresBroker, PostgresResultBackend

SLOW = "?poll=20s"
"""So that nobody finds by looking what he should be told of."""

AT_ONCE_S = 2.0
"""Much less than that, and much more than a wake takes."""


@pytest.fixture(scope="session")
def url(postgres_server: Server) -> str:
    return with_tables(postgres_server.url)


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    return f"notify-{name_for(request.node.name)}"


@pytest.fixture
def opened(url: str, namespace: str) -> Any:
    async def open(options: str = "") -> PostgresBroker:
        return await PostgresBroker.connect(url + options, namespace=namespace)

    return open


async def asleep(broker: PostgresBroker, wait_ms: int = 30_000) -> asyncio.Task[Any]:
    """Return a fetch that has looked for the last time before it polls."""
    before = broker.enter().calls
    waiting = asyncio.create_task(take(broker, 1, wait_ms))
    while broker.enter().calls < before + 3:  # a look, a sweep or not, and the look after that
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    return waiting


@contextmanager
def hearing(url: str, broker: PostgresBroker) -> Iterator[Callable[[], list[str]]]:
    """Give what returns all that was told in the namespace of *broker* since it was last asked."""
    heard: list[str] = []
    with psycopg.connect(url, autocommit=True) as ear:
        ear.add_notify_handler(lambda told: heard.append(told.payload[0]))
        ear.execute(f'LISTEN "{broker.store.channel}"'.encode())

        def since() -> list[str]:
            ear.execute("SELECT pg_notify(%s, '.')", (broker.store.channel,))
            before = heard[: heard.index(".")]  # they come in order
            heard.clear()
            return before

        yield since


async def publish_in(url: str, broker: PostgresBroker, id: str, isolation: str = "") -> None:
    async with await psycopg.AsyncConnection.connect(url) as request:
        if isolation:
            await request.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
        await broker.publish_in(request, [message(id)])


@pytest.mark.parametrize("isolation", ["", "REPEATABLE READ", "SERIALIZABLE"])
def test_a_commit_wakes_who_fell_asleep_after_the_enqueue(url: str, opened, isolation):
    async def work() -> None:
        broker, worker = await opened(), await opened(SLOW)
        async with await psycopg.AsyncConnection.connect(url) as request:
            if isolation:
                await request.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
            await broker.publish_in(request, [message(f"late{isolation}")])
            waiting = await asleep(worker)
            assert not waiting.done()
            await request.commit()
            async with asyncio.timeout(AT_ONCE_S):
                assert len(await waiting) == 1
        await broker.aclose()
        await worker.aclose()

    run(work())


def test_a_commit_tells_nobody_when_nobody_waits(url: str, opened):
    async def work() -> None:
        broker = await opened()
        with hearing(url, broker) as heard:
            for n in range(3):
                await publish_in(url, broker, f"quiet{n}")
            for delivery in await take(broker):
                async with await psycopg.AsyncConnection.connect(url) as handler:
                    await broker.settle_in(handler, [Settlement(receipt=delivery.receipt)])
            assert heard() == []
        await broker.aclose()

    run(work())


def test_many_commits_tell_who_sleeps_once(url: str, opened):
    async def work() -> None:
        broker, worker = await opened(), await opened(SLOW)
        assert await take(worker, 1, 100) == []  # a look that leaves a note
        with hearing(url, broker) as heard:
            for n in range(5):
                await publish_in(url, broker, f"many{n}")
            assert heard() == ["q"]
        await broker.aclose()
        await worker.aclose()

    run(work())


def test_what_is_rolled_back_tells_nobody_and_leaves_the_note(url: str, opened):
    async def work() -> None:
        broker, worker = await opened(), await opened(SLOW)
        assert await take(worker, 1, 100) == []
        with hearing(url, broker) as heard:
            async with somebody(url) as request:
                await broker.publish_in(request, [message("never")])
            async with (
                await psycopg.AsyncConnection.connect(url) as request,
                request.transaction(),
                request.transaction(force_rollback=True),
            ):
                await broker.publish_in(request, [message("inner")])
            assert heard() == []
            await publish_in(url, broker, "told")
            assert heard() == ["q"]
        await broker.aclose()
        await worker.aclose()

    run(work())


def test_a_result_that_is_completed_in_a_transaction_is_pushed_by_its_commit(
    url: str, opened, namespace: str
):
    async def work() -> None:
        broker = await opened()
        backend = await PostgresResultBackend.connect(url + SLOW, namespace=namespace)
        await broker.publish([message("done")])
        (delivery,) = await take(broker)
        record = Record(id="done", state=State.SUCCEEDED, fence=delivery.receipt.fence)
        async with await psycopg.AsyncConnection.connect(url) as handler:
            settlement = Settlement(receipt=delivery.receipt, record=record)
            (reply,) = await broker.settle_in(handler, [settlement])
            assert reply.status is SettleStatus.DONE
            waiting = asyncio.create_task(backend.wait("done", timeout_ms=30_000))
            await asyncio.sleep(0.5)
            assert not waiting.done()
            await handler.commit()
            async with asyncio.timeout(AT_ONCE_S):
                found = await waiting
        assert found is not None
        assert found.state is State.SUCCEEDED
        await broker.aclose()
        await backend.aclose()

    run(work())


def test_with_notify_off_nobody_is_told_and_whoever_waits_polls(url: str, opened):
    async def work() -> None:
        producer, worker = await opened("?notify=off"), await opened("?notify=off&poll=300ms")
        waiting = asyncio.create_task(take(worker, 1, 30_000))
        await asyncio.sleep(0.2)
        with hearing(url, producer) as heard:
            await producer.publish([message("alone")])
            await producer.publish([message("many1"), message("many2")])
            await publish_in(url, producer, "inside")
            (delivery,) = await waiting
            assert await ack(worker, delivery) == [SettleStatus.DONE]
            assert heard() == []
            listeners = (
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'stem listen' "
                f"AND query LIKE '%{producer.store.channel}%'"
            )
            assert await asyncio.to_thread(do, url, listeners) == []
        await producer.aclose()
        await worker.aclose()

    run(work())


def test_a_call_in_my_transaction_leaves_the_patience_of_it_as_it_was(
    url: str, opened: Any, namespace: str
) -> None:
    """Also where nobody is told, and where it does more than to acknowledge."""

    async def work() -> None:
        broker = await opened("?notify=off")
        await broker.publish([message("a")])
        (delivery,) = await take(broker, 1)
        async with await psycopg.AsyncConnection.connect(url) as mine:
            await mine.execute("SET LOCAL lock_timeout = '7s'")
            follow_up = message("b")
            await broker.settle_in(
                mine, [Settlement(receipt=delivery.receipt, follow_ups=(follow_up,))]
            )
            found = await (await mine.execute("SHOW lock_timeout")).fetchone()
            assert found == ("7s",)
        await broker.aclose()

    run(work())
