"""What goes over the connections of a PostgreSQL handle, at its edges."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from integration.on_postgres import do, message, patiently, run, take, with_tables
from psycopg.pq import TransactionStatus
from services import postgres
from services.postgres import PostgresServer

from stem_core.plugin import (
    Fault,
    PublishStatus,
    Settlement,
    SettleStatus,
    StoreError,
    StoreUnavailable,
)
from stem_postgres import PostgresBroker
from stem_postgres.wakes import Wakes

REFUSAL = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'refused at the end' USING ERRCODE = '54000';
END $$;
CREATE CONSTRAINT TRIGGER refused AFTER INSERT OR DELETE ON stem.message
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        with_tables(server.url)
        yield server


@pytest.fixture
def refusing(server: PostgresServer) -> Iterator[Any]:
    """A function after which no change of a message can be committed any more."""
    yield lambda: do(server.url, REFUSAL)
    do(server.url, "DROP FUNCTION IF EXISTS refuse() CASCADE")


async def published(broker: PostgresBroker, *ids: str) -> list[PublishStatus]:
    return [each.status for each in await broker.publish([message(id) for id in ids])]


@pytest.mark.parametrize("ids", [["x"], ["x", "y"]], ids=["one", "many"])
def test_a_message_that_is_written_and_cannot_be_committed_is_not_accepted(
    server: PostgresServer, refusing: Any, ids: list[str]
) -> None:
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url, namespace=f"not-{len(ids)}")
        for n in range(3):  # prepared by then
            await published(broker, *[f"{id}{n}" for id in ids])
        refusing()
        with pytest.raises(StoreError):
            await published(broker, *ids)
        assert await broker.lookup(ids) == [None] * len(ids)
        await broker.aclose()

    run(work())


def test_a_settlement_that_cannot_be_committed_is_not_done(
    server: PostgresServer, refusing: Any
) -> None:
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url, namespace="not-settled")
        await published(broker, "a", "b", "c", "d")
        *most, last = await take(broker, 4)
        for each in most:
            (reply,) = await broker.settle([Settlement(receipt=each.receipt)])
            assert reply.status is SettleStatus.DONE
        refusing()
        with pytest.raises(StoreError):
            await broker.settle([Settlement(receipt=last.receipt)])
        assert [found is not None for found in await broker.lookup([last.message.id])] == [True]
        await broker.aclose()

    run(work())


def fill_notifications(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as somebody:
        for n in range(1_000):
            somebody.execute("SELECT pg_notify('anything', repeat('x', 7000) || %s)", (str(n),))


def test_a_full_queue_of_notifications_is_a_reason_to_come_again_and_loses_nothing() -> None:
    newest = max(postgres.programs(), key=lambda program: program.version)
    if newest.version < (17,):
        pytest.skip("before PostgreSQL 17 that queue has 8 GB")

    async def work(url: str) -> None:
        broker = await PostgresBroker.connect(url)
        for n in range(3):
            await published(broker, f"a{n}")
        await take(broker, 3)
        assert await take(broker, 1, 50) == []  # and leaves the note that somebody waits
        with psycopg.connect(url, autocommit=True) as person:
            for sql in ("LISTEN anything", "BEGIN", "SELECT 1"):
                person.execute(sql)
            with pytest.raises(psycopg.errors.ProgramLimitExceeded):
                fill_notifications(url)
            with pytest.raises(StoreUnavailable, match="no room for one more noti") as caught:
                await published(broker, "m")
            assert caught.value.fault is Fault.BACKOFF
            assert "pg_stat_activity" in caught.value.way_out
        assert await broker.lookup(["m"]) == [None]

        async def publish() -> list[PublishStatus]:
            do(url, "SELECT pg_notification_queue_usage()")
            return await published(broker, "m")

        # The person's backend may take a moment to leave.
        assert await patiently(publish) == [PublishStatus.CREATED]
        await broker.aclose()

    with PostgresServer(newest, config={"max_notify_queue_pages": "64"}) as small:
        with_tables(small.url)
        run(work(small.url))


def test_a_large_message_that_is_given_up_half_way_is_no_other_error(
    server: PostgresServer,
) -> None:
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url, namespace="large")
        for n in range(2):
            await published(broker, f"small{n}")
        body = b'"' + b"x" * 12_000_000 + b'"'
        late = asyncio.ensure_future(broker.publish([message("large", body=body)]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        late.cancel()
        (given_up,) = await asyncio.gather(late, return_exceptions=True)
        assert isinstance(given_up, asyncio.CancelledError)
        assert await published(broker, "after it") == [PublishStatus.CREATED]
        for wire in broker.enter()._idle:
            assert wire.pgconn.transaction_status == TransactionStatus.IDLE
        await broker.aclose()

    run(work())


def test_what_is_due_and_in_somebodys_transaction_is_not_asked_for_all_the_time(
    server: PostgresServer,
) -> None:
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url, namespace="in-use")
        await broker.publish([message("m", lease_ms=1)])
        await take(broker, 1)
        async with await psycopg.AsyncConnection.connect(server.url) as person:
            await person.execute("SELECT FROM stem.message WHERE id = 'm' FOR UPDATE")
            await asyncio.sleep(0.01)
            before = broker.enter().calls
            assert await take(broker, 1, 300) == []
            assert broker.enter().calls - before < 20
        assert [each.message.id for each in await take(broker, 1, 5_000)] == ["m"]
        await broker.aclose()

    run(work())


LISTENS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stem listen'"


def test_whoever_waits_comes_back_when_the_handle_is_closed(server: PostgresServer) -> None:
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url, namespace="closing")
        waiting = asyncio.ensure_future(take(broker, 1, 60_000))
        listening: Any = asyncio.ensure_future(anext(aiter(broker.control.listen())))
        while await asyncio.to_thread(do, server.url, LISTENS) != [(1,)]:
            await asyncio.sleep(0.02)
        await asyncio.sleep(1)  # by then both have looked for the last time
        await broker.aclose()
        assert await asyncio.wait_for(waiting, 30) == []
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(listening, 30)

    run(work())


class SilentServer:
    """Where nobody says whether one may listen."""

    async def listen(self, *_: object) -> None:
        await asyncio.sleep(3_600)


def test_whoever_follows_while_a_connection_is_being_made_does_not_ask_all_the_time() -> None:
    async def work() -> None:
        wakes, nowhere = Wakes("channel"), SilentServer()
        first = asyncio.ensure_future(wakes.follow(nowhere))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        wakes._due_s = 0.0
        assert await wakes.follow(nowhere) >= 1_000  # type: ignore[arg-type]
        await wakes.stop()
        assert await first >= 1_000

    run(work())
