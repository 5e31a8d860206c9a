"""What the tables of a PostgreSQL store go through: how rows are found, kept and cleared away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from integration.on_postgres import do, message, run, somebody, take, with_tables
from services.postgres import PostgresServer

from stem_core import Stem
from stem_core.plugin import (
    ACK,
    Cancellation,
    DeadLetter,
    EnqueueError,
    ExtendStatus,
    Extension,
    PluginContext,
    Reason,
    Record,
    Release,
    ReleaseWhy,
    Settlement,
    SettleStatus,
    State,
    StemURL,
    encode_record,
)
from stem_core.testing import FakeClock
from stem_postgres import PostgresBroker, PostgresResultBackend
from stem_postgres.arrays import Booleans, Bytes, Int2s, Int4s, Int8s, Texts, register
from stem_postgres.options import PostgresOptions

MANY = 2_500
PIECE = 1_000
"""At most so many rows of a table go in one sweep."""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server that looks at no table by itself, so nobody knows how many rows one has."""
    with PostgresServer(config={"autovacuum": "off"}) as server:
        with_tables(server.url)
        yield server


async def fill(broker: PostgresBroker, count: int) -> None:
    for start in range(0, count, 500):
        await broker.publish([message(f"m{start + n:06d}") for n in range(500)])


async def rows_of(broker: PostgresBroker, sql: str) -> list[Any]:
    return await broker.enter().run(sql.encode())


# ── records that are there before ────────────────────────────────────────────


def record_of(id: str, fence: int, **fields: Any) -> Record:
    return Record(id=id, state=State.SUCCEEDED, fence=fence, value=b"1", **fields)


def test_one_record_that_is_there_before_costs_the_others_of_a_call_nothing(
    server: PostgresServer,
):
    """`older` gives way, `newer` stands and its task is not settled, and all others are done."""

    async def play() -> None:
        broker = await PostgresBroker.connect(server.url)
        await broker.publish([message(id) for id in ("a", "older", "newer", "z")])
        taken = {each.message.id: each for each in await take(broker)}
        for id, by in (("older", -1), ("newer", 1)):
            fence = taken[id].receipt.fence + by
            before = record_of(id, fence, task="before")
            await rows_of(
                broker,
                "INSERT INTO stem.record (ns, terminal, fence, keep_ms, id, state, task, queue, "
                f"record) VALUES ({broker.store.ns}, true, {fence}, {1 << 60}, '{id}', "
                f"'succeeded', 'before', 'q', '{encode_record(before).decode()}')",
            )
        replies = await broker.settle(
            [
                Settlement(receipt=each.receipt, record=record_of(id, each.receipt.fence))
                for id, each in taken.items()
            ]
        )
        done, stale = SettleStatus.DONE, SettleStatus.STALE
        assert [reply.status for reply in replies] == [done, done, stale, done]
        kept = await rows_of(broker, "SELECT id, task FROM stem.record ORDER BY id")
        assert dict(kept) == {"a": "", "newer": "before", "older": "", "z": ""}
        assert [at.message.id for at in await broker.lookup(["a", "newer", "z"]) if at] == ["newer"]
        await broker.aclose()

    run(play())


# ── how rows are found ───────────────────────────────────────────────────────


def test_no_verb_reads_all_messages_though_nothing_is_known_of_their_number(
    server: PostgresServer,
):
    waiting = 5_000

    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        await fill(broker, waiting)
        for _ in range(8):  # the server settles on a plan after some calls
            first, second, *rest = await take(broker)
            (extended,) = await broker.extend([Extension(first.receipt, 10_000)])
            assert extended.status is ExtendStatus.HELD
            record = Record(id=second.message.id, state=State.SUCCEEDED, fence=1)
            ends = [
                Settlement(receipt=each.receipt, record=record if each is second else None)
                for each in (second, *rest)
            ]
            assert {each.status for each in await broker.settle(ends)} == {SettleStatus.DONE}
            await broker.cancel([Cancellation(id=first.message.id)])
            await broker.lookup([first.message.id, "nobody"])
            await broker.publish([message(first.message.id), message("new")])
        await broker.aclose()

    run(work())
    assert figure(server, "n_tup_del", at_least=70)  # and with it all else that was counted
    assert figure(server, "seq_tup_read + idx_tup_fetch", at_least=0) < waiting


def test_a_claim_writes_no_index(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        await fill(broker, 1_000)
        assert len(await take(broker, 1_000)) == 1_000
        await broker.aclose()

    run(work())
    claimed = figure(server, "n_tup_upd", at_least=1_000)
    assert figure(server, "n_tup_hot_upd", at_least=900) >= 0.9 * claimed


def figure(server: PostgresServer, name: str, at_least: int) -> int:
    """Return a figure of the server about the messages, once it is there."""
    sql = f"SELECT {name} FROM pg_stat_user_tables WHERE relname = 'message'"
    for _ in range(500):
        [(found,)] = do(server.url, sql)
        if found >= at_least:
            return int(found)
        do(server.url, "SELECT pg_sleep(0.02)")
    raise AssertionError(f"{name} does not come to {at_least}")


def test_leases_that_lapsed_come_back_in_their_turn_whether_they_were_extended_or_not(
    server: PostgresServer,
):
    async def work() -> None:
        context = PluginContext(clock=(clock := FakeClock()))
        broker = await PostgresBroker.open(StemURL.parse(server.url), PostgresOptions(), context)
        await broker.publish([message(id, lease_ms=150) for id in ("young", "old", "third")])
        young, old, _ = await take(broker, 3)
        assert young.message.id == "young"
        await broker.extend([Extension(old.receipt, 50)])
        found: list[str] = []
        for moment in ("49ms", "1ms", "99ms", "1ms"):
            clock.advance(moment)
            found += [moment, *[each.message.id for each in await take(broker)]]
        assert found == ["49ms", "1ms", "old", "99ms", "1ms", "young", "third"]
        await broker.aclose()

    run(work())


# ── how they are kept and cleared away ───────────────────────────────────────


def expired(ns: int, table: str) -> str:
    """Return SQL that adds rows to *table* whose time has been over for long."""
    if table == "ended":
        columns, values = "keep_ms, fence, digest, ns, id", f"1, 1, 1, {ns}, 'x' || n"
    elif table == "record":
        columns = "ns, terminal, fence, keep_ms, id, state, task, queue, record"
        values = f"{ns}, true, 1, 1, 'x' || n, 'succeeded', 't', 'q', '{{}}'"
    else:
        columns = "ns, rank, ready_ms, ticket, base, lease_ms, dedupe_ms, digest, id, queue, task, "
        columns += "body, fence, reason, died_at_ms, keep_ms"
        values = f"{ns}, 4, 1, n, 1, 1, 0, 1, 'x' || n, 'q', 't', '', 1, 'rejected', 1, 1"
    return f"INSERT INTO stem.{table} ({columns}) SELECT {values} FROM generate_series(1, {MANY}) n"


@pytest.mark.parametrize("table", ["ended", "record", "dead"])
def test_what_is_over_goes_in_small_pieces_and_a_locked_row_stays(
    server: PostgresServer, table: str
):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        await asyncio.to_thread(do, server.url, expired(broker.store.ns, table))
        async with await psycopg.AsyncConnection.connect(server.url) as person:
            await person.execute(f"SELECT FROM stem.{table} WHERE id = 'x7' FOR UPDATE".encode())
            left = [MANY]
            while left[-1] > 1:
                await broker.call("calls.sweep", PIECE)
                ((count,),) = await rows_of(broker, f"SELECT count(*) FROM stem.{table}")
                left.append(count)
            await person.rollback()
        pieces = [before - after for before, after in pairwise(left)]
        assert max(pieces) <= PIECE
        await broker.call("calls.sweep", PIECE)
        assert await rows_of(broker, f"SELECT id FROM stem.{table}") == []
        await broker.aclose()

    run(work())


def test_a_lock_that_nobody_holds_goes_after_a_minute_and_its_fences_grow_on(
    server: PostgresServer,
):
    async def work() -> None:
        clock = FakeClock()
        context = PluginContext(namespace="locks", clock=clock)
        backend = await PostgresResultBackend.open(
            StemURL.parse(server.url), PostgresOptions(), context
        )
        assert backend.locks is not None
        fences = [
            await backend.locks.acquire(name, owner="me", ttl_ms=ttl_ms)
            for name, ttl_ms in (("lapses", 1_000), ("released", 500_000), ("held", 500_000))
        ]
        assert await backend.locks.release("released", owner="me")
        clock.advance(timedelta(milliseconds=60_000))
        await backend.call("calls.sweep", PIECE)
        assert await names() == ["held", "lapses"]
        clock.advance(timedelta(milliseconds=999))
        await backend.call("calls.sweep", PIECE)
        assert await names() == ["held", "lapses"]
        clock.advance(timedelta(milliseconds=1))
        await backend.call("calls.sweep", PIECE)
        assert await names() == ["held"]
        for name in ("lapses", "released"):
            again = await backend.locks.acquire(name, owner="you", ttl_ms=1_000)
            assert again is not None
            assert all(fence is not None and again > fence for fence in fences)
        await backend.aclose()

    async def names() -> list[str]:
        return [name for (name,) in await asyncio.to_thread(do, server.url, LOCKS)]

    run(work())


LOCKS = "SELECT name FROM stem.lock ORDER BY name"


def test_a_worker_that_always_finds_work_clears_away_what_is_over(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        await fill(broker, 500)
        await asyncio.to_thread(do, server.url, expired(broker.store.ns, "ended"))
        over = "SELECT count(*) FROM stem.ended WHERE keep_ms = 1"
        count = MANY
        while count:
            (delivery,) = await take(broker, 1)
            await broker.settle([Settlement(receipt=delivery.receipt, outcome=ACK)])
            await broker.publish([message(f"again-{delivery.message.id}", dedupe_for_ms=0)])
            await asyncio.sleep(0.02)
            ((count,),) = await rows_of(broker, over)
        await broker.aclose()

    run(work())


def test_the_busy_tables_are_vacuumed_early_and_at_full_speed(server: PostgresServer):
    rows = do(
        server.url,
        "SELECT relname, reloptions FROM pg_class WHERE relname IN ('message', 'ended') "
        "AND relkind = 'r' AND relnamespace = 'stem'::regnamespace ORDER BY 1",
    )
    options = {name: dict(each.split("=") for each in found) for name, found in rows}
    for name in ("message", "ended"):
        assert float(options[name]["autovacuum_vacuum_scale_factor"]) <= 0.1
        assert options[name]["autovacuum_vacuum_cost_delay"] == "0"
    assert int(options["message"]["fillfactor"]) <= 50, "room for a claim on the same page"


# ── what is kept comes back ──────────────────────────────────────────────────


def test_every_byte_comes_back_in_body_and_dead_letter(server: PostgresServer):
    body = bytes(range(256)) * 40

    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        await broker.publish([message("m", body=body, task="t\N{PILE OF POO}")])
        (delivery,) = await take(broker)
        assert delivery.message.body == body
        burial = DeadLetter(Reason.POISON)
        await broker.settle([Settlement(receipt=delivery.receipt, outcome=burial)])
        (letter,) = (await broker.admin.dead_letters()).items
        assert letter.message == delivery.message
        await broker.aclose()

    run(work())


def test_arguments_come_back_whole_and_what_is_nested_too_deep_is_refused(server: PostgresServer):
    async def work() -> None:
        async with Stem(server.url) as stem:
            text = "a\0b \N{GRINNING FACE} \N{COMBINING ACUTE ACCENT}"
            id = await stem.enqueue("t", {"text": text, "number": 2**63 - 1})
            lane = await stem.lane()
            (found,) = await lane.broker.lookup([id])
            assert found is not None
            assert b"\\u0000" in found.message.body
            deep: list[Any] = []
            for _ in range(20_000):
                deep = [deep]
            with pytest.raises(EnqueueError, match="deep"):
                await stem.enqueue("t", {"deep": deep})

    run(work())


def test_arrays_are_written_as_the_server_reads_them(server: PostgresServer):
    written = {
        "boolean[]": Booleans([True, False, True]),
        "smallint[]": Int2s([-1, 0, 32_767]),
        "integer[]": Int4s([7, 7, 7]),
        "bigint[]": Int8s([-(2**63), 2**63 - 1]),
        "text[]": Texts(["", "ä\N{GRINNING FACE}", "NULL", '{"\\']),
        "bytea[]": Bytes([b"", bytes(range(256))]),
    }
    with psycopg.connect(server.url) as ours, psycopg.connect(server.url) as theirs:
        register(ours)
        for connection in (ours, theirs):  # the caller's connection knows nothing of these
            for kind, array in written.items():
                sql = f"SELECT %b::{kind}".encode()
                assert connection.execute(sql, (array,)).fetchone() == (list(array),)
                assert connection.execute(sql, (type(array)(),)).fetchone() == ([],)
        with pytest.raises(psycopg.DataError):
            ours.execute("SELECT %b::bigint[]", (Int8s([2**63]),))


# ── a snapshot that stays open ───────────────────────────────────────────────

ENDED = 15_000
ALL = ["q"]


async def come_and_go(broker: PostgresBroker, count: int) -> None:
    for start in range(0, count, 500):
        await broker.publish([message(f"gone{start + n:06d}") for n in range(500)])
        taken = await take(broker, 500)
        await broker.settle([Settlement(receipt=each.receipt) for each in taken])


async def passed_by(broker: PostgresBroker, *, anew: bool = False) -> int:
    """Return how many entries a look passes by before it sees the first task."""
    low = None if anew else broker.low.of(ALL)
    _, passed = await broker.first_of(ALL, low)
    return passed


async def look_until(broker: PostgresBroker, is_so: Any) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            assert await take(broker, 10) == []
            await asyncio.sleep(0.05)


def test_looks_do_not_pass_by_what_ended_under_an_open_snapshot(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        await broker.publish([message("old")])
        (old,) = await take(broker, 1)
        async with somebody(server.url) as person:
            await person.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await person.execute("SELECT count(*) FROM stem.message")
            await come_and_go(broker, ENDED)
            await broker.settle([Settlement(receipt=old.receipt, outcome=DELAYED)])
            await asyncio.to_thread(do, server.url, "SELECT pg_sleep(2.1)")  # nothing is too young
            await look_until(broker, lambda: broker.low.of(ALL) is not None)
            async with asyncio.timeout(30):
                while await passed_by(broker) > 100:
                    assert await take(broker, 10) == []
            assert await passed_by(broker, anew=True) >= ENDED
            await broker.publish([message(f"p{n}", priority=n) for n in range(10)])
            taken = await take(broker, 4)
            assert [each.message.id for each in taken] == ["p9", "p8", "p7", "p6"]
            back = Release(0, ReleaseWhy.SHUTDOWN)
            await broker.settle([Settlement(receipt=taken[0].receipt, outcome=back)])
            assert [each.message.id for each in await take(broker, 1)] == ["p9"]
            await take(broker, 10)
        await look_until(broker, lambda: broker.low.of(ALL) is None)
        await broker.aclose()

    run(work())


DELAYED = Release(3_600_000, ReleaseWhy.SNOOZE)


def test_what_comes_back_to_an_earlier_turn_under_an_open_snapshot_is_found(server: PostgresServer):
    async def work() -> None:
        broker, other = [await PostgresBroker.connect(server.url) for _ in range(2)]
        async with (
            somebody(server.url) as person,
            await psycopg.AsyncConnection.connect(server.url) as request,
        ):
            await person.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await person.execute("SELECT count(*) FROM stem.message")
            await other.publish_in(request, [message("late")])
            await come_and_go(broker, ENDED)
            await asyncio.to_thread(do, server.url, "SELECT pg_sleep(2.1)")
            await look_until(broker, lambda: broker.low.of(ALL) is not None)
            await request.commit()
            async with asyncio.timeout(30):
                while not (taken := await take(broker, 10)):
                    await asyncio.sleep(0.05)
            assert [each.message.id for each in taken] == ["late"]
        await broker.aclose()
        await other.aclose()

    run(work())
