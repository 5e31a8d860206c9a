"""What `publish` promises."""

from __future__ import annotations

import pytest

from stem_core.contracts.messages import (
    ACK,
    Place,
    PublishStatus,
    Release,
    ReleaseWhy,
    RetryLater,
    SettleOutcome,
    UniqueKey,
)
from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBroker
from stem_core.testing.contract.values import (
    DEAD,
    end,
    message,
)

__all__ = ["PublishContract"]


class PublishContract(OnBroker):
    """Each message whole or not at all, and once."""

    @promise("PUBLISH-1")
    async def test_a_created_message_is_there(self, stage: Stage) -> None:
        await stage.publish(message())
        found = await stage.found("m")
        assert (found.place, found.fence, found.attempt) == (Place.READY, 0, 0)

    @promise("PUBLISH-2")
    async def test_a_refused_message_does_no_harm_to_its_neighbours(self, stage: Stage) -> None:
        too_large = b"x" * (stage.broker.capabilities.max_payload + 1)
        replies = await stage.broker.publish(
            [message("a"), message("fat", body=too_large), message("b")]
        )
        assert [r.status.value for r in replies] == ["created", "refused", "created"]
        assert replies[1].reason
        assert [d.message.id for d in await stage.fetch()] == ["a", "b"]

    @promise("PUBLISH-3", level="dedupe")
    async def test_the_same_message_again_makes_nothing_while_its_id_is_known(
        self, stage: Stage
    ) -> None:
        sent = message(dedupe_for_ms=stage.unit_ms)
        await stage.publish(sent)
        assert await stage.again(sent) is PublishStatus.DUPLICATE
        delivery = await stage.take()
        assert await stage.again(sent) is PublishStatus.DUPLICATE
        await stage.settle(end(delivery))
        assert await stage.again(sent) is PublishStatus.DUPLICATE
        assert await stage.fetch() == []
        await stage.let_pass(stage.unit_ms + 1)
        assert await stage.again(sent) is PublishStatus.CREATED
        assert (await stage.take()).receipt.fence > delivery.receipt.fence

    @promise("PUBLISH-3", level="dedupe")
    async def test_the_id_of_a_dead_letter_is_known(self, stage: Stage) -> None:
        await stage.publish(message(dedupe_for_ms=1))
        await stage.settle(end(await stage.take(), DEAD))
        await stage.let_pass(stage.unit_ms)
        assert await stage.again(message()) is PublishStatus.DUPLICATE

    @promise("PUBLISH-4", level="dedupe")
    async def test_the_same_id_with_another_body_is_a_conflict(self, stage: Stage) -> None:
        await stage.publish(message(body=b"1"))
        other = message(body=b"2")
        assert await stage.again(other) is PublishStatus.CONFLICT
        delivery = await stage.take()
        assert delivery.message.body == b"1"
        await stage.settle(end(delivery))
        assert await stage.again(other) is PublishStatus.CONFLICT

    @promise("PUBLISH-5", level="dedupe", needs=("uniqueness",))
    async def test_a_held_unique_key_names_its_holder(self, stage: Stage) -> None:
        key = UniqueKey(key="k")
        await stage.publish(message("first", unique=key))
        (reply,) = await stage.broker.publish([message("second", unique=key)])
        assert (reply.status, reply.id) == (PublishStatus.UNIQUE, "first")
        assert await stage.where("second") is None

    @promise("PUBLISH-5", level="dedupe", needs=("uniqueness",))
    async def test_a_finished_key_is_free_at_the_end_and_not_before(self, stage: Stage) -> None:
        key = UniqueKey(key="k", until="finished")
        outcomes: list[SettleOutcome] = [ACK, DEAD]
        for n, outcome in enumerate(outcomes):
            await stage.publish(message(f"m{n}", unique=key))
            delivery = await stage.take()
            assert await stage.again(message(f"n{n}", unique=key)) is PublishStatus.UNIQUE
            await stage.settle(end(delivery, RetryLater(0)))
            assert await stage.again(message(f"n{n}", unique=key)) is PublishStatus.UNIQUE
            await stage.settle(end(await stage.take(), outcome))
        await stage.publish(message("last", unique=key))

    @promise("PUBLISH-5", level="dedupe", needs=("uniqueness",))
    async def test_a_started_key_is_free_with_the_first_lease(self, stage: Stage) -> None:
        key = UniqueKey(key="k", until="started")
        await stage.publish(message("a", unique=key))
        assert await stage.again(message("b", unique=key)) is PublishStatus.UNIQUE
        a = await stage.take()
        await stage.publish(message("b", unique=key))
        await stage.settle(end(a))
        assert await stage.again(message("c", unique=key)) is PublishStatus.UNIQUE

    @promise("PUBLISH-5", level="dedupe", needs=("uniqueness", "delay"))
    async def test_a_started_key_stays_free_while_its_task_waits_again(self, stage: Stage) -> None:
        waits_ms = 100 * stage.unit_ms
        outcomes: list[SettleOutcome] = [
            RetryLater(waits_ms),
            Release(waits_ms, ReleaseWhy.PARKED),
            Release(waits_ms, ReleaseWhy.SNOOZE),
        ]
        for n, outcome in enumerate(outcomes):
            key = UniqueKey(key=f"k{n}", until="started")
            await stage.publish(message(f"a{n}", unique=key))
            await stage.settle(end(await stage.take(), outcome))
        for _ in range(3):  # the store tidies up meanwhile
            await stage.let_pass(stage.unit_ms)
            assert await stage.fetch() == []
        for n in range(len(outcomes)):
            await stage.publish(message(f"b{n}", unique=UniqueKey(key=f"k{n}", until="started")))

    @promise("PUBLISH-5", level="dedupe", needs=("uniqueness",))
    async def test_a_window_key_is_freed_by_time_alone(self, stage: Stage) -> None:
        key = UniqueKey(key="k", until="window", window_ms=2 * stage.unit_ms)
        await stage.publish(message("a", unique=key))
        await stage.settle(end(await stage.take()))
        assert await stage.again(message("b", unique=key)) is PublishStatus.UNIQUE
        await stage.let_pass(2 * stage.unit_ms + 1)
        await stage.publish(message("b", unique=key))

    @promise("PUBLISH-6", level="delay")
    async def test_a_message_is_not_delivered_before_its_time(self, stage: Stage) -> None:
        await stage.publish(
            message("delay", delay_ms=2 * stage.unit_ms),
            message("instant", not_before_ms=stage.wall_ms() + 2 * stage.unit_ms),
            message("past", not_before_ms=1),
        )
        assert [d.message.id for d in await stage.fetch()] == ["past"]
        for id in ("delay", "instant"):
            found = await stage.found(id)
            assert found.place is Place.DELAYED
            assert abs(found.run_at_ms - stage.wall_ms() - 2 * stage.unit_ms) < stage.unit_ms
        await stage.let_pass(stage.unit_ms)
        assert await stage.fetch() == []
        await stage.let_pass(stage.unit_ms + 1)
        assert {d.message.id for d in await stage.fetch()} == {"delay", "instant"}

    @promise("PUBLISH-7")
    async def test_one_call_keeps_its_order(self, stage: Stage) -> None:
        ids = [f"m{n}" for n in (5, 3, 9, 1, 7)]
        await stage.publish(*map(message, ids))
        assert [d.message.id for d in await stage.fetch()] == ids

    @promise("PUBLISH-8", level="dedupe")
    async def test_a_call_sent_again_after_an_error_makes_no_second_message(
        self, stage: Stage
    ) -> None:
        batch = [message(f"m{n}") for n in range(stage.broker.capabilities.max_batch)]
        with pytest.raises(ValueError, match=r"\d+"):
            await stage.broker.publish([*batch, message("one-more")])
        assert set(await stage.broker.lookup([m.id for m in batch])) == {None}
        await stage.publish(*batch)
        assert {r.status for r in await stage.broker.publish(batch)} == {PublishStatus.DUPLICATE}
        assert len(await stage.fetch(limit=len(batch) + 1)) == len(batch)

    @promise("PUBLISH-9")
    async def test_a_call_beyond_the_limits_sends_nothing(self, stage: Stage) -> None:
        can = stage.broker.capabilities
        assert can.max_payload <= can.max_batch_bytes
        parts = can.max_batch_bytes // can.max_payload + 1
        body = b"x" * can.max_payload
        with pytest.raises(ValueError, match=str(can.max_batch_bytes)):
            await stage.broker.publish([message(f"m{n}", body=body) for n in range(parts)])
        assert await stage.fetch() == []
        (reply,) = await stage.broker.publish([message("fat", body=body + b"x")])
        assert reply.status is PublishStatus.REFUSED
