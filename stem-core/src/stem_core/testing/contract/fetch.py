"""What `fetch` promises."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from stem_core.contracts.messages import (
    Delivery,
    Place,
    Release,
    ReleaseWhy,
    RetryLater,
    SettleOutcome,
    SettleStatus,
)
from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBroker
from stem_core.testing.contract.values import (
    DEAD,
    end,
    message,
)

__all__ = ["FetchContract"]


class FetchContract(OnBroker):
    """Who gets what, when, in which order, and for how long."""

    @promise("FETCH-1")
    async def test_a_leased_message_is_not_leased_twice(self, stage: Stage) -> None:
        await stage.publish(*(message(f"m{n}") for n in range(50)))
        handles = [stage.broker, stage.sibling(), stage.sibling()]
        taken = await asyncio.gather(
            *(
                handle.fetch(["q"], limit=10, wait_ms=0, worker=f"w{n}")
                for n, handle in enumerate(handles * 3)
            )
        )
        ids = [d.message.id for batch in taken for d in batch]
        assert len(ids) == len(set(ids)) == 50

    @promise("FETCH-2", level="priority", needs=("delay",))
    async def test_queues_go_first_then_priority_then_ready_time(self, stage: Stage) -> None:
        await stage.publish(
            message("b5", "b", priority=5),
            message("a0", "a", priority=0),
            message("a9", "a", priority=9),
            message("a9-late", "a", priority=9, delay_ms=stage.unit_ms),
            message("b9", "b", priority=9),
        )
        await stage.let_pass(stage.unit_ms + 1)
        await stage.publish(message("a9-last", "a", priority=9))
        taken = await stage.fetch("a", "b")
        assert [d.message.id for d in taken] == ["a9", "a9-late", "a9-last", "a0", "b9", "b5"]

    @promise("FETCH-2")
    async def test_a_fetch_gives_nothing_of_queues_that_it_does_not_name(
        self, stage: Stage
    ) -> None:
        await stage.publish(message("a", "a"), message("b", "b"), message("a-b", "a.b"))
        assert [d.message.id for d in await stage.fetch("b")] == ["b"]
        assert [d.message.id for d in await stage.fetch("a")] == ["a"]
        assert await stage.fetch("a", "b") == []

    @promise("FETCH-2", needs=("delay",))
    async def test_what_is_due_goes_before_what_a_settlement_makes_ready_later(
        self, stage: Stage
    ) -> None:
        await stage.publish(message("due", delay_ms=stage.unit_ms), message("tried"))
        delivery = await stage.take()
        await stage.let_pass(2 * stage.unit_ms)
        retry = end(delivery, RetryLater(0), follow_ups=(message("after"),))
        assert await stage.settle(retry) is SettleStatus.DONE
        first, *_ = await stage.fetch()
        assert first.message.id == "due"

    @promise("FETCH-3")
    async def test_the_limit_counts_over_all_queues(self, stage: Stage) -> None:
        await stage.publish(*(message(f"a{n}", "a") for n in range(3)))
        await stage.publish(*(message(f"b{n}", "b") for n in range(3)))
        assert [d.message.id for d in await stage.fetch("a", "b", limit=4)] == [
            "a0", "a1", "a2", "b0",
        ]  # fmt: skip
        # Fewer than the limit are ready: no waiting for more.
        rest = await stage.broker.fetch(["a", "b"], limit=9, wait_ms=10**9, worker="w")
        assert [d.message.id for d in rest] == ["b1", "b2"]

    @promise("FETCH-3")
    async def test_an_empty_fetch_ends_with_its_wait(self, stage: Stage) -> None:
        waiting = await stage.start(
            stage.broker.fetch(["q"], limit=1, wait_ms=stage.unit_ms, worker="w")
        )
        assert not waiting.done()
        await stage.let_pass(stage.unit_ms + 1)
        assert list(await waiting) == []

    @promise("FETCH-4", level="lease")
    async def test_a_lapsed_lease_is_offered_again_with_one_lapse_more(self, stage: Stage) -> None:
        await stage.publish(message(lease_ms=stage.unit_ms))
        for lapses in range(3):
            delivery = await stage.take()
            assert (delivery.lapses, delivery.attempt) == (lapses, 1)
            assert await stage.fetch() == []
            await stage.let_pass(stage.unit_ms + 1)

    @promise("FETCH-5", level="lease")
    async def test_the_fence_grows_through_everything(self, stage: Stage) -> None:
        await stage.publish(message(lease_ms=stage.unit_ms))
        first = await stage.take()
        fences = [first.receipt.fence]
        outcomes: list[SettleOutcome | None] = [
            RetryLater(0),
            Release(0, ReleaseWhy.SHUTDOWN),
            Release(0, ReleaseWhy.PARKED),
            None,
            DEAD,
        ]
        delivery = first
        for outcome in outcomes:
            if outcome is None:
                await stage.let_pass(stage.unit_ms + 1)
            else:
                assert await stage.settle(end(delivery, outcome)) is SettleStatus.DONE
            if outcome is DEAD:
                if not stage.broker.capabilities.dead_letters:
                    break
                await stage.admin.replay(["m"])
            delivery = await stage.take()
            fences.append(delivery.receipt.fence)
        assert fences == list(range(fences[0], fences[0] + len(fences)))

    @promise("FETCH-6", level="lease")
    async def test_a_lease_lasts_as_long_as_the_message_says(self, stage: Stage) -> None:
        await stage.publish(
            message("short", lease_ms=stage.unit_ms), message("long", lease_ms=3 * stage.unit_ms)
        )
        leases = {d.message.id: d.lease_ms for d in await stage.fetch()}
        assert 0 < leases["short"] <= stage.unit_ms < leases["long"] <= 3 * stage.unit_ms
        await stage.let_pass(stage.unit_ms + 1)
        assert [d.message.id for d in await stage.fetch()] == ["short"]
        found = await stage.found("long")
        assert (found.place, found.worker) == (Place.LEASED, "w1")
        assert 0 < found.lease_ms < 2 * stage.unit_ms

    @promise("FETCH-7")
    async def test_a_message_that_is_published_ends_the_wait(self, stage: Stage) -> None:
        other = stage.sibling()
        waiting = await waiter(stage, "q", "elsewhere")
        await other.publish([message()])
        assert [d.message.id for d in await waiting] == ["m"]

    @promise("FETCH-7", level="delay")
    async def test_a_message_that_becomes_due_ends_the_wait(self, stage: Stage) -> None:
        other = stage.sibling()
        waiting = await waiter(stage, "q", "elsewhere")
        await other.publish([message(delay_ms=stage.unit_ms)])
        await stage.breathe()
        await stage.let_pass(stage.unit_ms + 1)
        assert [d.message.id for d in await waiting] == ["m"]

    @promise("FETCH-7", level="lease")
    async def test_a_lease_that_lapses_ends_the_wait(self, stage: Stage) -> None:
        other = stage.sibling()
        await other.publish([message(lease_ms=2 * stage.unit_ms)])
        await other.fetch(["q"], limit=1, wait_ms=0, worker="dies")
        waiting = await waiter(stage, "q", "elsewhere")
        await stage.let_pass(2 * stage.unit_ms + 1)
        assert [(d.message.id, d.lapses) for d in await waiting] == [("m", 1)]

    @promise("FETCH-7")
    async def test_no_wake_up_is_missed_between_many_waiters(self, stage: Stage) -> None:
        waiting = [
            await stage.start(handle.fetch(["q"], limit=1, wait_ms=10**8, worker="w"))
            for handle in [stage.broker, stage.sibling(), stage.sibling()]
        ]
        for n in range(3):
            await stage.publish(message(f"m{n}"))
        taken = await asyncio.gather(*waiting)
        assert sorted(d.message.id for batch in taken for d in batch) == ["m0", "m1", "m2"]

    @promise("FETCH-8")
    async def test_a_cancelled_fetch_leaves_no_trace_but_the_fence(self, stage: Stage) -> None:
        for n in range(5):
            waiting = await stage.start(
                stage.broker.fetch(["q"], limit=1, wait_ms=10**8, worker="w")
            )
            publishing = asyncio.ensure_future(stage.publish(message(f"m{n}")))
            for _ in range(n):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting, publishing])
            await stage.breathe()
            if waiting.cancelled():
                (delivery,) = await stage.fetch()
            else:
                (delivery,) = waiting.result()
            assert (delivery.lapses, delivery.attempt, delivery.releases) == (0, 1, 0)
            await stage.settle(end(delivery))

    @promise("FETCH-9", needs=("pause",))
    async def test_a_paused_queue_gives_nothing_and_the_others_go_on(self, stage: Stage) -> None:
        await stage.admin.pause("a")
        await stage.publish(message("a", "a"), message("b", "b"))
        assert [d.message.id for d in await stage.fetch("a", "b")] == ["b"]
        await stage.admin.resume("a")
        assert [d.message.id for d in await stage.fetch("a", "b")] == ["a"]

    @promise("FETCH-10")
    async def test_expired_and_poisoned_messages_are_delivered(self, stage: Stage) -> None:
        await stage.publish(message("expired", expires_at_ms=1), message("poisoned", max_lapses=0))
        assert [d.message.id for d in await stage.fetch()] == ["expired", "poisoned"]


async def waiter(stage: Stage, *queues: str) -> asyncio.Task[Sequence[Delivery]]:
    """Start to wait for the first message of *queues*, and insist that there is none yet."""
    waiting = await stage.start(stage.broker.fetch(queues, limit=1, wait_ms=10**8, worker="w"))
    assert not waiting.done()
    return waiting
