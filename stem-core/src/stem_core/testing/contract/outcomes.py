"""What `settle` promises of the ways in which a delivery can end."""

from __future__ import annotations

from stem_core.contracts.messages import (
    DeadLetter,
    Place,
    PublishStatus,
    Release,
    ReleaseWhy,
    RetryLater,
    UniqueKey,
)
from stem_core.model.outcome import Reason
from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBroker
from stem_core.testing.contract.values import (
    end,
    failure,
    message,
)

__all__ = ["OutcomeContract"]


class OutcomeContract(OnBroker):
    """Ack, retry, dead letter and release."""

    @promise("SETTLE-4")
    async def test_an_ack_ends_the_message_and_leaves_its_id(self, stage: Stage) -> None:
        await stage.publish(message())
        await stage.settle(end(await stage.take()))
        assert await stage.where("m") is None
        assert await stage.again(message()) is PublishStatus.DUPLICATE
        assert await stage.fetch() == []

    @promise("SETTLE-5")
    async def test_a_retry_keeps_the_bytes_and_counts_the_attempt(self, stage: Stage) -> None:
        sent = message(body=b"\x00!", signature=b"sig", key_id="k", algorithm="a")
        await stage.publish(sent)
        for n in range(1, 25):
            delivery = await stage.take()
            assert delivery.message == sent
            assert (delivery.attempt, delivery.lapses) == (n, 0)
            assert [e.attempt for e in delivery.errors] == list(range(1, n))[-20:]
            await stage.settle(end(delivery, RetryLater(0, failure(n))))
        await stage.settle(end(await stage.take(), RetryLater(stage.unit_ms)))
        found = await stage.found("m")
        assert (found.place, found.attempt) == (Place.DELAYED, 25)
        assert await stage.fetch() == []
        await stage.let_pass(stage.unit_ms + 1)
        assert (await stage.take()).attempt == 26

    @promise("SETTLE-5", "FETCH-2")
    async def test_a_retry_at_once_stands_behind_what_is_ready(self, stage: Stage) -> None:
        await stage.publish(message("fails"), message("waits"))
        (delivery,) = await stage.fetch(limit=1)
        await stage.settle(end(delivery, RetryLater(0)))
        assert [d.message.id for d in await stage.fetch()] == ["waits", "fails"]

    @promise("SETTLE-5", level="lease")
    async def test_a_retry_wipes_the_lapses(self, stage: Stage) -> None:
        await stage.publish(message(lease_ms=stage.unit_ms))
        await stage.take()
        await stage.let_pass(stage.unit_ms + 1)
        await stage.settle(end(await stage.take(), RetryLater(0)))
        assert (await stage.take()).lapses == 0

    @promise("SETTLE-6")
    async def test_a_dead_letter_is_kept_whole(self, stage: Stage) -> None:
        sent = message(body=b"\x00!", signature=b"sig", unique=UniqueKey(key="k"))
        await stage.publish(sent)
        await stage.settle(end(await stage.take(), RetryLater(0, failure(1))))
        last = await stage.take()
        await stage.settle(
            end(last, DeadLetter(Reason.MAX_RETRIES_EXHAUSTED, failure(2), keep_ms=stage.unit_ms))
        )
        found = await stage.found("m")
        assert (found.place, found.message, found.reason) == (
            Place.DEAD, sent, "max-retries-exhausted",
        )  # fmt: skip
        assert (found.fence, found.attempt) == (last.receipt.fence, 2)
        assert [e.message for e in found.errors] == ["no. 1", "no. 2"]
        assert abs(found.died_at_ms - stage.wall_ms()) < stage.unit_ms
        assert await stage.fetch() == []
        await stage.publish(message("next", unique=UniqueKey(key="k")))
        await stage.let_pass(2 * stage.unit_ms)
        assert await stage.where("m") is None

    @promise("SETTLE-7")
    async def test_a_release_at_once_goes_before_younger_messages(self, stage: Stage) -> None:
        await stage.publish(*(message(f"m{n}") for n in range(5)))
        first, second, third = await stage.fetch(limit=3)
        back = Release(0, ReleaseWhy.SHUTDOWN)
        await stage.broker.settle([end(third, back), end(first, back), end(second, back)])
        taken = await stage.fetch()
        assert [d.message.id for d in taken] == ["m0", "m1", "m2", "m3", "m4"]
        assert [d.releases for d in taken] == [1, 1, 1, 0, 0]
        assert {(d.attempt, d.lapses) for d in taken} == {(1, 0)}

    @promise("SETTLE-7")
    async def test_a_release_with_a_wait_is_late_by_it(self, stage: Stage) -> None:
        await stage.publish(message())
        await stage.settle(end(await stage.take(), Release(stage.unit_ms, ReleaseWhy.SNOOZE)))
        found = await stage.found("m")
        assert found.place is Place.DELAYED
        assert await stage.fetch() == []
        await stage.let_pass(stage.unit_ms + 1)
        assert (await stage.take()).releases == 1

    @promise("SETTLE-7")
    async def test_a_parked_message_shows_it_until_it_is_leased(self, stage: Stage) -> None:
        await stage.publish(message())
        delivery = await stage.take()
        assert delivery.parked_ms == 0
        for _ in range(2):
            await stage.settle(end(delivery, Release(stage.unit_ms, ReleaseWhy.PARKED)))
            found = await stage.found("m")
            assert found.place is Place.PARKED
            assert found.run_at_ms > 0
            await stage.let_pass(stage.unit_ms + 1)
            await stage.fetch("some-other-queue")
            found = await stage.found("m")
            assert found.place is Place.PARKED
            delivery = await stage.take()
        assert delivery.parked_ms >= 2 * stage.unit_ms
        assert delivery.releases == 2
