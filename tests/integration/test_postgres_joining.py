"""The caller's own connection: of whatever kind it is, and to the right database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from integration.on_postgres import do, message, run, take, with_tables
from psycopg import AsyncClientCursor, AsyncRawCursor, ClientCursor, RawCursor
from psycopg.rows import dict_row, namedtuple_row, scalar_row, tuple_row
from services.postgres import PostgresServer

from stem_core import Stem
from stem_core.plugin import PublishStatus, Settlement, SettleStatus, UsageError
from stem_postgres import PostgresBroker

ROWS = [dict_row, namedtuple_row, scalar_row, tuple_row]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        with_tables(server.url)
        yield server


# ── of whatever kind ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("kind", [psycopg.AsyncCursor, AsyncRawCursor, AsyncClientCursor])
def test_an_asynchronous_connection_of_any_kind_carries_a_task_and_its_end(
    server: PostgresServer, kind: Any, rows: Any
):
    async def work() -> None:
        namespace = f"{kind.__name__}-{rows.__name__}"
        broker = await PostgresBroker.connect(server.url, namespace=namespace)
        connection = await psycopg.AsyncConnection.connect(
            server.url, cursor_factory=kind, row_factory=rows
        )
        async with connection:
            for status in (PublishStatus.CREATED, PublishStatus.DUPLICATE):
                (reply,) = await broker.publish_in(connection, [message("m")])
                assert reply.status is status
            await connection.commit()
            (delivery,) = await take(broker)
            (done,) = await broker.settle_in(connection, [Settlement(receipt=delivery.receipt)])
            assert done.status is SettleStatus.DONE
        assert await broker.lookup(["m"]) == [None]
        await broker.aclose()

    run(work())


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("kind", [psycopg.Cursor, RawCursor, ClientCursor])
def test_a_blocking_connection_of_any_kind_carries_a_task(
    server: PostgresServer, kind: Any, rows: Any
):
    async def work() -> None:
        namespace = f"{kind.__name__}-{rows.__name__}"
        broker = await PostgresBroker.connect(server.url, namespace=namespace)
        with psycopg.connect(server.url, cursor_factory=kind, row_factory=rows) as connection:
            for status in (PublishStatus.CREATED, PublishStatus.DUPLICATE):
                (reply,) = broker.publish_in_sync(connection, [message("m")])
                assert reply.status is status
            connection.commit()
            (delivery,) = await take(broker)
            (done,) = broker.settle_in_sync(connection, [Settlement(receipt=delivery.receipt)])
            assert done.status is SettleStatus.DONE
        await broker.aclose()

    run(work())


# ── to the right database ────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def other(server: PostgresServer) -> str:
    """A second database with the tables of Stem, in which every number is taken, too."""
    do(server.url, "CREATE DATABASE other", "CREATE DATABASE empty")
    url = with_tables(server.url_of("postgres", None, "other"))
    do(
        url,
        "INSERT INTO stem.namespace (name, channel) "
        "SELECT 'n' || n, 'stem_' || n FROM generate_series(1, 100) AS n",
    )
    return url


def test_a_connection_to_another_store_is_refused_and_nothing_is_kept_there(
    server: PostgresServer, other: str
):
    async def work() -> None:
        async with Stem(server.url) as stem:
            connection = await psycopg.AsyncConnection.connect(other)
            with pytest.raises(UsageError, match="does not lead to the store of this broker"):
                await stem.enqueue("ship", connection=connection)
            with pytest.raises(psycopg.errors.InFailedSqlTransaction):  # nor what else was written
                await connection.execute("SELECT 1")
            await connection.rollback()
            await connection.close()

    run(work())
    assert do(other, "SELECT count(*) FROM stem.message") == [(0,)]


def test_a_blocking_connection_to_another_store_is_refused(server: PostgresServer, other: str):
    stem = Stem(server.url)
    try:
        with (
            psycopg.connect(other) as connection,
            pytest.raises(UsageError, match="does not lead to the store"),
        ):
            stem.blocking.enqueue("ship", connection=connection)
    finally:
        stem.close()
    assert do(other, "SELECT count(*) FROM stem.message") == [(0,)]


@pytest.mark.usefixtures("other")
def test_a_database_without_stem_is_no_reason_to_make_tables(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        empty = server.url_of("postgres", None, "empty")
        async with await psycopg.AsyncConnection.connect(empty) as connection:
            with pytest.raises(UsageError, match="does not lead to the store of this broker"):
                await broker.publish_in(connection, [message("m")])
            await connection.rollback()
        await broker.aclose()

    run(work())


def test_the_same_number_in_another_schema_is_another_store(server: PostgresServer):
    with_tables(server.url, "second")

    async def work() -> None:
        broker = await PostgresBroker.connect(server.url + "?schema=second", namespace="own")
        async with await psycopg.AsyncConnection.connect(server.url) as connection:
            (reply,) = await broker.publish_in(connection, [message("m")])
            assert reply.status is PublishStatus.CREATED
        assert [each.message.id for each in await take(broker)] == ["m"]
        await broker.aclose()

    run(work())
