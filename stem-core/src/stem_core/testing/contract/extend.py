"""What `extend` promises."""

from __future__ import annotations

from stem_core.contracts.messages import (
    Cancellation,
    ExtendStatus,
    Extension,
    Receipt,
    SettleStatus,
)
from stem_core.model.value import replace
from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBroker
from stem_core.testing.contract.values import (
    end,
    message,
)

__all__ = ["ExtendContract"]


class ExtendContract(OnBroker):
    """Leases that run anew, and those that are lost."""

    @promise("EXTEND-1", level="lease")
    async def test_an_extension_counts_from_now_longer_or_shorter(self, stage: Stage) -> None:
        await stage.publish(message(lease_ms=2 * stage.unit_ms))
        delivery = await stage.take()
        for lease_ms in (5 * stage.unit_ms, stage.unit_ms):
            (reply,) = await stage.broker.extend([Extension(delivery.receipt, lease_ms)])
            assert reply.status is ExtendStatus.HELD
            assert 0 < reply.remaining_ms <= lease_ms
        await stage.let_pass(stage.unit_ms + 1)
        assert (await stage.take()).lapses == 1

    @promise("EXTEND-2", level="lease")
    async def test_an_extension_changes_no_counter(self, stage: Stage) -> None:
        await stage.publish(message())
        delivery = await stage.take()
        before = await stage.found("m")
        await stage.broker.extend([Extension(delivery.receipt, 30_000)])
        after = await stage.found("m")
        assert replace(before, lease_ms=0) == replace(after, lease_ms=0)

    @promise("EXTEND-3", level="lease")
    async def test_a_lease_that_is_not_mine_any_more_is_lost(self, stage: Stage) -> None:
        await stage.publish(message(lease_ms=stage.unit_ms), message("ended"))
        mine, done = await stage.fetch()
        await stage.settle(end(done))
        await stage.let_pass(stage.unit_ms + 1)
        other = await stage.take(worker="w2")
        before = await stage.found("m")
        stale = [mine.receipt, done.receipt, Receipt("unknown", "q", 1)]
        replies = await stage.broker.extend([Extension(r, 10**6) for r in stale])
        assert [(r.status.value, r.remaining_ms) for r in replies] == [("lost", 0)] * 3
        await stage.assert_same("m", before)
        assert await stage.settle(end(other)) is SettleStatus.DONE

    @promise("EXTEND-4", level="lease")
    async def test_a_lapsed_lease_that_nobody_took_is_held_again(self, stage: Stage) -> None:
        await stage.publish(message(lease_ms=stage.unit_ms))
        delivery = await stage.take()
        await stage.let_pass(stage.unit_ms + 1)
        await stage.fetch("some-other-queue")  # whatever this sweeps, it gives "m" to nobody
        (reply,) = await stage.broker.extend([Extension(delivery.receipt, stage.unit_ms)])
        assert reply.status is ExtendStatus.HELD
        assert await stage.fetch() == []
        assert await stage.settle(end(delivery)) is SettleStatus.DONE

    @promise("EXTEND-5", level="lease", needs=("cancel",))
    async def test_the_holder_learns_of_a_cancel(self, stage: Stage) -> None:
        await stage.publish(message())
        delivery = await stage.take()
        await stage.broker.cancel([Cancellation(id="m")])
        (reply,) = await stage.broker.extend([Extension(delivery.receipt, 30_000)])
        assert reply.status is ExtendStatus.CANCEL_REQUESTED
        assert reply.remaining_ms > 0
