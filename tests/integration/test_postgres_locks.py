"""What somebody locks in PostgreSQL, or keeps open, stops nothing but what it is about."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from integration.on_postgres import ack, do, message, name_for, run, somebody, take, with_tables
from services.server import Server

from stem_core.plugin import (
    Cancellation,
    CancelStatus,
    Message,
    PublishStatus,
    Record,
    Release,
    ReleaseWhy,
    RetryLater,
    Settlement,
    SettleStatus,
    State,
    UniqueKey,
)
from stem_postgres import PostgresBroker

DONE, BUSY = SettleStatus.DONE, SettleStatus.BUSY
KEY = "only-one"
HELD = "SELECT FROM stem.message WHERE id = %s FOR UPDATE"
HELD_KEY = (
    "SELECT FROM stem.unique_key u JOIN stem.namespace n USING (ns) WHERE n.name = %s FOR UPDATE"
)
WITHIN_S = 2.0
"""Less than the time after which a server gives a statement up, and much more than one takes."""


@pytest.fixture(scope="session")
def url(postgres_server: Server) -> str:
    return with_tables(postgres_server.url)


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    return f"locks-{name_for(request.node.name)}"


@pytest.fixture
def opened(url: str, namespace: str) -> Any:
    return partial(PostgresBroker.connect, url, namespace=namespace)


def keyed(id: str, until: Any = "finished", key: str = KEY, **fields: Any) -> Message:
    return message(id, unique=UniqueKey(key=key, until=until), **fields)


async def publish(broker: PostgresBroker, *messages: Message) -> list[PublishStatus]:
    return [reply.status for reply in await broker.publish(messages)]


# ── rows ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("has_record", [False, True], ids=["alone", "with a result"])
def test_a_locked_row_is_settled_later_and_its_neighbours_at_once(url: str, opened, has_record):
    async def work() -> None:
        broker = await opened()
        await broker.publish([message(f"{id}-{has_record}") for id in ("a", "locked", "z")])
        settlements = [
            Settlement(
                receipt=each.receipt,
                record=Record(id=each.message.id, state=State.SUCCEEDED, fence=each.receipt.fence)
                if has_record
                else None,
            )
            for each in await take(broker)
        ]
        async with somebody(url) as human:
            await human.execute(HELD, (f"locked-{has_record}",))
            async with asyncio.timeout(WITHIN_S):
                replies = await broker.settle(settlements)
            assert [reply.status for reply in replies] == [DONE, BUSY, DONE]
        (reply,) = await broker.settle([settlements[1]])
        assert reply.status is DONE
        await broker.aclose()

    run(work())


def test_whatever_becomes_of_a_task_does_not_wait_for_a_locked_row(url: str, opened):
    outcomes = (RetryLater(0), Release(0, ReleaseWhy.SNOOZE), Release(0, ReleaseWhy.PARKED))

    async def work() -> None:
        broker = await opened()
        await broker.publish([message(f"o{n}") for n in range(6)])
        taken = await take(broker)
        async with somebody(url) as human:
            for n in range(3):
                await human.execute(HELD, (f"o{n}",))
            async with asyncio.timeout(WITHIN_S):
                replies = await broker.settle(
                    [
                        Settlement(receipt=each.receipt, outcome=outcomes[n % 3])
                        for n, each in enumerate(taken)
                    ]
                )
            assert [reply.status for reply in replies] == [BUSY] * 3 + [DONE] * 3
        await broker.aclose()

    run(work())


def test_a_result_that_somebody_else_is_writing_holds_up_no_other_task(url: str, opened):
    async def work() -> None:
        broker = await opened()
        await broker.publish([message("written"), message("free")])
        taken = await take(broker)
        settlements = [
            Settlement(
                receipt=each.receipt,
                record=Record(id=each.message.id, state=State.SUCCEEDED, fence=each.receipt.fence),
            )
            for each in taken
        ]
        async with somebody(url) as human:
            await human.execute(
                "INSERT INTO stem.record (ns, terminal, fence, keep_ms, id, state, task, queue, "
                "record) VALUES (%s, true, 1, 1, 'written', 'succeeded', 't', 'q', '{}')",
                (broker.store.ns,),
            )
            async with asyncio.timeout(WITHIN_S):
                replies = await broker.settle(settlements)
            assert [reply.status for reply in replies] == [BUSY, DONE]
        assert await ack(broker, taken[0]) == [DONE]
        await broker.aclose()

    run(work())


def test_a_whole_table_that_is_locked_leaves_all_for_later_in_time(url: str, opened):
    async def work() -> None:
        broker = await opened()
        await broker.publish([message(f"t{n}") for n in range(100)])
        taken = await take(broker, 100)
        async with somebody(url) as human:
            await human.execute("LOCK TABLE stem.message IN ACCESS EXCLUSIVE MODE")
            async with asyncio.timeout(WITHIN_S):
                assert set(await ack(broker, *taken)) == {BUSY}
        assert set(await ack(broker, *taken)) == {DONE}
        await broker.aclose()

    run(work())


def test_in_the_callers_transaction_a_locked_row_is_waited_for(url: str, opened):
    async def work() -> None:
        broker = await opened()
        await broker.publish([message("mine")])
        (taken,) = await take(broker)
        async with somebody(url) as human, somebody(url) as handler:
            await human.execute(HELD, ("mine",))
            settling = asyncio.create_task(
                broker.settle_in(handler, [Settlement(receipt=taken.receipt)])
            )
            while not await asyncio.to_thread(do, url, WAITING):
                await asyncio.sleep(0.01)
            await human.rollback()
            (reply,) = await settling
            assert reply.status is DONE
        await broker.aclose()

    run(work())


WAITING = (
    "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
    "AND query_start < clock_timestamp() - interval '200 ms'"
)


# ── unique keys ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("until", ["finished", "started"])
def test_who_was_told_of_a_holder_and_stays_in_his_transaction_keeps_nobody(
    url: str, opened, until
):
    async def work() -> None:
        broker = await opened()
        ids = [f"{name}-{until}" for name in ("holder", "other", "late", "next", "plain")]
        holder, other, late, following, plain = ids
        await publish(broker, keyed(holder, until), message(other))
        async with somebody(url) as request:
            (reply,) = await broker.publish_in(request, [keyed(late, until)])
            assert (reply.status, reply.id) == (PublishStatus.UNIQUE, holder)
            async with asyncio.timeout(WITHIN_S):
                replies = await publish(broker, keyed(following, until), message(plain))
                assert replies == [PublishStatus.UNIQUE, PublishStatus.CREATED]
                taken = await take(broker)
                assert [each.message.id for each in taken] == [holder, other, plain]
                assert await ack(broker, *taken) == [DONE] * 3
                assert await publish(broker, keyed(following, until)) == [PublishStatus.CREATED]
        await broker.aclose()

    run(work())


def test_a_key_that_is_locked_when_its_holder_ends_is_free_at_once(
    url: str, opened, namespace: str
):
    async def work() -> None:
        broker = await opened()
        await publish(broker, keyed("acked", key="a"), keyed("dropped", key="c"), message("n"))
        taken = await take(broker, 1)
        async with somebody(url) as human:
            await human.execute(HELD_KEY, (namespace,))
            async with asyncio.timeout(WITHIN_S):
                assert await ack(broker, *taken) == [DONE]
                (reply,) = await broker.cancel([Cancellation(id="dropped")])
                assert reply.status is CancelStatus.CANCELLED
        replies = await publish(broker, keyed("a2", key="a"), keyed("c2", key="c"))
        assert replies == [PublishStatus.CREATED] * 2
        assert await publish(broker, keyed("a3", key="a")) == [PublishStatus.UNIQUE]
        await broker.aclose()

    run(work())


def test_a_key_that_was_locked_and_is_asked_for_no_more_is_swept(url: str, opened, namespace: str):
    async def work() -> None:
        broker = await opened()
        await publish(broker, keyed("gone", key="g"), keyed("stays", key="s"))
        (taken,) = await take(broker, 1)
        async with somebody(url) as human:
            await human.execute(HELD_KEY, (namespace,))
            assert await ack(broker, taken) == [DONE]
        assert await keys(broker) == ["g", "s"]
        await broker.call("calls.sweep", 100)
        assert await keys(broker) == ["s"]
        ((left,),) = await broker.enter().run(
            b"SELECT count(*) FROM stem.loose_key WHERE ns = %s", (broker.store.ns,)
        )
        assert left == 0
        await broker.aclose()

    async def keys(broker: PostgresBroker) -> list[str]:
        sql = b"SELECT key FROM stem.unique_key WHERE ns = %s ORDER BY key"
        return [key for (key,) in await broker.enter().run(sql, (broker.store.ns,))]

    run(work())


def test_a_task_whose_key_is_locked_waits_and_no_other_does(url: str, opened, namespace: str):
    async def work() -> None:
        broker = await opened()
        await publish(broker, keyed("first", "started"), message("second"))
        async with somebody(url) as human:
            await human.execute(HELD_KEY, (namespace,))
            async with asyncio.timeout(WITHIN_S):
                assert [each.message.id for each in await take(broker)] == ["second"]
                assert await take(broker) == []
        assert [each.message.id for each in await take(broker)] == ["first"]
        assert await publish(broker, keyed("third", "started")) == [PublishStatus.CREATED]
        await broker.aclose()

    run(work())


def test_of_many_who_want_what_is_left_of_a_key_one_gets_it(url: str, opened, namespace: str):
    async def work() -> None:
        broker = await opened()
        others = [broker.sibling() for _ in range(6)]
        for turn in range(20):
            await publish(broker, keyed(f"old-{turn}"))
            (taken,) = await take(broker, 1)
            async with somebody(url) as human:
                await human.execute(HELD_KEY, (namespace,))
                assert await ack(broker, taken) == [DONE]
            replies = await asyncio.gather(
                *[publish(other, keyed(f"new-{turn}-{n}")) for n, other in enumerate(others)]
            )
            assert [reply for (reply,) in replies].count(PublishStatus.CREATED) == 1
            (taken,) = await take(broker)
            assert await ack(broker, taken) == [DONE]
        for each in (broker, *others):
            await each.aclose()

    run(work())


def test_an_id_that_is_born_again_finds_its_own_key_that_was_left(url: str, opened, namespace: str):
    async def work() -> None:
        broker = await opened()
        await publish(broker, keyed("again", dedupe_for_ms=0))
        (taken,) = await take(broker, 1)
        async with somebody(url) as human:
            await human.execute(HELD_KEY, (namespace,))
            assert await ack(broker, taken) == [DONE]
        assert await publish(broker, keyed("again", dedupe_for_ms=0)) == [PublishStatus.CREATED]
        assert await publish(broker, keyed("another")) == [PublishStatus.UNIQUE]
        await broker.aclose()

    run(work())
