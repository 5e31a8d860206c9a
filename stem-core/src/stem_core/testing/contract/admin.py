"""What a broker promises to operators."""

from __future__ import annotations

from stem_core.contracts.admin import Replayed, ReplayStatus
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
from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBroker
from stem_core.testing.contract.values import (
    DEAD,
    NASTY,
    end,
    ended,
    failure,
    message,
)

__all__ = ["AdminContract"]


class AdminContract(OnBroker):
    """`BrokerAdmin`, for brokers that have one."""

    @promise("ADMIN-1", needs=("admin", "dead_letters", "delay"))
    async def test_statistics_come_sorted_and_an_unknown_queue_counts_as_empty(
        self, stage: Stage
    ) -> None:
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
        every = await stage.admin.stats()
        assert [s.queue for s in every] == ["a", "b"]
        b = every[1]
        assert (b.ready, b.delayed, b.parked, b.leased, b.dead) == (1, 1, 1, 1, 1)
        assert stage.unit_ms <= b.oldest_ms < 5 * stage.unit_ms
        a, c = await stage.admin.stats(["c", "a"])
        assert (a.queue, a.ready, c.queue, c.ready, c.oldest_ms) == ("a", 1, "c", 0, 0)

    @promise("ADMIN-2", needs=("admin",))
    async def test_peeking_leases_nothing_and_pages_by_id(self, stage: Stage) -> None:
        ids = [f"m{n}" for n in (3, 1, 4, 0, 2)]
        await stage.publish(*(message(id) for id in ids), message("m11", "other"))
        seen, cursor = [], None
        while True:
            page = await stage.admin.peek("q", limit=2, cursor=cursor)
            seen += [item.message.id for item in page.items]
            if (cursor := page.cursor) is None:
                break
        assert seen == sorted(ids)
        assert [d.message.id for d in await stage.fetch()] == ids

    @promise("ADMIN-3", needs=("dead_letters",))
    async def test_dead_letters_are_listed_latest_first_byte_for_byte(self, stage: Stage) -> None:
        sent = [message(f"m{n}", body=body, signature=b"\x00s") for n, body in enumerate(NASTY)]
        await stage.publish(*sent, message("other", "p"))
        for delivery in [*await stage.fetch(), await stage.take("p")]:
            await stage.settle(end(delivery, DEAD))
            await stage.let_pass(10)
        seen, cursor = [], None
        while True:
            page = await stage.admin.dead_letters("q", limit=2, cursor=cursor)
            seen += [item.message for item in page.items]
            if (cursor := page.cursor) is None:
                break
        assert seen == sent[::-1]
        every = await stage.admin.dead_letters()
        assert len(every.items) == 6
        assert (every.items[0].place, every.items[0].reason) == (Place.DEAD, "rejected")

    @promise("ADMIN-4", needs=("dead_letters",))
    async def test_a_replay_starts_anew_and_keeps_fence_and_history(self, stage: Stage) -> None:
        sent = message(body=b"\x00", signature=b"s", lease_ms=stage.unit_ms)
        await stage.publish(sent)
        await stage.settle(end(await stage.take(), RetryLater(0, failure(1))))
        last = await stage.take()
        await stage.settle(end(last, DEAD, record=ended(last, State.DEAD, value=None)))
        assert list(await stage.admin.replay(["m", "?"])) == [
            Replayed(ReplayStatus.DONE, last.receipt.fence),
            Replayed(ReplayStatus.UNKNOWN),
        ]
        assert list(await stage.admin.replay(["m"])) == [Replayed(ReplayStatus.ALREADY)]
        delivery = await stage.take()
        assert delivery.message == sent
        assert (delivery.attempt, delivery.lapses) == (1, 0)
        assert delivery.receipt.fence > last.receipt.fence
        assert [e.message for e in delivery.errors] == ["no. 1"]
        assert await stage.settle(end(delivery)) is SettleStatus.DONE

    @promise("ADMIN-4", needs=("dead_letters", "atomic_results"))
    async def test_a_replay_takes_its_record_back_to_queued(self, stage: Stage) -> None:
        await stage.publish(message())
        last = await stage.take()
        await stage.settle(end(last, DEAD, record=ended(last, State.DEAD, value=None)))
        await stage.admin.replay(["m"])
        record = await stage.record("m")
        assert record is not None
        assert record.state is State.QUEUED
        delivery = await stage.take()
        assert await stage.settle(end(delivery, record=ended(delivery))) is SettleStatus.DONE
        record = await stage.record("m")
        assert record is not None
        assert record.state is State.SUCCEEDED

    @promise("ADMIN-4", needs=("dead_letters", "uniqueness"))
    async def test_a_replay_needs_its_unique_key(self, stage: Stage) -> None:
        key = UniqueKey(key="k")
        await stage.publish(message(unique=key))
        await stage.settle(end(await stage.take(), DEAD))
        await stage.publish(message("other", unique=key))
        assert list(await stage.admin.replay(["m"])) == [Replayed(ReplayStatus.UNIQUE)]
        await stage.settle(end(await stage.take()))
        (reply,) = await stage.admin.replay(["m"])
        assert reply.status is ReplayStatus.DONE
        assert await stage.again(message("third", unique=key)) is PublishStatus.UNIQUE

    @promise("ADMIN-5", needs=("dead_letters", "atomic_results"))
    async def test_a_discarded_dead_letter_is_gone_and_its_record_stays(self, stage: Stage) -> None:
        await stage.publish(message(), message("live"))
        delivery = await stage.take()
        record = ended(delivery, State.DEAD)
        await stage.settle(end(delivery, DEAD, record=record))
        replies = await stage.admin.discard(["m", "live", "?"])
        assert [r.status.value for r in replies] == ["done", "already", "unknown"]
        assert await stage.where("m") is None
        assert await stage.results.load(["m"]) == [record]
        assert (await stage.admin.dead_letters()).items == ()

    @promise("ADMIN-6", needs=("admin", "atomic_results", "cancel", "delay"))
    async def test_a_purge_cancels_what_waits_and_nothing_else(self, stage: Stage) -> None:
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
        purge = stage.admin.purge
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

    @promise("ADMIN-7", needs=("pause",))
    async def test_a_pause_holds_the_queue_and_lets_leases_go_on(self, stage: Stage) -> None:
        await stage.publish(message("a"), message("b"))
        delivery = (await stage.fetch(limit=1))[0]
        await stage.admin.pause("q")
        assert await stage.fetch() == []
        (reply,) = await stage.broker.extend([Extension(delivery.receipt, 30_000)])
        assert reply.status is ExtendStatus.HELD
        assert await stage.settle(end(delivery)) is SettleStatus.DONE
        await stage.publish(message("c"))
        (stats,) = await stage.admin.stats(["q"])
        assert (stats.paused, stats.ready) == (True, 2)

    @promise("ADMIN-8", needs=("pause",))
    async def test_a_resume_wakes_whoever_waits(self, stage: Stage) -> None:
        await stage.admin.pause("q")
        await stage.publish(message())
        waiting = await stage.start(stage.broker.fetch(["q"], limit=1, wait_ms=10**8, worker="w"))
        assert not waiting.done()
        await stage.admin.resume("q")
        assert [d.message.id for d in await waiting] == ["m"]

    @promise("ADMIN-9", needs=("admin",))
    async def test_a_store_that_works_is_healthy(self, stage: Stage) -> None:
        health = await stage.admin.health()
        assert health.ok
        assert health.round_trip_ms >= 0

    @promise("ADMIN-9", needs=("admin", "read_only"))
    async def test_a_store_that_takes_no_writes_is_not_healthy(self, stage: Stage) -> None:
        assert stage.read_only is not None
        async with stage.read_only():
            health = await stage.admin.health()
            assert not health.ok
            assert health.detail, "it says why"
        assert (await stage.admin.health()).ok
