"""What a broker promises to operators, to the control plane and to limits."""

from __future__ import annotations

import asyncio

from conformance.broker_contract import DEAD, again, end, ended, failure
from conformance.stage import message, promise

from stem_core.contracts.admin import Replayed, ReplayStatus
from stem_core.contracts.control import ControlMessage
from stem_core.contracts.limits import Limit
from stem_core.contracts.messages import (
    ExtendStatus,
    Extension,
    Place,
    PublishStatus,
    Release,
    ReleaseWhy,
    RetryLater,
    SettleStatus,
    UniqueKey,
)
from stem_core.model.outcome import State


class AdminContract:
    """`BrokerAdmin`, for brokers that have one."""

    @promise("ADMIN-1")
    async def test_statistics_come_sorted_and_an_unknown_queue_counts_as_empty(self, stage):
        await stage.publish(
            message("leased", "b"),
            message("dead", "b", priority=9),
            message("parked", "b"),
            message("ready", "b"),
            message("delayed", "b", delay_ms=10**6),
            message("other", "a"),
        )
        dead, leased, parked = await stage.fetch("b", limit=3)
        await stage.settle(end(dead, DEAD))
        await stage.settle(end(parked, Release(10**6, ReleaseWhy.PARKED)))
        await stage.let_pass(stage.unit_ms)
        assert leased.message.id == "leased"
        every = await stage.broker.admin.stats()
        assert [s.queue for s in every] == ["a", "b"]
        b = every[1]
        assert (b.ready, b.delayed, b.parked, b.leased, b.dead) == (1, 1, 1, 1, 1)
        assert stage.unit_ms <= b.oldest_ms < 5 * stage.unit_ms
        a, c = await stage.broker.admin.stats(["c", "a"])
        assert (a.queue, a.ready, c.queue, c.ready, c.oldest_ms) == ("a", 1, "c", 0, 0)

    @promise("ADMIN-2")
    async def test_peeking_leases_nothing_and_pages_by_id(self, stage):
        ids = [f"m{n}" for n in (3, 1, 4, 0, 2)]
        await stage.publish(*(message(id) for id in ids), message("m11", "other"))
        seen, cursor = [], None
        while True:
            page = await stage.broker.admin.peek("q", limit=2, cursor=cursor)
            seen += [item.message.id for item in page.items]
            if (cursor := page.cursor) is None:
                break
        assert seen == sorted(ids)
        assert [d.message.id for d in await stage.fetch()] == ids

    @promise("ADMIN-3")
    async def test_dead_letters_are_listed_latest_first_byte_for_byte(self, stage):
        sent = [message(f"m{n}", body=bytes([0, 255, n]), signature=b"\x00s") for n in range(5)]
        await stage.publish(*sent, message("other", "p"))
        for delivery in [*await stage.fetch(), await stage.take("p")]:
            await stage.settle(end(delivery, DEAD))
            await stage.let_pass(10)
        seen, cursor = [], None
        while True:
            page = await stage.broker.admin.dead_letters("q", limit=2, cursor=cursor)
            seen += [item.message for item in page.items]
            if (cursor := page.cursor) is None:
                break
        assert seen == sent[::-1]
        every = await stage.broker.admin.dead_letters()
        assert len(every.items) == 6
        assert (every.items[0].place, every.items[0].reason) == (Place.DEAD, "rejected")

    @promise("ADMIN-4")
    async def test_a_replay_starts_anew_and_keeps_fence_and_history(self, stage):
        sent = message(body=b"\x00", signature=b"s", lease_ms=stage.unit_ms)
        await stage.publish(sent)
        await stage.settle(end(await stage.take(), RetryLater(0, failure(1))))
        last = await stage.take()
        await stage.settle(end(last, DEAD, record=ended(last, State.DEAD, value=None)))
        assert list(await stage.broker.admin.replay(["m", "?"])) == [
            Replayed(ReplayStatus.DONE, last.receipt.fence),
            Replayed(ReplayStatus.UNKNOWN),
        ]
        assert list(await stage.broker.admin.replay(["m"])) == [Replayed(ReplayStatus.ALREADY)]
        (record,) = await stage.results.load(["m"])
        assert record is not None
        assert record.state is State.QUEUED
        delivery = await stage.take()
        assert delivery.message == sent
        assert (delivery.attempt, delivery.lapses) == (1, 0)
        assert delivery.receipt.fence > last.receipt.fence
        assert [e.message for e in delivery.errors] == ["no. 1"]
        assert await stage.settle(end(delivery, record=ended(delivery))) is SettleStatus.DONE
        (record,) = await stage.results.load(["m"])
        assert record is not None
        assert record.state is State.SUCCEEDED

    @promise("ADMIN-4")
    async def test_a_replay_needs_its_unique_key(self, stage):
        key = UniqueKey(key="k")
        await stage.publish(message(unique=key))
        await stage.settle(end(await stage.take(), DEAD))
        await stage.publish(message("other", unique=key))
        assert list(await stage.broker.admin.replay(["m"])) == [Replayed(ReplayStatus.UNIQUE)]
        await stage.settle(end(await stage.take()))
        (reply,) = await stage.broker.admin.replay(["m"])
        assert reply.status is ReplayStatus.DONE
        assert await again(stage, message("third", unique=key)) is PublishStatus.UNIQUE

    @promise("ADMIN-5")
    async def test_a_discarded_dead_letter_is_gone_and_its_record_stays(self, stage):
        await stage.publish(message(), message("live"))
        delivery = await stage.take()
        record = ended(delivery, State.DEAD)
        await stage.settle(end(delivery, DEAD, record=record))
        replies = await stage.broker.admin.discard(["m", "live", "?"])
        assert [r.status.value for r in replies] == ["done", "already", "unknown"]
        assert await stage.where("m") is None
        assert await stage.results.load(["m"]) == [record]
        assert (await stage.broker.admin.dead_letters()).items == ()

    @promise("ADMIN-6")
    async def test_a_purge_cancels_what_waits_and_nothing_else(self, stage):
        key = UniqueKey(key="k")
        await stage.publish(
            message("leased"),
            message("dead"),
            message("ready", unique=key),
            message("delayed", delay_ms=10**6),
            message("other", "p"),
        )
        leased, dead = await stage.fetch(limit=2)
        await stage.settle(end(dead, DEAD))
        purge = stage.broker.admin.purge
        gone = [*await purge("q", limit=1), *await purge("q")]
        assert sorted(c.message.id for c in gone if c.message) == ["delayed", "ready"]
        assert list(await purge("q")) == []
        records = await stage.results.load(["ready", "delayed", "leased"])
        assert [r and (r.state, r.task, r.queue) for r in records] == [
            (State.CANCELLED, "t", "q"),
            (State.CANCELLED, "t", "q"),
            None,
        ]
        found = await stage.broker.lookup(["ready", "delayed", "leased", "dead", "other"])
        assert [f and f.place for f in found] == [
            None, None, Place.LEASED, Place.DEAD, Place.READY,
        ]  # fmt: skip
        assert await stage.settle(end(leased)) is SettleStatus.DONE
        await stage.publish(message("next", unique=key))

    @promise("ADMIN-7")
    async def test_a_pause_holds_the_queue_and_lets_leases_go_on(self, stage):
        await stage.publish(message("a"), message("b"))
        delivery = (await stage.fetch(limit=1))[0]
        await stage.broker.admin.pause("q")
        assert await stage.fetch() == []
        (reply,) = await stage.broker.extend([Extension(delivery.receipt, 30_000)])
        assert reply.status is ExtendStatus.HELD
        assert await stage.settle(end(delivery)) is SettleStatus.DONE
        await stage.publish(message("c"))
        (stats,) = await stage.broker.admin.stats(["q"])
        assert (stats.paused, stats.ready) == (True, 2)

    @promise("ADMIN-8")
    async def test_a_resume_wakes_whoever_waits(self, stage):
        await stage.broker.admin.pause("q")
        await stage.publish(message())
        waiting = await stage.start(stage.broker.fetch(["q"], limit=1, wait_ms=10**8, worker="w"))
        assert not waiting.done()
        await stage.broker.admin.resume("q")
        assert [d.message.id for d in await waiting] == ["m"]

    @promise("ADMIN-9")
    async def test_a_store_that_works_is_healthy(self, stage):
        health = await stage.broker.admin.health()
        assert health.ok
        assert health.round_trip_ms >= 0


class ControlContract:
    """`ControlChannel`, for brokers that broadcast."""

    @promise("CONTROL-1")
    async def test_every_listener_gets_each_message_once_and_in_order(self, stage):
        async def hear(channel, count):
            heard = []
            async for heard_now in channel.listen():
                heard.append(heard_now)
                if len(heard) == count:
                    return heard
            return heard

        listeners = [
            await stage.start(hear(handle.control, 3)) for handle in (stage.broker, stage.sibling())
        ]
        sent = [ControlMessage(body=bytes([n]), signature=b"s") for n in range(3)]
        for one in sent:
            await stage.broker.control.send(one)
        assert await asyncio.gather(*listeners) == [sent, sent]


class LimitContract:
    """`LimitStore`, for brokers that have one."""

    @promise("LIMIT-1")
    async def test_units_are_taken_of_all_limits_or_of_none(self, stage):
        limits = stage.broker.limits
        narrow = Limit(key="narrow", concurrent=1)
        wide = Limit(key="wide", concurrent=2)
        assert (await limits.acquire([narrow, wide], holder="a", lease_ms=10**6)).granted
        refused = await limits.acquire([wide, narrow], holder="b", lease_ms=10**6)
        assert not refused.granted
        assert refused.retry_after_ms > 0
        assert (await limits.acquire([wide], holder="c", lease_ms=10**6)).granted
        assert not (await limits.acquire([wide], holder="d", lease_ms=10**6)).granted

    @promise("LIMIT-1")
    async def test_no_window_has_more_starts_than_the_rate(self, stage):
        limits = stage.broker.limits
        rate = Limit(key="r", rate=3, per_ms=stage.unit_ms)
        granted = [
            (await limits.acquire([rate], holder=f"h{n}", lease_ms=1)).granted for n in range(5)
        ]
        assert granted == [True, True, True, False, False]
        refused = await limits.acquire([rate], holder="h", lease_ms=1)
        assert 0 < refused.retry_after_ms <= stage.unit_ms
        await stage.let_pass(stage.unit_ms + 1)
        assert (await limits.acquire([rate], holder="h", lease_ms=1)).granted

    @promise("LIMIT-2")
    async def test_a_unit_that_is_not_given_back_ends_with_its_lease(self, stage):
        limits = stage.broker.limits
        one = Limit(key="k", concurrent=1)
        assert (await limits.acquire([one], holder="dies", lease_ms=stage.unit_ms)).granted
        assert not (await limits.acquire([one], holder="b", lease_ms=1)).granted
        await stage.let_pass(stage.unit_ms + 1)
        assert (await limits.acquire([one], holder="b", lease_ms=1)).granted

    @promise("LIMIT-3")
    async def test_giving_back_twice_frees_one_unit(self, stage):
        limits = stage.broker.limits
        two = Limit(key="k", concurrent=2)
        for holder in ("a", "b"):
            assert (await limits.acquire([two], holder=holder, lease_ms=10**6)).granted
        await limits.give_back([two], holder="a")
        await limits.give_back([two], holder="a")
        assert (await limits.acquire([two], holder="c", lease_ms=10**6)).granted
        assert not (await limits.acquire([two], holder="d", lease_ms=10**6)).granted
