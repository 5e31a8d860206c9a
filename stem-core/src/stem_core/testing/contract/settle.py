"""What `settle` promises of each settlement: one step, once, by who holds the lease."""

from __future__ import annotations

from typing import Final

from stem_core.contracts.messages import (
    ACK,
    Message,
    Place,
    PublishStatus,
    Receipt,
    Release,
    ReleaseWhy,
    RetryLater,
    Settlement,
    SettleOutcome,
    SettleStatus,
    UniqueKey,
)
from stem_core.model.errors import StoreFull
from stem_core.testing.contract.misuse import Misuse
from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBroker
from stem_core.testing.contract.values import (
    DEAD,
    end,
    ended,
    failure,
    message,
)

__all__ = ["SettleContract"]

_BULKY: Final = 256 * 1024
"""Bytes that fit in no corner which a full store may have left."""


class SettleContract(OnBroker):
    """All or nothing, fenced, and safe to send again."""

    @promise("SETTLE-1")
    async def test_outcome_and_follow_ups_happen_together(self, stage: Stage) -> None:
        await stage.publish(message())
        delivery = await stage.take()
        follow_ups = (message("f1"), message("f2", "other"))
        assert await stage.settle(end(delivery, follow_ups=follow_ups)) is SettleStatus.DONE
        assert await stage.places("m", "f1", "f2") == [None, Place.READY, Place.READY]
        assert await stage.fetch("other") != []

    @promise("SETTLE-1", level="delay", needs=("atomic_results",))
    async def test_outcome_record_and_follow_ups_happen_together(self, stage: Stage) -> None:
        await stage.publish(message())
        delivery = await stage.take()
        follow_ups = (message("f1"), message("f2", delay_ms=stage.unit_ms))
        status = await stage.settle(
            end(delivery, record=ended(delivery, value=b"1"), follow_ups=follow_ups)
        )
        assert status is SettleStatus.DONE
        assert await stage.where("m") is None
        (record,) = await stage.results.load(["m"])
        assert record is not None
        assert record.value == b"1"
        assert await stage.places("f1", "f2") == [Place.READY, Place.DELAYED]

    @promise("SETTLE-1", "SETTLE-9")
    async def test_a_settlement_that_is_refused_changes_nothing(self, stage: Stage) -> None:
        await stage.publish(message(), message("taken", body=b"1"))
        delivery, _ = await stage.fetch()
        before = await stage.found("m")
        (reply,) = await stage.broker.settle(
            [
                end(
                    delivery,
                    record=ended(delivery),
                    follow_ups=(message("f"), message("taken", body=b"2")),
                )
            ]
        )
        assert reply.status is SettleStatus.INVALID
        assert "taken" in reply.detail
        await stage.assert_same("m", before)
        assert await stage.where("f") is None
        assert await stage.record("m") is None
        assert await stage.settle(end(delivery)) is SettleStatus.DONE

    @promise("SETTLE-2", level="lease")
    async def test_a_stale_receipt_can_do_nothing(self, stage: Stage) -> None:
        outcomes: list[SettleOutcome] = [ACK, RetryLater(0), DEAD, Release(0, ReleaseWhy.SHUTDOWN)]
        await stage.publish(message(lease_ms=stage.unit_ms))
        old = await stage.take()
        await stage.let_pass(stage.unit_ms + 1)
        new = await stage.take(worker="w2")
        before = await stage.found("m")
        for outcome in outcomes:
            zombie = end(old, outcome, record=ended(old), follow_ups=(message("f"),))
            assert await stage.settle(zombie) is SettleStatus.STALE
        await stage.assert_same("m", before)
        assert await stage.where("f") is None
        assert await stage.record("m") is None
        forged = Receipt("m", "q", new.receipt.fence + 1)
        assert await stage.settle(Settlement(receipt=forged)) is SettleStatus.STALE
        assert await stage.settle(end(new)) is SettleStatus.DONE
        assert await stage.settle(end(old)) is SettleStatus.STALE

    @promise("SETTLE-3", level="dedupe")
    async def test_a_settlement_sent_again_is_already_done(self, stage: Stage) -> None:
        outcomes: list[SettleOutcome] = [
            RetryLater(0, failure(1)),
            RetryLater(10**6),
            Release(0, ReleaseWhy.LIMITED),
            Release(10**6, ReleaseWhy.PARKED),
            DEAD,
            ACK,
        ]
        for n, outcome in enumerate(outcomes):
            await stage.publish(message(f"m{n}", f"q{n}"))
            delivery = await stage.take(f"q{n}")
            sent = end(
                delivery, outcome, record=ended(delivery), follow_ups=(message(f"f{n}", "f"),)
            )
            assert await stage.settle(sent) is SettleStatus.DONE
            after = await stage.where(f"m{n}")
            assert await stage.settle(sent) is SettleStatus.ALREADY
            await stage.assert_same(f"m{n}", after)
        assert len(await stage.fetch("f")) == len(outcomes)

    @promise("SETTLE-3", level="dedupe")
    async def test_a_batch_of_plain_ends_sent_again_is_already_done(self, stage: Stage) -> None:
        await stage.publish(*(message(f"m{n}") for n in range(4)))
        sent = [
            end(delivery, record=ended(delivery) if n % 2 else None)
            for n, delivery in enumerate(await stage.fetch())
        ]
        for status in (SettleStatus.DONE, SettleStatus.ALREADY, SettleStatus.ALREADY):
            replies = await stage.broker.settle(sent)
            assert [reply.status for reply in replies] == [status] * 4

    @promise("SETTLE-8", needs=("atomic_results",))
    async def test_a_plain_end_whose_record_may_not_be_saved_ends_nothing(
        self, stage: Stage
    ) -> None:
        await stage.publish(message("m0"), message("m1"))
        first, second = await stage.fetch()
        newer = ended(first, fence=first.receipt.fence + 1, value=b'"newer"')
        await stage.results.save([newer])
        before = await stage.found("m0")
        replies = await stage.broker.settle(
            [end(first, record=ended(first)), end(second, record=ended(second))]
        )
        assert [reply.status for reply in replies] == [SettleStatus.STALE, SettleStatus.DONE]
        await stage.assert_same("m0", before)
        assert list(await stage.results.load(["m0", "m1"])) == [newer, ended(second)]

    @promise("SETTLE-8", needs=("atomic_results",))
    async def test_a_record_that_may_not_be_saved_makes_the_settlement_stale(
        self, stage: Stage
    ) -> None:
        await stage.publish(message())
        delivery = await stage.take()
        newer = ended(delivery, fence=delivery.receipt.fence + 1, value=b'"newer"')
        await stage.results.save([newer])
        before = await stage.found("m")
        assert (
            await stage.settle(end(delivery, record=ended(delivery), follow_ups=(message("f"),)))
            is SettleStatus.STALE
        )
        await stage.assert_same("m", before)
        assert await stage.where("f") is None
        assert await stage.results.load(["m"]) == [newer]

    @promise("SETTLE-9", level="dedupe", needs=("uniqueness",))
    async def test_a_follow_up_that_exists_counts_as_published(self, stage: Stage) -> None:
        key = UniqueKey(key="k")
        await stage.publish(message(), message("f"), message("holder", unique=key))
        delivery = (await stage.fetch(limit=1))[0]
        status = await stage.settle(
            end(delivery, follow_ups=(message("f"), message("refused", unique=key)))
        )
        assert status is SettleStatus.DONE
        assert await stage.where("refused") is None
        assert [d.message.id for d in await stage.fetch()] == ["f", "holder"]

    @promise("SETTLE-10")
    async def test_an_unknown_id_is_gone(self, stage: Stage) -> None:
        unknown = Settlement(receipt=Receipt("never", "q", 1), record=None)
        assert await stage.settle(unknown) is SettleStatus.GONE

    @promise("SETTLE-10", needs=("full",))
    async def test_a_settlement_without_room_for_what_it_adds_changes_nothing(
        self, stage: Stage
    ) -> None:
        assert stage.full is not None
        await stage.publish(message())
        delivery = await stage.take()
        bulky = min(_BULKY, stage.broker.capabilities.max_payload)
        follow_up = message("f", "f", body=b"x" * bulky)
        sent = end(delivery, record=ended(delivery), follow_ups=(follow_up,))
        before = await stage.found("m")
        async with stage.full():
            await assert_no_room(stage, message("more", "f", body=b"x" * bulky))
            status = await stage.settle(sent)
            assert status in (SettleStatus.FULL, SettleStatus.DONE)  # some keep room for workers
            if status is SettleStatus.FULL:
                await stage.assert_same("m", before)
                assert await stage.where("f") is None
                assert await stage.record("m") is None
        again = SettleStatus.DONE if status is SettleStatus.FULL else SettleStatus.ALREADY
        assert await stage.settle(sent) is again
        assert await stage.places("m", "f") == [None, Place.READY]

    @promise("SETTLE-11", level="lease")
    async def test_a_lapsed_lease_that_nobody_took_can_be_settled(self, stage: Stage) -> None:
        await stage.publish(message(lease_ms=stage.unit_ms))
        delivery = await stage.take()
        await stage.let_pass(stage.unit_ms + 1)
        await stage.fetch("some-other-queue")
        assert await stage.settle(end(delivery, record=ended(delivery))) is SettleStatus.DONE
        assert await stage.fetch() == []


async def assert_no_room(stage: Stage, more: Message) -> None:
    """Insist that the store does not take *more*."""
    try:
        (reply,) = await stage.broker.publish([more])
    except StoreFull:
        pass
    else:
        if reply.status is not PublishStatus.REFUSED:
            raise Misuse(
                f"`full` on the Stage leaves room: a message of {len(more.body)} bytes was "
                f"{reply.status.value} in it; let the store be full until the context ends"
            )
    assert await stage.where(more.id) is None
