"""A lone message for a PostgreSQL server that is near is published in place, and as safely."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
from integration.on_postgres import do, message, run, with_tables
from services.postgres import PostgresServer

from stem_core.plugin import PublishStatus, StoreError
from stem_postgres import PostgresBroker
from stem_postgres.nearby import Nearby

CREATED = PublishStatus.CREATED


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        with_tables(server.url)
        yield server


async def connected(
    server: PostgresServer, *, patience_ms: int, query: str = ""
) -> tuple[PostgresBroker, Nearby]:
    """Return a broker whose server is near, with a connection that is open."""
    broker = await PostgresBroker.connect(f"{server.url}{query}")
    await broker.lookup(["nobody"])
    near = broker.enter()._near
    near.answered_in(0)
    near.patience_ms = patience_ms
    near._near_s = max(near._near_s, patience_ms / 1000)
    return broker, near


async def published(broker: PostgresBroker, id: str) -> PublishStatus:
    (reply,) = await broker.publish([message(id)])
    return reply.status


@pytest.mark.parametrize("query", ["", "?pooler=true"])
def test_nobody_else_has_a_turn_before_the_reply(server: PostgresServer, query: str) -> None:
    async def work() -> None:
        broker, near = await connected(server, patience_ms=30_000, query=query)
        turn = asyncio.create_task(asyncio.sleep(0))
        assert await published(broker, f"in place {query}") is CREATED
        assert await published(broker, f"in place {query}") is PublishStatus.DUPLICATE
        assert not turn.done()
        assert near.is_near
        await turn
        await broker.aclose()

    run(work())


async def waited_for(server: PostgresServer) -> None:
    """Return when somebody waits for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    while await asyncio.to_thread(do, server.url, waiting) == [(0,)]:
        await asyncio.sleep(0.01)


def test_what_takes_long_goes_on_in_the_loop_and_is_sent_once(server: PostgresServer) -> None:
    async def work() -> None:
        broker, near = await connected(server, patience_ms=1)
        async with await psycopg.AsyncConnection.connect(server.url) as person:
            await person.execute("LOCK TABLE stem.message IN ACCESS EXCLUSIVE MODE")
            late = asyncio.create_task(published(broker, "late"))
            await waited_for(server)
            assert not near.is_near
            await person.rollback()
        assert await late is CREATED
        assert do(server.url, "SELECT count(*) FROM stem.message WHERE id = 'late'") == [(1,)]
        assert await published(broker, "after it") is CREATED
        await broker.aclose()

    run(work())


def test_who_gives_up_a_late_one_may_publish_again(server: PostgresServer) -> None:
    async def work() -> None:
        broker, near = await connected(server, patience_ms=1)
        async with await psycopg.AsyncConnection.connect(server.url) as person:
            await person.execute("LOCK TABLE stem.message IN ACCESS EXCLUSIVE MODE")
            late = asyncio.create_task(published(broker, "given up"))
            await waited_for(server)
            late.cancel()
            (given_up,) = await asyncio.gather(late, return_exceptions=True)
            assert isinstance(given_up, asyncio.CancelledError)
            await person.rollback()
        near.is_near = True
        assert await published(broker, "given up") in (CREATED, PublishStatus.DUPLICATE)
        assert do(server.url, "SELECT count(*) FROM stem.message WHERE id = 'given up'") == [(1,)]
        await broker.aclose()

    run(work())


def test_an_error_in_place_is_the_same_as_in_the_loop(server: PostgresServer) -> None:
    async def work() -> None:
        broker, near = await connected(server, patience_ms=30_000)
        do(server.url, "ALTER TABLE stem.message RENAME TO hidden")
        with pytest.raises(StoreError) as in_place:
            await published(broker, "refused")
        near.is_near = False
        with pytest.raises(StoreError) as in_the_loop:
            await published(broker, "refused")
        assert (type(in_place.value), str(in_place.value)) == (
            type(in_the_loop.value), str(in_the_loop.value),
        )  # fmt: skip
        do(server.url, "ALTER TABLE stem.hidden RENAME TO message")
        near.is_near = True
        assert await published(broker, "refused") is CREATED
        await broker.aclose()

    run(work())


def test_a_connection_that_was_killed_meanwhile_is_made_anew(server: PostgresServer) -> None:
    async def work() -> None:
        broker, near = await connected(server, patience_ms=30_000)
        do(
            server.url,
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE application_name = 'stem'",
        )
        near.is_near = True
        assert await published(broker, "after a kill") is CREATED
        await broker.aclose()

    run(work())
