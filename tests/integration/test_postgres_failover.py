"""A primary and a standby that streams from it, both in one URL: who is found, and a failover."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from integration.on_postgres import ack, do, message, one_task, patiently, run, take, with_tables
from services.postgres import PostgresServer
from services.standby import Member, url_of_both

from stem_core import Stem, TaskOptions
from stem_core.model.codec import encode_value
from stem_core.plugin import (
    PublishStatus,
    Record,
    Settlement,
    SettleStatus,
    State,
    StoreUnavailable,
)
from stem_postgres import PostgresBroker, PostgresResultBackend

ATTRS = "target_session_attrs=read-write"
TOLD = "&poll=30s"
"""Whoever waits looks so seldom that only a wake can have ended a wait."""


class Pair:
    """A primary, and the standby that follows it."""

    def __init__(self) -> None:
        self.primary, self.standby = Member(durable=True), Member(durable=True)

    @property
    def url(self) -> str:
        """Both, the first primary first."""
        return url_of_both(self.primary, self.standby)

    def confirm_together(self) -> None:
        """Let the primary confirm nothing from now on that the standby does not have, too."""
        do(
            self.primary.url,
            "ALTER SYSTEM SET synchronous_standby_names = '*'",
            "SELECT pg_reload_conf()",
        )
        self.wait_until("SELECT sync_state = 'sync' FROM pg_stat_replication")

    def wait_until(self, question: str) -> None:
        """Return when the primary answers yes."""
        with psycopg.connect(self.primary.url, autocommit=True) as somebody:
            while somebody.execute(question.encode()).fetchall() != [(True,)]:
                pass  # each question takes a moment of its own

    def catch_up(self) -> None:
        """Return when the standby has all that there is now."""
        self.wait_until("SELECT replay_lsn >= pg_current_wal_lsn() FROM pg_stat_replication")

    def promote(self) -> None:
        """Let the standby be a primary."""
        assert do(self.standby.url, "SELECT pg_promote(true, 30)") == [(True,)]


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    with pair.primary:
        with_tables(pair.primary.url)
        pair.standby.follow(pair.primary)
        with pair.standby:
            pair.wait_until("SELECT state = 'streaming' FROM pg_stat_replication")
            yield pair


async def port_of(broker: PostgresBroker) -> int:
    """Return the port of the server that *broker* speaks to."""
    ((port,),) = await broker.enter().run(b"SELECT inet_server_port()")
    return int(port)


# ── who is found ─────────────────────────────────────────────────────────────


def test_the_primary_is_found_in_whichever_order_the_hosts_stand(pair: Pair):
    async def work() -> None:
        for number, (one, other) in enumerate(
            [(pair.primary, pair.standby), (pair.standby, pair.primary)]
        ):
            for wanted in ("read-write", "primary"):
                url = url_of_both(one, other).replace("=read-write", f"={wanted}")
                broker = await PostgresBroker.connect(url)
                await one_task(broker, f"{wanted}-{number}")
                assert await port_of(broker) == pair.primary.port
                await broker.aclose()

    run(work())


def test_a_standby_says_what_it_is_and_how_the_primary_is_found(pair: Pair):
    alone = pair.standby.url
    first = url_of_both(pair.standby, pair.primary).partition("?")[0]

    async def work() -> None:
        for url in (alone, first, first + "?target_session_attrs=any"):
            for kind in (PostgresBroker, PostgresResultBackend):
                with pytest.raises(StoreUnavailable, match="is a standby") as caught:
                    await kind.connect(url)
                assert ATTRS in str(caught.value)

    run(work())


def test_standbys_alone_are_waited_for_and_called_what_they_are(pair: Pair):
    pair.primary.kill()

    async def work() -> None:
        for url in (pair.url, f"{pair.standby.url}?{ATTRS}"):
            with pytest.raises(StoreUnavailable, match="cannot be written to: it is a standby"):
                await PostgresBroker.connect(url)

    run(work())


# ── a failover ───────────────────────────────────────────────────────────────


def test_what_both_have_confirmed_outlives_the_primary_and_is_done_once(pair: Pair):
    pair.confirm_together()

    async def work() -> None:
        broker = await PostgresBroker.connect(pair.url)
        replies = await broker.publish([message(f"m{n}") for n in range(100)])
        assert {reply.status for reply in replies} == {PublishStatus.CREATED}
        done, held = await take(broker, 30), await take(broker, 30)
        assert set(await ack(broker, *done)) == {SettleStatus.DONE}
        await asyncio.to_thread(pair.primary.kill)
        await asyncio.to_thread(pair.promote)
        rest = await patiently(lambda: take(broker, 100))
        # What was ended stays so, what was leased is still held, and the rest is there.
        ids = [each.message.id for batch in (done, held, rest) for each in batch]
        assert sorted(ids) == sorted(f"m{n}" for n in range(100))
        assert set(await ack(broker, *done)) == {SettleStatus.ALREADY}
        assert set(await ack(broker, *held, *rest)) == {SettleStatus.DONE}
        (reply,) = await broker.publish([message("m0")])
        assert reply.status is PublishStatus.DUPLICATE
        assert await port_of(broker) == pair.standby.port
        await broker.aclose()

    run(work())


def test_who_waits_is_told_at_the_new_primary(pair: Pair):
    pair.confirm_together()

    async def work() -> None:
        broker = await PostgresBroker.connect(pair.url + TOLD)
        backend = await PostgresResultBackend.connect(pair.url + TOLD)
        other = broker.sibling()
        await broker.publish([message("seen")])
        (seen,) = await take(broker)
        result = asyncio.create_task(patiently(lambda: backend.wait("seen", timeout_ms=50_000)))
        waiting = asyncio.create_task(patiently(lambda: take(broker, wait_ms=50_000)))
        await asyncio.to_thread(listeners, pair.primary, 2)
        await asyncio.to_thread(pair.primary.kill)
        await asyncio.to_thread(pair.promote)
        await asyncio.to_thread(listeners, pair.standby, 2)
        async with asyncio.timeout(5):
            record = Record(id="seen", state=State.SUCCEEDED, fence=seen.receipt.fence)
            await patiently(lambda: settle(other, seen.receipt, record))
            assert await result == record
            await other.publish([message("after")])
            assert [each.message.id for each in await waiting] == ["after"]
        for handle in (broker, backend, other):
            await handle.aclose()

    run(work())


def test_a_result_that_was_waited_for_before_a_failover_comes_after_it(pair: Pair):
    pair.confirm_together()

    async def work() -> None:
        stem = Stem(pair.url + TOLD)
        async with stem:
            id = await stem.enqueue("t", options=TaskOptions(queue="q"))
            waiting = asyncio.create_task(stem.result(id, timeout=50))
            await asyncio.to_thread(listeners, pair.primary, 1)
            await asyncio.to_thread(pair.primary.kill)
            await asyncio.to_thread(pair.promote)
            broker = await PostgresBroker.connect(pair.url)
            (taken,) = await take(broker)
            record = Record(
                id=id, state=State.SUCCEEDED, fence=taken.receipt.fence, value=encode_value(42)
            )
            await settle(broker, taken.receipt, record)
            assert await waiting == 42
            await broker.aclose()

    run(work())


async def settle(broker: PostgresBroker, receipt: Any, record: Record) -> None:
    (reply,) = await broker.settle([Settlement(receipt=receipt, record=record)])
    assert reply.status in (SettleStatus.DONE, SettleStatus.ALREADY)


def listeners(server: PostgresServer, count: int) -> None:
    """Return when so many connections of Stem listen there."""
    question = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stem listen'"
    while do(server.url, question) != [(count,)]:
        pass  # each question takes a moment of its own


def test_a_primary_that_lost_its_synchronous_standby_confirms_nothing(pair: Pair):
    pair.confirm_together()

    async def work() -> None:
        broker = await PostgresBroker.connect(pair.url)
        hasty = await PostgresBroker.connect(pair.url + "&timeout=1s")
        await asyncio.to_thread(pair.standby.stop)
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            await hasty.publish([message("m")])
        await asyncio.to_thread(pair.standby.start)
        (reply,) = await patiently(lambda: broker.publish([message("m")]))
        assert reply.status is PublishStatus.DUPLICATE  # it was written, and not confirmed
        assert [each.message.id for each in await take(broker)] == ["m"]
        await hasty.aclose()
        await broker.aclose()

    run(work())


def test_a_server_that_can_confirm_nothing_is_not_healthy():
    async def work(server: PostgresServer) -> None:
        broker = await PostgresBroker.connect(server.url + "?timeout=1s")
        assert (await broker.admin.health()).ok
        await asyncio.to_thread(ask_for_a_standby, server, "nobody")
        async with asyncio.timeout(3):
            health = await broker.admin.health()
        assert (health.ok, "did not answer in time" in health.detail) == (False, True)
        await asyncio.to_thread(ask_for_a_standby, server, "")
        assert (await broker.admin.health()).ok
        await broker.aclose()

    with PostgresServer(durable=True) as server:
        with_tables(server.url)
        run(work(server))


def ask_for_a_standby(server: PostgresServer, name: str) -> None:
    """Let *server* confirm no commit from now on that the standby *name* does not have."""
    do(
        server.url,
        f"ALTER SYSTEM SET synchronous_standby_names = '{name}'",
        "SELECT pg_reload_conf()",
    )
    while do(server.url, "SHOW synchronous_standby_names") != [(name,)]:
        pass  # each question takes a moment of its own


def test_a_primary_that_is_silent_is_passed_over(pair: Pair):
    async def work() -> None:
        hasty = pair.url + "&connect_timeout=2s&timeout=1s"
        broker = await patiently(lambda: PostgresBroker.connect(hasty))
        await patiently(lambda: broker.lookup(["before"]))
        await asyncio.to_thread(pair.catch_up)
        await asyncio.to_thread(pair.primary.pause)  # it takes connections, and says nothing
        await asyncio.to_thread(pair.promote)
        await patiently(lambda: broker.publish([message("after")]))
        assert await patiently(lambda: port_of(broker)) == pair.standby.port
        late = await patiently(lambda: PostgresBroker.connect(hasty))
        assert await patiently(lambda: port_of(late)) == pair.standby.port
        assert await patiently(lambda: late.lookup(["after"])) != [None]
        await broker.aclose()
        await late.aclose()

    run(work())


def test_what_an_asynchronous_standby_had_not_copied_is_gone_and_can_be_sent_again(pair: Pair):
    async def work() -> None:
        broker = await PostgresBroker.connect(pair.url)
        await broker.publish([message("copied"), message("ended")])
        await asyncio.to_thread(pair.catch_up)
        await asyncio.to_thread(pair.standby.stop)  # it falls behind, and nobody waits for it
        await broker.publish([message("late")])
        (ended,) = [each for each in await take(broker) if each.message.id == "ended"]
        assert await ack(broker, ended) == [SettleStatus.DONE]
        await asyncio.to_thread(pair.primary.kill)
        await asyncio.to_thread(pair.standby.start)
        await asyncio.to_thread(pair.promote)
        found = await patiently(lambda: broker.lookup(["copied", "ended", "late"]))
        assert [each is not None for each in found] == [True, True, False]
        assert [p.status for p in await broker.publish([message("late")])] == [
            PublishStatus.CREATED
        ]
        # The end that was confirmed is forgotten, and so is its lease: that task is given out
        # once more, under the same fence.
        again = {each.message.id: each for each in await take(broker)}
        assert set(again) == {"copied", "ended", "late"}
        assert again["ended"].receipt.fence == ended.receipt.fence
        assert set(await ack(broker, *again.values())) == {SettleStatus.DONE}
        await broker.aclose()

    run(work())
