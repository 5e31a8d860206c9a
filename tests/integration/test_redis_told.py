"""A look takes at once what is plain, and sees to all else before that; in place or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from integration.test_redis_faults import message, run, take
from services.redis import RedisServer

from stem_core.plugin import (
    Delivery,
    Nearness,
    PublishStatus,
    Receipt,
    Settlement,
    SettleStatus,
    StoreError,
    UniqueKey,
    replace,
)
from stem_redis import RedisStreamsBroker
from stem_redis.fetching import _Wish
from stem_redis.line import Line
from stem_redis.scripts import script
from stem_redis.taking import read_taken

LATER_S = 0.02


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def everything(broker: RedisStreamsBroker) -> dict[bytes, bytes]:
    """Return all keys but the note of the last sweep, which expires after half a second."""
    server = broker.enter()
    keys = set(await server.command("KEYS", "*")) - {f"{broker.store.prefix}swept".encode()}
    return {key: await server.command("DUMP", key) for key in keys}


# ── what is not plain is seen to first ───────────────────────────────────────


async def a_pause(broker: RedisStreamsBroker) -> None:
    await broker.publish([message("m")])
    await broker.admin.pause("q")


async def one_that_comes_due(broker: RedisStreamsBroker) -> None:
    await broker.publish([message("m"), message("due", delay_ms=1)])
    await asyncio.sleep(LATER_S)


async def a_lease_that_has_lapsed(broker: RedisStreamsBroker) -> None:
    await broker.publish([message("m", lease_ms=1)])
    await take(broker)
    await asyncio.sleep(LATER_S)


async def a_key_that_a_lease_frees(broker: RedisStreamsBroker) -> None:
    await broker.publish([message("m"), message("n", unique=UniqueKey(key="k", until="started"))])


async def a_message_that_somebody_has_deleted(broker: RedisStreamsBroker) -> None:
    await broker.publish([message("gone"), message("m")])
    await broker.enter().command("DEL", f"{broker.store.prefix}m:gone")


async def nothing_at_all(broker: RedisStreamsBroker) -> None:
    await broker.publish([message("m")])
    await take(broker)


UNUSUAL: dict[Callable[[RedisStreamsBroker], Awaitable[None]], set[str]] = {
    a_pause: set(),
    one_that_comes_due: {"m", "due"},
    a_lease_that_has_lapsed: {"m"},
    a_key_that_a_lease_frees: {"m", "n"},
    a_message_that_somebody_has_deleted: {"m"},
    nothing_at_all: set(),
}


@pytest.mark.parametrize("arrange", UNUSUAL, ids=lambda arrange: arrange.__name__)
def test_what_is_not_plain_is_seen_to_first(
    arrange: Callable[[RedisStreamsBroker], Awaitable[None]], server: RedisServer
):
    async def play() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await arrange(broker)
        assert {each.message.id for each in await take(broker, limit=10)} == UNUSUAL[arrange]
        await broker.aclose()

    run(play())


# ── what is plain is taken as all else is ────────────────────────────────────


def a_wish() -> _Wish:
    return _Wish(["q"], 10, 0, "w")


def as_taken(delivery: Delivery) -> Any:
    """What does not depend on when it was."""
    receipt = Receipt(delivery.receipt.id, delivery.receipt.queue, 0)
    return replace(delivery, receipt=receipt, lease_ms=0)


def test_it_is_taken_the_same_and_leaves_the_same_keys(server: RedisServer):
    async def play() -> None:
        taken, keys = [], []
        for name in ("at-once", "in-the-end"):
            broker = await RedisStreamsBroker.connect(server.url, namespace=name)
            for n, priority in enumerate((0, 9, 5, 9)):
                await broker.publish([message(f"m{n}", priority=priority)])
            await broker.publish([message("other", queue="r", lease_ms=60_000)])
            await broker.publish([message("due", queue="s", delay_ms=1)])
            await asyncio.sleep(LATER_S)
            queues = ["q", "r"] if name == "at-once" else ["q", "r", "s"]
            found = list(await broker.fetch(queues, limit=4, wait_ms=0, worker="w"))
            taken.append([as_taken(each) for each in found])
            prefix = broker.store.prefix.encode()
            keys.append({key.removeprefix(prefix) for key in await everything(broker)} & KEYS)
            replies = await broker.settle([Settlement(receipt=each.receipt) for each in found])
            assert [reply.status for reply in replies] == [SettleStatus.DONE] * 4
            await broker.aclose()
        assert taken[0] == taken[1]
        assert [each.message.id for each in taken[0]] == ["m1", "m3", "m2", "m0"]
        assert keys[0] == keys[1] == {b"l:q", b"q:r"}

    run(play())


KEYS = {b"q:q", b"l:q", b"q:r", b"l:r"}


def test_a_limit_holds_across_queues_and_the_rest_stays(server: RedisServer):
    async def play() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await broker.publish([message("a"), message("b"), message("c", queue="r")])
        await broker.publish([message("d", queue="r")])
        for expected in ("abc", "d"):
            taken = await broker.fetch(["q", "r"], limit=3, wait_ms=0, worker="w")
            assert [each.message.id for each in taken] == list(expected)
        await broker.aclose()

    run(play())


@pytest.mark.parametrize("ready", [0, 1], ids=["alone", "beside what is ready"])
def test_what_is_due_comes_by_priority_and_then_by_its_time(ready: int, server: RedisServer):
    async def play() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        for place, (priority, delay_ms) in enumerate([(0, 3), (9, 2), (0, 1), (9, 1), (5, 4)]):
            await broker.publish([message(f"m{place}", priority=priority, delay_ms=delay_ms)])
        await broker.publish([message(f"ready{n}") for n in range(ready)])
        await asyncio.sleep(LATER_S)
        taken = await take(broker, limit=10)
        ids = [each.message.id for each in taken]
        assert set(ids[:3]) == {"m3", "m1", "m4"}
        assert ids[2] == "m4"
        assert len(ids) == 5 + ready
        assert {(each.attempt, each.lapses, each.receipt.queue) for each in taken} == {(1, 0, "q")}
        assert all(20_000 < each.lease_ms <= 30_000 for each in taken)
        keys = await everything(broker)
        assert {b"{stem}:q:q", b"{stem}:d:q"} & keys.keys() == set()
        replies = await broker.settle([Settlement(receipt=each.receipt) for each in taken])
        assert {reply.status for reply in replies} == {SettleStatus.DONE}
        await broker.aclose()

    run(play())


def test_of_more_that_is_due_than_is_asked_for_the_first_are_taken(server: RedisServer):
    async def play() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await broker.publish([message(f"m{n}", delay_ms=1) for n in range(3)])
        await broker.publish([message("urgent", delay_ms=2, priority=9)])
        await asyncio.sleep(LATER_S)
        assert [each.message.id for each in await take(broker, limit=1)] == ["urgent"]
        assert len(await take(broker, limit=10)) == 3
        await broker.aclose()

    run(play())


def test_a_key_that_its_first_lease_frees_is_free_when_it_was_due(server: RedisServer):
    async def play() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        unique = UniqueKey(key="k", until="started")
        await broker.publish([message("m", delay_ms=1, unique=unique), message("n", delay_ms=1)])
        await asyncio.sleep(LATER_S)
        assert len(await take(broker)) == 2
        (reply,) = await broker.publish([message("o", unique=unique)])
        assert reply.status is PublishStatus.CREATED
        await broker.aclose()

    run(play())


def test_a_lease_of_what_was_due_lapses_like_another(server: RedisServer):
    async def play() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await broker.publish([message("m", delay_ms=1, lease_ms=30)])
        await asyncio.sleep(LATER_S)
        (first,) = await take(broker)
        (again,) = await take(broker, wait_ms=20_000)
        assert again.receipt.fence > first.receipt.fence
        assert (again.attempt, again.lapses) == (1, 1)
        await broker.aclose()

    run(play())


def test_more_can_be_taken_than_one_command_holds(server: RedisServer):
    async def play() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        for start in range(0, 1_100, 100):
            await broker.publish([message(f"m{start + n}") for n in range(100)])
        taken = await broker.fetch(["q"], limit=1_100, wait_ms=0, worker="w")
        assert [each.message.id for each in taken] == [f"m{n}" for n in range(1_100)]
        await broker.aclose()

    run(play())


def test_a_script_that_the_server_has_forgotten_is_kept_again_where_one_stands(
    server: RedisServer,
):
    async def play() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await broker.publish([message("m")])
        near = broker.enter()
        await near.command("SCRIPT", "FLUSH")
        for line in near._idle:  # however long an answer takes
            line._wire._nearness = Nearness(60, 60)
            line._wire._nearness.is_near = line._wire._nearness.is_near_for_idle = True
            line._wire._shortcut.patience_ms = 60_000  # type: ignore[union-attr]
        taken = await broker._fetching._take_alone(a_wish())
        assert [each.message.id for each in taken.deliveries] == ["m"]
        sha = script("fetch", broker.store.facts.reads_shebangs).sha
        assert await near.command("SCRIPT", "EXISTS", sha) == [1]
        await broker.aclose()

    run(play())


def test_a_script_that_is_not_known_and_late_is_no_error(server: RedisServer):
    """The word of it comes when nobody waits in place any more."""

    async def play() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await broker.publish([message("m")])
        near = broker.enter()

        async def forgotten() -> None:
            await near.command("SCRIPT", "FLUSH")
            for line in near._idle:
                line._wire._nearness.is_near = True
                line._wire._shortcut.patience_ms = 0  # type: ignore[union-attr]

        await forgotten()
        taken = await broker._fetching._take_alone(a_wish())
        found = taken.deliveries or await take(broker)  # whoever waits looks again
        assert [each.message.id for each in found] == ["m"]
        await forgotten()
        replies = await broker.publish([message("n")])
        assert [reply.status for reply in replies] == [PublishStatus.CREATED]
        await broker.aclose()

    run(play())


def test_a_key_of_somebody_else_where_a_queue_delays_is_found_before_anything_is_written(
    server: RedisServer,
):
    async def play() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await broker.publish([message("m")])
        key = f"{broker.store.prefix}d:q"
        await broker.enter().command("SET", key, "somebody's")
        before = await everything(broker)
        with pytest.raises(StoreError, match=key):
            await broker.publish([message("n")])
        assert await everything(broker) == before
        await broker.aclose()

    run(play())


def test_whoever_leaves_while_a_reply_is_owed_leaves_no_line_that_owes_it(server: RedisServer):
    async def play() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await broker.publish([message("m")])
        near = broker.enter()
        permits = near.location.options.max_connections
        for _ in range(permits):
            await near._room.acquire()
        line = await near.lend()
        waiting = asyncio.ensure_future(near.rest_of(line))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not line.is_alive
        for _ in range(permits):
            near._room.release()
        await take(broker)
        await broker.aclose()

    run(play())


def test_a_reply_that_comes_before_anybody_waits_for_it_is_not_lost(server: RedisServer):
    async def play() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await take(broker)  # the script is known by then
        await broker.publish([message("m")])
        near = broker.enter()
        await near.command("CLIENT", "PAUSE", 1_000)
        for line in near._idle:
            line._wire._nearness.is_near = line._wire._nearness.is_near_for_idle = True
            line._wire._shortcut.patience_ms = 0  # type: ignore[union-attr]
        line = broker.run_here("fetch", 1, 0, "w", "q", is_idle=True)
        assert isinstance(line, Line)
        await asyncio.sleep(1.5)
        reply = await asyncio.wait_for(near.rest_of(line), 30)
        assert [each.message.id for each in read_taken(["q"], reply).deliveries] == ["m"]
        await broker.aclose()

    run(play())
