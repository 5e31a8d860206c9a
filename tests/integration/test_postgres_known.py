"""What a PostgreSQL store remembers of the id of a task that has ended, and where."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from integration.on_postgres import do, message, run, take, with_tables
from services.postgres import PostgresServer

from stem_core.plugin import (
    Delivery,
    PublishStatus,
    Receipt,
    Record,
    Settled,
    Settlement,
    SettleStatus,
    State,
    replace,
)
from stem_postgres import PostgresBroker, PostgresResultBackend

DAY_MS = 86_400_000
WEB_MAY = (
    "GRANT INSERT, UPDATE, DELETE ON stem.message, stem.unique_key, stem.dead, stem.ended, "
    "stem.sleeper, stem.waiter TO web"
)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        with_tables(server.url)
        yield server


@pytest.fixture
def broker_of(server: PostgresServer) -> Any:
    do(server.url, "TRUNCATE stem.message, stem.dead, stem.ended, stem.record")

    async def connect() -> PostgresBroker:
        return await PostgresBroker.connect(server.url)

    return connect


def record_of(taken: Delivery, *, ttl_ms: int = DAY_MS) -> Record:
    fence = taken.receipt.fence
    return Record(
        id=taken.message.id, state=State.SUCCEEDED, fence=fence, value=b"1", ttl_ms=ttl_ms
    )


async def ended(
    broker: PostgresBroker, *ids: str, ttl_ms: int = DAY_MS, is_recorded: bool = True
) -> dict[str, Delivery]:
    """Run these ids to their ends, mostly each with a record; return how they were delivered."""
    await broker.publish([message(id) for id in ids])
    taken = await take(broker, len(ids))
    ends = [
        Settlement(
            receipt=each.receipt, record=record_of(each, ttl_ms=ttl_ms) if is_recorded else None
        )
        for each in taken
    ]
    assert {each.status for each in await broker.settle(ends)} == {SettleStatus.DONE}
    return {each.message.id: each for each in taken}


async def settled(broker: PostgresBroker, receipt: Receipt) -> SettleStatus:
    (reply,) = await broker.settle([Settlement(receipt=receipt)])
    return reply.status


async def published(broker: PostgresBroker, id: str, **fields: Any) -> list[PublishStatus]:
    """Publish it alone, and then in a call with another."""
    other = message(f"{id}-beside-{fields}")
    alone = await broker.publish([message(id, **fields)])
    both = await broker.publish([message(id, **fields), other])
    return [alone[0].status, both[0].status]


def where_known(server: PostgresServer) -> tuple[list[str], list[str]]:
    """Return the ids that are known by a row of their own, and those that a record knows."""
    alone = do(server.url, "SELECT id FROM stem.ended ORDER BY id")
    by_record = do(server.url, "SELECT id FROM stem.record WHERE known_ms > 0 ORDER BY id")
    return [id for (id,) in alone], [id for (id,) in by_record]


def test_the_record_of_a_task_is_what_is_left_of_its_message(
    server: PostgresServer, broker_of: Any
) -> None:
    async def work() -> None:
        broker = await broker_of()
        taken = await ended(broker, "a", "b")
        assert where_known(server) == ([], ["a", "b"])
        assert await published(broker, "a") == [PublishStatus.DUPLICATE] * 2
        assert await published(broker, "b", body=b"other") == [PublishStatus.CONFLICT] * 2
        assert await settled(broker, taken["a"].receipt) is SettleStatus.ALREADY
        older = replace(taken["a"].receipt, fence=taken["a"].receipt.fence - 1)
        assert await settled(broker, older) is SettleStatus.STALE
        await broker.aclose()

    run(work())


def test_an_id_that_may_be_forgotten_is_born_again_beside_its_old_record(
    server: PostgresServer, broker_of: Any
) -> None:
    async def work() -> None:
        broker = await broker_of()
        first = await ended(broker, "a", "b")
        do(server.url, "UPDATE stem.record SET known_ms = 1")
        assert await settled(broker, first["a"].receipt) is SettleStatus.GONE
        second = await ended(broker, "a", "b")  # and their records replace the old ones
        assert second["a"].receipt.fence > first["a"].receipt.fence
        assert where_known(server)[0] == ["a", "b"]
        assert await published(broker, "a") == [PublishStatus.DUPLICATE] * 2
        assert await settled(broker, second["b"].receipt) is SettleStatus.ALREADY
        await broker.aclose()

    run(work())


async def kept(broker: PostgresBroker) -> list[str]:
    """Clear away what is over; return the ids of the records that are left as rows."""
    await broker.call("calls.sweep", 1_000)
    return [id for (id,) in await broker.enter().run(b"SELECT id FROM stem.record ORDER BY id")]


@pytest.mark.parametrize("ttl_ms", [0, 1])
def test_a_record_that_is_kept_for_less_time_than_its_id_goes_when_that_may_be_forgotten(
    server: PostgresServer, broker_of: Any, ttl_ms: int
) -> None:
    async def work() -> None:
        broker = await broker_of()
        backend = await PostgresResultBackend.connect(server.url)
        await ended(broker, "a", ttl_ms=ttl_ms)
        await asyncio.sleep(ttl_ms / 1_000)
        assert await backend.load(["a"]) == [None]
        assert await kept(broker) == ["a"]
        assert await published(broker, "a") == [PublishStatus.DUPLICATE] * 2
        do(server.url, "UPDATE stem.record SET known_ms = 1")
        assert await kept(broker) == []
        await broker.aclose()
        await backend.aclose()

    run(work())


@pytest.mark.parametrize("ttl_ms", [0, -1])
def test_who_lets_a_record_go_early_does_not_let_its_id_go(
    server: PostgresServer, broker_of: Any, ttl_ms: int
) -> None:
    async def work() -> None:
        broker = await broker_of()
        backend = await PostgresResultBackend.connect(server.url)
        taken = await ended(broker, "a", "b")
        assert await backend.expire(["a", "nobody"], ttl_ms=ttl_ms) == [True, False]
        assert await backend.load(["a"]) == [None]
        assert await kept(broker) == ["a", "b"]
        values = do(server.url, "SELECT length(record) > 0 FROM stem.record ORDER BY id")
        assert values == [(False,), (True,)], "a value that was let go is not on the disk either"
        assert await published(broker, "a") == [PublishStatus.DUPLICATE] * 2
        assert await settled(broker, taken["a"].receipt) is SettleStatus.ALREADY
        await broker.aclose()
        await backend.aclose()

    run(work())


def test_a_sweep_does_not_walk_past_what_is_over_and_still_known(
    server: PostgresServer, broker_of: Any
) -> None:
    async def work() -> None:
        broker = await broker_of()
        ids = [f"a{n}" for n in range(500)]
        await ended(broker, *ids, ttl_ms=0)
        do(server.url, "UPDATE stem.record SET known_ms = 1 WHERE id = 'a7'")
        with psycopg.connect(server.url) as connection:  # its figures are those of one transaction
            connection.execute("SELECT stem.sweep(%s, NULL, 1000)", (broker.store.ns,))
            ((looked_at,),) = connection.execute(
                "SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'record'"
            ).fetchall()
        assert len(await kept(broker)) == 499
        assert looked_at < 10
        await broker.aclose()

    run(work())


def test_a_record_saved_again_for_less_time_still_knows_the_id(
    server: PostgresServer, broker_of: Any
) -> None:
    async def work() -> None:
        broker = await broker_of()
        backend = await PostgresResultBackend.connect(server.url)
        taken = await ended(broker, "a")
        later = replace(record_of(taken["a"]), fence=taken["a"].receipt.fence + 1, ttl_ms=0)
        await backend.save([later])
        assert await backend.load(["a"]) == [None]
        assert await kept(broker) == ["a"]
        assert await published(broker, "a") == [PublishStatus.DUPLICATE] * 2
        await broker.aclose()
        await backend.aclose()

    run(work())


@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_settlement_that_waited_for_another_lease_of_its_message_is_stale(
    server: PostgresServer, broker_of: Any, is_recorded: bool
) -> None:
    """Its row is locked by who leases it anew, who is slower than the first look at the fence."""

    async def work() -> None:
        broker = await broker_of()
        do(server.url, PATIENT)
        await broker.publish([message("a"), message("b")])
        taken = await take(broker, 2)
        async with await psycopg.AsyncConnection.connect(server.url) as rival:
            await rival.execute("UPDATE stem.message SET fence = fence + 1 WHERE id = 'a'")
            ends = [
                Settlement(receipt=each.receipt, record=record_of(each) if is_recorded else None)
                for each in taken
            ]
            settling = asyncio.create_task(broker.settle(ends))
            await waits_for_a_lock(server)
            await rival.commit()
        replies = dict(zip([each.message.id for each in taken], await settling, strict=True))
        assert replies == {"a": Settled(SettleStatus.STALE), "b": Settled(SettleStatus.DONE)}
        (found,) = await broker.lookup(["a"])
        assert found is not None
        assert found.fence == taken[0].receipt.fence + 1
        assert do(server.url, "SELECT id FROM stem.record") == ([("b",)] if is_recorded else [])
        await broker.aclose()

    run(work())


PATIENT = """
    DO $$ BEGIN EXECUTE (
        SELECT format('ALTER FUNCTION %s SET lock_timeout = %L', oid::regprocedure, '10s')
        FROM pg_proc WHERE proname = 'acknowledge'
    ); END $$
"""
"""With so long a wait for a lock it is no matter of the clock who comes first."""


async def waits_for_a_lock(server: PostgresServer) -> None:
    """Return when somebody waits for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    while await asyncio.to_thread(do, server.url, waiting) == [(0,)]:
        await asyncio.sleep(0.01)


def test_a_producer_with_few_rights_publishes_an_id_anew_once_it_may_be_forgotten(
    server: PostgresServer, broker_of: Any
) -> None:
    async def work() -> None:
        broker = await broker_of()
        await ended(broker, "recorded")
        await ended(broker, "alone", is_recorded=False)
        do(
            server.url,
            "UPDATE stem.record SET known_ms = 1",
            "UPDATE stem.ended SET keep_ms = 1",
            "CREATE ROLE web LOGIN",
            "GRANT USAGE ON SCHEMA stem TO web",
            "GRANT SELECT ON ALL TABLES IN SCHEMA stem TO web",
            WEB_MAY,
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA stem TO web",
        )
        web = await PostgresBroker.connect(server.url_of("web"))
        for id in ("recorded", "alone"):
            created, duplicate = await published(web, id)
            assert (created, duplicate) == (PublishStatus.CREATED, PublishStatus.DUPLICATE)
        await web.aclose()
        await broker.aclose()

    run(work())
