"""What somebody else writes among the keys of Stem: the error names it, and no task is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from services.redis import RedisServer

from stem_core import Stem, Worker
from stem_core.plugin import (
    Cancellation,
    CancelStatus,
    DeadLetter,
    Delivery,
    Fault,
    Heartbeat,
    Limit,
    Message,
    Place,
    Progress,
    PublishStatus,
    Reason,
    Record,
    Release,
    ReleaseWhy,
    RetryLater,
    ScheduleState,
    Settlement,
    SettleOutcome,
    SettleStatus,
    State,
    StoreError,
    TaskError,
    UniqueKey,
)
from stem_redis import RedisResultBackend, RedisStreamsBroker
from stem_redis.diagnosis import ALONE, NAMED

_numbers = itertools.count()


def message(id: str, **fields: Any) -> Message:
    return Message(**{"id": id, "queue": "q", "task": "t", "body": b"{}", **fields})


def new_message(**fields: Any) -> Message:
    return message(f"m{next(_numbers)}", **fields)


@dataclass
class Scene:
    """A broker and a backend of one server, and its keys."""

    broker: RedisStreamsBroker
    backend: RedisResultBackend

    async def key(self, command: str, key: str, *words: str | bytes | int) -> Any:
        """Give one command to the server about the key of this name."""
        return await self.broker.enter().command(command, f"{{stem}}:{key}", *words)

    async def take(self, limit: int = 10) -> list[Delivery]:
        return list(await self.broker.fetch(["q"], limit=limit, wait_ms=0, worker="w"))

    async def settle(self, delivery: Delivery, **what: Any) -> SettleStatus:
        (reply,) = await self.broker.settle([Settlement(receipt=delivery.receipt, **what)])
        return reply.status

    async def place(self, id: str) -> Place | None:
        (found,) = await self.broker.lookup([id])
        return found.place if found else None

    async def sweep(self) -> None:
        await self.key("DEL", "swept")  # else nobody does for half a second
        await self.broker.run("sweep", *self.broker.homes)


@pytest.fixture
def play() -> Any:
    """Play a test on a server of its own."""

    def play(act: Callable[[Scene], Coroutine[Any, Any, None]], options: str = "") -> None:
        async def in_time(server: RedisServer) -> None:
            broker = await RedisStreamsBroker.connect(f"{server.url}{options}")
            backend = await RedisResultBackend.connect(
                server.url.replace("/0", f"/{broker.store.results_db}")
            )
            try:
                async with asyncio.timeout(60):
                    await act(Scene(broker, backend))
            finally:
                await broker.aclose()
                await backend.aclose()

        with RedisServer() as server:
            asyncio.run(in_time(server))

    return play


def record_of(delivery: Delivery) -> Record:
    return Record(
        id=delivery.message.id, state=State.SUCCEEDED, fence=delivery.receipt.fence, value=b"1"
    )


# ── every key ────────────────────────────────────────────────────────────────


async def publish(scene: Scene) -> None:
    await scene.broker.publish([new_message()])


async def publish_late(scene: Scene) -> None:
    await scene.broker.publish([new_message(delay_ms=60_000)])


async def publish_unique(scene: Scene) -> None:
    await scene.broker.publish([new_message(unique=UniqueKey(key="q"))])


async def sweep(scene: Scene) -> None:
    await scene.sweep()


async def sweep_if_it_is_time(scene: Scene) -> None:
    await scene.broker.run("sweep", *scene.broker.homes)


async def sleep(scene: Scene) -> None:
    """Look as one who then sleeps, find out who sleeps, and tell them."""
    await scene.key("DEL", "q:q")
    await scene.broker.run("fetch", 1, 60_000, "w", "q")
    await publish(scene)


async def lease(scene: Scene) -> None:
    await publish(scene)
    await scene.take()


def settle_with(outcome: SettleOutcome) -> Callable[[Scene], Awaitable[None]]:
    async def settle(scene: Scene) -> None:
        await publish(scene)
        for delivery in await scene.take():
            assert await scene.settle(delivery, outcome=outcome) is SettleStatus.DONE

    return settle


async def save(scene: Scene) -> None:
    await scene.backend.save([Record(id="q", state=State.RUNNING, fence=next(_numbers))])


async def note_progress(scene: Scene) -> None:
    await scene.backend.progress([Progress("q", 1, b"1")])


async def clear_away(scene: Scene) -> None:
    await scene.backend.run("air", *scene.backend.homes, 0)


async def pause(scene: Scene) -> None:
    await scene.broker.admin.pause("elsewhere")


async def lock(scene: Scene) -> None:
    await scene.backend.locks.acquire("q", owner="o", ttl_ms=60_000)


async def limit_rate(scene: Scene) -> None:
    await scene.broker.limits.acquire(
        [Limit(key="q", rate=9, per_ms=60_000)], holder="h", lease_ms=60_000
    )


async def limit_concurrency(scene: Scene) -> None:
    await scene.broker.limits.acquire([Limit(key="q", concurrent=9)], holder="h", lease_ms=60_000)


async def beat(scene: Scene) -> None:
    await scene.backend.heartbeats.beat(Heartbeat(worker="w", at_ms=1, ttl_ms=60_000))


async def keep_a_schedule(scene: Scene) -> None:
    await scene.backend.schedules.load_schedules()
    await scene.backend.schedules.save_schedule(ScheduleState(name="s", version=1, state=b"{}"))


async def see_to_health(scene: Scene) -> None:
    await scene.broker.admin.health()


BURY = settle_with(DeadLetter(Reason.REJECTED))
USES: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "turn": publish,
    "epoch": sweep,
    "swept": sweep_if_it_is_time,
    "walk": sweep,
    "aired": clear_away,
    "health": see_to_health,
    "queues": publish,
    "paused": pause,
    "x": BURY,
    "graves": BURY,
    "rx": save,
    "beats": beat,
    "schedules": keep_a_schedule,
    "q:q": publish,
    "d:q": publish_late,
    "l:q": lease,
    "x:q": BURY,
    "pw:q": settle_with(Release(60_000, ReleaseWhy.PARKED)),
    "pr:q": settle_with(Release(0, ReleaseWhy.PARKED)),
    "z:q": sleep,
    "w:q": sleep,
    "u:q": publish_unique,
    "r:q": save,
    "g:q": note_progress,
    "k:q": lock,
    "lr:q": limit_rate,
    "lc:q": limit_concurrency,
}
"""What uses each key, and so makes it."""

REPLACED = frozenset({"health"})
"""What is written whatever was there before."""


def test_every_key_that_stem_uses_is_used_here():
    of_messages = {"m:q"}  # their loss is what other tests are about
    assert USES.keys() == {*ALONE, *(f"{name}q" for name in NAMED)} - of_messages


@pytest.mark.parametrize("key", USES)
def test_any_key_may_be_deleted_and_the_work_goes_on(key: str, play: Any):
    async def act(scene: Scene) -> None:
        await USES[key](scene)
        deleted = await scene.key("DEL", key)
        assert deleted or key in ("swept", "aired")  # which last for half a second
        await USES[key](scene)
        await scene.key("DEL", "paused")
        await scene.broker.publish([message("last")])
        while "last" not in [each.message.id for each in await scene.take(100)]:
            pass

    play(act)


@pytest.mark.parametrize("key", [key for key in USES if key not in REPLACED])
def test_a_stranger_under_any_name_of_ours_is_named(key: str, play: Any):
    async def act(scene: Scene) -> None:
        await scene.key("RPUSH", key, "stranger")
        with pytest.raises(StoreError, match="holds a list") as told:
            await USES[key](scene)
        assert f"the key {{stem}}:{key} " in str(told.value)
        # What all tasks of a queue share is for people to put right, and makes no task a bad one.
        of_one = key.startswith(("u:", "r:", "g:", "k:", "m:"))
        assert told.value.fault is (Fault.DATA if of_one else Fault.FATAL_CONFIG)
        await scene.key("DEL", key)
        await USES[key](scene)

    play(act)


def test_a_stranger_among_the_results_of_another_database_is_named(play: Any):
    async def act(scene: Scene) -> None:
        await publish(scene)
        (delivery,) = await scene.take()
        await scene.backend.enter().command("RPUSH", "{stem}:rx", "stranger")
        with pytest.raises(StoreError, match=r"the key \{stem\}:rx holds a list"):
            await scene.settle(delivery, record=record_of(delivery))

    play(act, "?results_db=1")


def test_a_stranger_in_the_way_of_what_replicas_confirm_is_named(play: Any):
    async def act(scene: Scene) -> None:
        await scene.key("RPUSH", "turn", "stranger")
        with pytest.raises(StoreError, match=r"the key \{stem\}:turn holds a list"):
            await publish(scene)

    play(act, "?wait_replicas=1")


def test_a_stranger_in_the_way_of_a_replay_is_named(play: Any):
    async def act(scene: Scene) -> None:
        await scene.broker.publish([message("dead", unique=UniqueKey(key="k"))])
        (delivery,) = await scene.take()
        await scene.settle(delivery, outcome=DeadLetter(Reason.REJECTED))
        await scene.key("RPUSH", "u:k", "stranger")
        with pytest.raises(StoreError, match=r"the key \{stem\}:u:k holds a list"):
            await scene.broker.admin.replay(["dead"])
        assert await scene.place("dead") is Place.DEAD

    play(act)


# ── a script stops before its first write ────────────────────────────────────


@pytest.mark.parametrize("key", ["turn", "u:k", "q:next", "queues", "z:next", "rx"])
def test_a_stranger_stops_a_settlement_as_a_whole_and_costs_no_follow_up(key: str, play: Any):
    async def act(scene: Scene) -> None:
        await scene.broker.publish([message("parent")])
        (parent,) = await scene.take()
        follow_up = message("child", queue="next", unique=UniqueKey(key="k"))
        what = {"record": record_of(parent), "follow_ups": (follow_up,)}
        await scene.key("DEL", key)
        await scene.key("RPUSH", key, "stranger")
        with pytest.raises(StoreError, match=f"{key} holds a list"):
            await scene.settle(parent, **what)
        assert await scene.place("parent") is Place.LEASED
        assert await scene.backend.load(["parent"]) == [None]
        await scene.key("DEL", key)
        assert await scene.settle(parent, **what) is SettleStatus.DONE
        assert await scene.place("child") is Place.READY
        (record,) = await scene.backend.load(["parent"])
        assert record is not None

    play(act)


OUTCOMES: Sequence[tuple[str, SettleOutcome]] = [
    ("x:q", DeadLetter(Reason.REJECTED)),
    ("x", DeadLetter(Reason.REJECTED)),
    ("graves", DeadLetter(Reason.REJECTED)),
    ("turn", DeadLetter(Reason.REJECTED)),
    ("turn", RetryLater(0)),
    ("d:q", RetryLater(60_000, TaskError(type="E", message="no"))),
    ("z:q", RetryLater(60_000)),
    ("pw:q", Release(60_000, ReleaseWhy.PARKED)),
    ("pr:q", Release(0, ReleaseWhy.PARKED)),
    ("q:q", Release(0, ReleaseWhy.SHUTDOWN)),
]


@pytest.mark.parametrize(("key", "outcome"), OUTCOMES)
def test_a_stranger_stops_every_outcome_as_a_whole(key: str, outcome: SettleOutcome, play: Any):
    async def act(scene: Scene) -> None:
        await scene.broker.publish([message("m")])
        (delivery,) = await scene.take()
        what = {"outcome": outcome, "record": record_of(delivery)}
        await scene.key("DEL", key)
        await scene.key("RPUSH", key, "stranger")
        with pytest.raises(StoreError, match=f"{key} holds a list"):
            await scene.settle(delivery, **what)
        (found,) = await scene.broker.lookup(["m"])
        assert found is not None
        assert (found.place, found.errors) == (Place.LEASED, ())
        assert await scene.backend.load(["m"]) == [None]
        await scene.key("DEL", key)
        assert await scene.settle(delivery, **what) is SettleStatus.DONE

    play(act)


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_stranger_in_the_way_of_a_fetch_costs_no_lease(is_plain: bool, play: Any):
    async def act(scene: Scene) -> None:
        unique = None if is_plain else UniqueKey(key="k", until="started")
        await scene.broker.publish([message("m0", unique=unique)])
        await scene.broker.publish([message(f"m{n}") for n in range(1, 5)])
        for key in ("turn", "z:q"):
            await scene.key("DEL", key)
            await scene.key("RPUSH", key, "stranger")
            with pytest.raises(StoreError, match=f"{key} holds a list"):
                await scene.take()
            assert {await scene.place(f"m{n}") for n in range(5)} == {Place.READY}
            await scene.key("DEL", key)
        assert [(each.lapses, each.attempt) for each in await scene.take()] == [(0, 1)] * 5

    play(act)


@pytest.mark.parametrize("key", ["q:r", "d:r", "l:r"])
def test_a_stranger_in_one_queue_costs_no_lease_of_another(key: str, play: Any):
    async def act(scene: Scene) -> None:
        await scene.broker.publish([message("m")])
        await scene.key("RPUSH", key, "stranger")
        queues = ["q", "r"]
        (delivery,) = await scene.broker.fetch(queues, limit=10, wait_ms=0, worker="w")
        assert delivery.message.id == "m"
        with pytest.raises(StoreError, match=f"{key} holds a list"):
            await scene.broker.fetch(queues, limit=10, wait_ms=0, worker="w")

    play(act)


def test_a_stranger_in_the_way_of_one_message_stops_its_call_as_a_whole(play: Any):
    async def act(scene: Scene) -> None:
        batch = [message("a"), message("b", unique=UniqueKey(key="k"))]
        await scene.key("RPUSH", "u:k", "stranger")
        with pytest.raises(StoreError, match="u:k holds a list"):
            await scene.broker.publish(batch)
        assert await scene.broker.lookup(["a", "b"]) == [None, None]
        await scene.key("DEL", "u:k")
        replies = await scene.broker.publish(batch)
        assert [each.status for each in replies] == [PublishStatus.CREATED] * 2

    play(act)


def test_a_stranger_in_the_way_of_one_limit_costs_no_unit_of_another(play: Any):
    async def act(scene: Scene) -> None:
        limits = [Limit(key="places", concurrent=1), Limit(key="speed", rate=1)]
        await scene.key("RPUSH", "turn", "stranger")
        with pytest.raises(StoreError, match="turn holds a list"):
            await scene.broker.limits.acquire(limits, holder="h", lease_ms=60_000)
        assert await scene.key("EXISTS", "lc:places") == 0

    play(act)


def test_what_has_ended_before_a_settlement_that_is_stopped_stands_nowhere(play: Any):
    async def act(scene: Scene) -> None:
        await scene.broker.publish([message("a"), message("b")])
        a, b = await scene.take()
        await scene.backend.enter().command("RPUSH", "{stem}:r:b", "stranger")
        with pytest.raises(StoreError, match="r:b holds a list"):
            await scene.broker.settle(
                [
                    Settlement(receipt=a.receipt),
                    Settlement(receipt=b.receipt, record=record_of(b)),
                ]
            )
        assert await scene.key("ZRANGE", "l:q", 0, -1) == [b"b"]
        assert await scene.place("a") is None

    play(act, "?results_db=1")


# ── nothing of ours is in the key of a stranger ──────────────────────────────


@pytest.mark.parametrize("kind", ["finished", "started"])
def test_a_stranger_instead_of_a_unique_key_holds_up_no_task(kind: Any, play: Any):
    async def act(scene: Scene) -> None:
        unique = UniqueKey(key="k", until=kind)
        await scene.broker.publish([message("m", unique=unique)])
        await scene.key("DEL", "u:k")
        await scene.key("RPUSH", "u:k", "stranger")
        await scene.sweep()
        (delivery,) = await scene.take()
        assert await scene.settle(delivery) is SettleStatus.DONE
        assert await scene.key("LLEN", "u:k") == 1

    play(act)


def test_a_task_ends_although_a_stranger_stands_where_it_was_leased(play: Any):
    async def act(scene: Scene) -> None:
        await scene.broker.publish([message("a"), message("b", unique=UniqueKey(key="k"))])
        taken = await scene.take()
        await scene.key("DEL", "l:q")
        await scene.key("RPUSH", "l:q", "stranger")
        for delivery in taken:
            assert await scene.settle(delivery, record=record_of(delivery)) is SettleStatus.DONE

    play(act)


# ── unique keys that the first lease has freed ───────────────────────────────


@pytest.mark.parametrize(
    "outcome", [RetryLater(60_000), RetryLater(0), Release(60_000, ReleaseWhy.PARKED)]
)
def test_a_key_that_a_start_has_freed_is_not_taken_back(outcome: SettleOutcome, play: Any):
    async def act(scene: Scene) -> None:
        unique = UniqueKey(key="k", until="started")
        await scene.broker.publish([message("a", unique=unique)])
        (delivery,) = await scene.take()
        assert await scene.settle(delivery, outcome=outcome) is SettleStatus.DONE
        await scene.sweep()
        (reply,) = await scene.broker.publish([message("b", unique=unique)])
        assert (reply.status, reply.id) == (PublishStatus.CREATED, "b")

    play(act)


def test_a_fetch_that_nobody_waited_for_gives_the_unique_key_back(play: Any):
    async def act(scene: Scene) -> None:
        unique = UniqueKey(key="k", until="started")
        await scene.broker.publish([message("a", unique=unique)])
        await scene.broker._fetching._hand_back(await scene.take())
        (reply,) = await scene.broker.publish([message("b", unique=unique)])
        assert (reply.status, reply.id) == (PublishStatus.UNIQUE, "a")

    play(act)


# ── messages that cannot be read ─────────────────────────────────────────────


def test_a_message_that_somebody_has_overwritten_hides_no_other(
    play: Any, caplog: pytest.LogCaptureFixture
):
    async def act(scene: Scene) -> None:
        await scene.broker.publish([message(f"m{n}") for n in range(3)])
        await scene.key("HSET", "m:m1", "m", "garbage")
        taken = await scene.take()
        assert [(each.message.id, each.message.queue, each.message.body) for each in taken] == [
            ("m0", "q", b"{}"), ("m1", "q", b"garbage"), ("m2", "q", b"{}"),
        ]  # fmt: skip
        for delivery in taken:
            outcome = DeadLetter(Reason.DECODE_ERROR)
            assert await scene.settle(delivery, outcome=outcome) is SettleStatus.DONE
        (found,) = await scene.broker.lookup(["m1"])
        assert found is not None
        assert found.message.body == b"garbage"
        letters = await scene.broker.admin.dead_letters()
        assert [each.message.id for each in letters.items] == ["m2", "m1", "m0"]

    play(act)
    assert "1 messages were overwritten by somebody else, and go on as far as they can: m1" in (
        caplog.text
    )


async def double(n: int) -> int:
    return 2 * n


def test_a_worker_buries_a_message_that_it_cannot_read():
    async def act(server: RedisServer) -> None:
        async with Stem(broker=server.url, backend=server.url) as stem:
            task = stem.task(double)
            jobs = [await task.enqueue(n) for n in range(5)]
            broker = await RedisStreamsBroker.connect(server.url)
            await broker.enter().command("HSET", f"{{stem}}:m:{jobs[2].id}", "m", "garbage")
            async with Worker(stem):
                results = [await jobs[n].result(timeout=20) for n in (0, 1, 3, 4)]
                assert results == [0, 2, 6, 8]
                while not (letters := await broker.admin.dead_letters()).items:
                    await asyncio.sleep(0.02)
            assert [(each.message.id, each.reason) for each in letters.items] == [
                (jobs[2].id, Reason.DECODE_ERROR.value)
            ]
            await broker.aclose()

    async def in_time(server: RedisServer) -> None:
        async with asyncio.timeout(60):
            await act(server)

    with RedisServer() as server:
        asyncio.run(in_time(server))


DAMAGES = [b"", b"x", b"\0" * 71, b"\0" * 80, b"\0" * 108, b"\0" * 200, b"\xff" * 200]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("place", ["q:q", "d:q", "l:q"])
def test_a_row_that_somebody_has_overwritten_stops_no_queue(place: str, damage: bytes, play: Any):
    async def act(scene: Scene) -> None:
        waits = 30 if place == "d:q" else 0
        batch = [message(f"m{n}", delay_ms=waits, lease_ms=30) for n in range(3)]
        await scene.broker.publish(batch)
        if place == "l:q":
            assert len(await scene.take()) == 3
        await scene.key("HSET", "m:m1", "s", damage)
        seen: dict[str, Delivery] = {}
        while len(seen) < 3:  # what has lapsed meanwhile comes again
            await scene.sweep()
            seen |= {each.message.id: each for each in await scene.take()}
            await scene.broker.settle([Settlement(receipt=each.receipt) for each in seen.values()])
        assert seen["m1"].message == batch[1]
        assert await scene.broker.lookup(["m0", "m1", "m2"]) == [None] * 3

    play(act)


def test_errors_that_somebody_has_overwritten_hide_no_message(play: Any):
    async def act(scene: Scene) -> None:
        await scene.broker.publish([message("m")])
        (delivery,) = await scene.take()
        again = RetryLater(0, TaskError(type="E", message="no"))
        await scene.settle(delivery, outcome=again)
        await scene.key("HSET", "m:m", "e", "xy")
        (delivery,) = await scene.take()
        assert [each.type for each in delivery.errors] == ["stem.unreadable"]
        assert await scene.settle(delivery, outcome=again) is SettleStatus.DONE
        assert len(await scene.take()) == 1

    play(act)


def test_a_message_that_cannot_be_read_is_cancelled_and_purged_like_any(play: Any):
    async def act(scene: Scene) -> None:
        await scene.broker.publish([message("a"), message("b")])
        for id in ("a", "b"):
            await scene.key("HSET", f"m:{id}", "m", "garbage")
        (reply,) = await scene.broker.cancel([Cancellation(id="a", reason="no")])
        assert reply.status is CancelStatus.CANCELLED
        assert reply.message is not None
        assert reply.message.body == b"garbage"
        assert [each.status for each in await scene.broker.admin.purge("q")] == [
            CancelStatus.CANCELLED
        ]
        assert await scene.place("b") is None

    play(act)


def test_a_record_that_cannot_be_read_hides_none_of_the_others(play: Any):
    async def act(scene: Scene) -> None:
        records = [Record(id=id, state=State.SUCCEEDED, fence=1) for id in ("a", "b", "c")]
        await scene.backend.save(records)
        await scene.key("SETRANGE", "r:b", 17, "garbage")
        page = await scene.backend.list()
        assert [each.id for each in page.records] == ["c", "a"]
        with pytest.raises(StoreError, match="cannot be read"):
            await scene.backend.load(["b"])

    play(act)


# ── what records leave ───────────────────────────────────────────────────────


@pytest.mark.parametrize("use", [save, beat])
def test_a_backend_alone_clears_away_the_ids_of_records_that_have_expired(use: Any, play: Any):
    async def act(scene: Scene) -> None:
        for start in range(0, 2000, 500):
            ids = [f"old-{n}" for n in range(start, start + 500)]
            await scene.backend.save(
                [Record(id=id, state=State.SUCCEEDED, fence=1, ttl_ms=1) for id in ids]
            )
        await scene.backend.save([Record(id="kept", state=State.SUCCEEDED, fence=1)])
        while await scene.key("ZCARD", "rx") > 200:
            await scene.key("DEL", "aired")  # as half a second later
            other = scene.backend.sibling()
            await use(Scene(scene.broker, other))
            await other.aclose()
        assert await scene.key("ZSCORE", "rx", "kept") is not None

    play(act)


def test_a_record_that_is_forgotten_at_once_leaves_no_id(play: Any):
    async def act(scene: Scene) -> None:
        await scene.backend.save(
            [Record(id=id, state=State.SUCCEEDED, fence=1) for id in ("a", "b")]
        )
        assert await scene.backend.expire(["a"], ttl_ms=0) == [True]
        await scene.backend.save([Record(id="b", state=State.SUCCEEDED, fence=2, ttl_ms=0)])
        assert await scene.key("EXISTS", "rx") == 0

    play(act)


def test_a_message_whose_bytes_somebody_deleted_ends_and_comes_back_no_more(play: Any):
    async def act(scene: Scene) -> None:
        await scene.broker.publish([message("cut", unique=UniqueKey(key="k")), message("whole")])
        await scene.key("HDEL", "m:cut", "m")
        assert [each.message.id for each in await scene.take()] == ["whole"]
        await scene.sweep()
        assert await scene.key("ZCARD", "q:q") == 0
        (reply,) = await scene.broker.publish([message("next", unique=UniqueKey(key="k"))])
        assert reply.status is PublishStatus.CREATED

    play(act)


def test_a_stranger_in_one_queue_hides_no_queue_behind_it(play: Any):
    async def act(scene: Scene) -> None:
        await scene.broker.publish([message("a", queue="a"), message("c", queue="c")])
        await scene.key("SET", "q:b", "a stranger")
        taken = await scene.broker.run("fetch", 10, 0, "w", "a", "b", "c")
        assert {b"a", b"c"} <= set(taken)

    play(act)
