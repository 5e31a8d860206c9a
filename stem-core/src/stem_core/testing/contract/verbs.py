"""What a broker promises of all its verbs."""

from __future__ import annotations

import asyncio

import pytest

from stem_core.contracts.messages import (
    Place,
    Release,
    ReleaseWhy,
    RetryLater,
    SettleStatus,
)
from stem_core.model.errors import WrongLoop
from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBroker
from stem_core.testing.contract.values import (
    DEAD,
    NASTY,
    end,
    ended,
    message,
)

__all__ = ["VerbContract"]


class VerbContract(OnBroker):
    """Clocks, positions, cancellation, loops and bytes."""

    @promise("BROKER-1", level="lease")
    async def test_the_brokers_own_clock_decides_what_has_lapsed(self, stage: Stage) -> None:
        await stage.publish(message(lease_ms=2 * stage.unit_ms))
        await stage.take()
        await stage.let_pass(stage.unit_ms)
        assert await stage.fetch() == []
        await stage.let_pass(stage.unit_ms + 1)
        assert (await stage.take()).lapses == 1

    @promise("BROKER-1", level="delay")
    async def test_the_brokers_own_clock_decides_what_is_due_and_what_lapsed(
        self, stage: Stage
    ) -> None:
        await stage.publish(
            message("later", delay_ms=stage.unit_ms), message("now", lease_ms=2 * stage.unit_ms)
        )
        assert [d.message.id for d in await stage.fetch()] == ["now"]
        await stage.let_pass(stage.unit_ms + 1)
        assert [d.message.id for d in await stage.fetch()] == ["later"]
        await stage.let_pass(stage.unit_ms + 1)
        assert [d.message.id for d in await stage.fetch()] == ["now"]

    @promise("BROKER-2", needs=("dedupe",))
    async def test_replies_come_by_position_and_an_empty_batch_gets_an_empty_reply(
        self, stage: Stage
    ) -> None:
        await stage.publish(message("a"), message("b"))
        replies = await stage.broker.publish([message("b"), message("c"), message("a")])
        assert [(r.status.value, r.id) for r in replies] == [
            ("duplicate", "b"),
            ("created", "c"),
            ("duplicate", "a"),
        ]
        found = await stage.broker.lookup(["c", "?", "a"])
        assert [f.message.id if f else None for f in found] == ["c", None, "a"]
        broker = stage.broker
        replies_to_nothing = [
            await broker.publish([]),
            await broker.extend([]),
            await broker.settle([]),
            await broker.cancel([]),
            await broker.lookup([]),
        ]
        assert list(map(list, replies_to_nothing)) == [[]] * 5

    @promise("BROKER-3")
    async def test_a_cancelled_call_was_made_or_was_not_made(self, stage: Stage) -> None:
        batch = [message(f"m{n}") for n in range(20)]
        call = asyncio.ensure_future(stage.broker.publish(batch))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        found = await stage.broker.lookup([m.id for m in batch])
        assert {f is None for f in found} in ({True}, {False})

    @promise("BROKER-4")
    async def test_a_handle_awaited_in_a_second_loop_raises(self, stage: Stage) -> None:
        await stage.publish(message())

        def elsewhere() -> None:
            asyncio.run(stage.broker.lookup(["m"]))

        with pytest.raises(WrongLoop, match="sibling"):
            await asyncio.to_thread(elsewhere)

    @promise("BROKER-5")
    async def test_bytes_come_back_as_they_went_in(self, stage: Stage) -> None:
        sent = [
            message(f"m{n}", body=body, signature=body[:64], algorithm="hmac-sha256", key_id="k")
            for n, body in enumerate(NASTY)
        ]
        await stage.publish(*sent)
        assert [d.message for d in await stage.fetch()] == sent
        for each in sent:
            assert (await stage.found(each.id)).message == each

    @promise("BROKER-5")
    async def test_what_waits_is_byte_exact_however_it_came_to_wait(self, stage: Stage) -> None:
        sent = [message(f"m{n}", body=body, signature=body[-64:]) for n, body in enumerate(NASTY)]
        await stage.publish(*sent)
        for outcome in (RetryLater(0), Release(0, ReleaseWhy.PARKED), Release(0, ReleaseWhy.EARLY)):
            taken = await stage.fetch()
            assert [d.message for d in taken] == sent
            await stage.broker.settle([end(delivery, outcome) for delivery in taken])
            assert [(await stage.found(each.id)).message for each in sent] == sent
        follow_ups = [message(f"f{n}", "f", body=body) for n, body in enumerate(NASTY)]
        await stage.settle(end((await stage.fetch())[0], follow_ups=tuple(follow_ups)))
        assert [d.message for d in await stage.fetch("f")] == follow_ups

    @promise("BROKER-6", level="lease")
    async def test_nothing_vanishes_without_an_outcome(self, stage: Stage) -> None:
        await stage.publish(
            message("expired", expires_at_ms=1, lease_ms=stage.unit_ms),
            message("poisoned", max_lapses=1, lease_ms=stage.unit_ms),
        )
        for lapses in range(7):
            taken = await stage.fetch()
            assert sorted((d.message.id, d.lapses) for d in taken) == [
                ("expired", lapses),
                ("poisoned", lapses),
            ]
            await stage.let_pass(stage.unit_ms + 1)

    @promise("BROKER-7", needs=("atomic_results",))
    async def test_a_settlement_larger_than_a_batch_is_invalid_and_changes_nothing(
        self, stage: Stage
    ) -> None:
        await stage.publish(message())
        delivery = await stage.take()
        too_large = b"1" * (stage.broker.capabilities.max_batch_bytes + 1)
        settlement = end(delivery, record=ended(delivery, value=too_large))
        assert await stage.settle(settlement) is SettleStatus.INVALID
        assert await stage.record("m") is None
        assert await stage.settle(end(delivery, record=ended(delivery))) is SettleStatus.DONE

    @promise("BROKER-8")
    async def test_a_retry_waits_and_a_dead_letter_is_kept_whatever_is_declared(
        self, stage: Stage
    ) -> None:
        await stage.publish(message())
        await stage.settle(end(await stage.take(), RetryLater(2 * stage.unit_ms)))
        assert await stage.fetch() == []
        await stage.let_pass(2 * stage.unit_ms)
        await stage.settle(end(await stage.take(), DEAD))
        found = await stage.found("m")
        assert found.place is Place.DEAD
