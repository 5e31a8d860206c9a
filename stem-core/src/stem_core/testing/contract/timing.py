"""What a broker promises of time: nothing early, nothing late by much, nothing kept for ever."""

from __future__ import annotations

import time

from stem_core.contracts.messages import (
    ACK,
    DeadLetter,
    Receipt,
    Release,
    ReleaseWhy,
    RetryLater,
    Settlement,
    SettleOutcome,
    UniqueKey,
)
from stem_core.model.outcome import Reason
from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage, elapsed_ms
from stem_core.testing.contract.staging import OnBroker
from stem_core.testing.contract.values import end, ended, message

__all__ = ["TimingContract"]

_ROUNDED_MS = 2
"""A store that counts in milliseconds may lose one at each end."""


class TimingContract(OnBroker):
    """When delayed work comes, and when what is over goes."""

    @promise("PUBLISH-6", "FETCH-7", level="delay")
    async def test_delayed_work_is_never_early_and_late_by_little(self, stage: Stage) -> None:
        began = time.monotonic()
        await stage.publish(message(delay_ms=2 * stage.unit_ms))
        accepted = time.monotonic()
        waiting = await stage.start(stage.broker.fetch(["q"], limit=1, wait_ms=10**8, worker="w"))
        if not stage.is_real:
            await stage.let_pass(2 * stage.unit_ms - 1)
            assert not waiting.done()
            await stage.let_pass(1 + _ROUNDED_MS)
        assert [d.message.id for d in await waiting] == ["m"]
        if stage.is_real:
            assert elapsed_ms(began) >= 2 * stage.unit_ms - _ROUNDED_MS
            assert elapsed_ms(accepted) <= 2 * stage.unit_ms + stage.late_ms

    @promise("SETTLE-5", "SETTLE-7")
    async def test_what_waits_after_a_settlement_is_never_early(self, stage: Stage) -> None:
        outcomes: list[SettleOutcome] = [
            RetryLater(2 * stage.unit_ms),
            Release(2 * stage.unit_ms, ReleaseWhy.PARKED),
            Release(2 * stage.unit_ms, ReleaseWhy.SNOOZE),
        ]
        queues = [f"q{n}" for n in range(len(outcomes))]
        for queue, outcome in zip(queues, outcomes, strict=True):
            await stage.publish(message(queue, queue))
            await stage.settle(end(await stage.take(queue), outcome))
        await stage.let_pass(stage.unit_ms)
        assert await stage.fetch(*queues) == []
        await stage.let_pass(stage.unit_ms + _ROUNDED_MS)
        assert await stage.drain(*queues) == queues

    @promise("SETTLE-4", "SETTLE-6", needs=("leftovers",))
    async def test_when_every_retention_is_over_nothing_is_left_at_the_store(
        self, stage: Stage
    ) -> None:
        assert stage.leftovers is not None
        unit_ms, key = stage.unit_ms, stage.key()
        outcomes: dict[str, SettleOutcome] = {
            "acked": ACK,
            "dead": DeadLetter(Reason.REJECTED, keep_ms=unit_ms),
            "retried": RetryLater(0),
        }
        for id, outcome in outcomes.items():
            await stage.publish(message(id, id, dedupe_for_ms=unit_ms, unique=key))
            delivery = await stage.take(id)
            gone = ended(delivery, ttl_ms=unit_ms)
            await stage.settle(end(delivery, outcome, record=gone))
            if outcome == RetryLater(0):
                await stage.drain(id)
        if key is not None:
            window = UniqueKey(key="w", until="window", window_ms=unit_ms)
            await stage.publish(message("window", dedupe_for_ms=unit_ms, unique=window))
            await stage.drain()
        assert await stage.leftovers() != []
        for _ in range(4):  # retention times follow each other, and each sweep may take its turn
            await stage.let_pass(2 * unit_ms)
            # A store may sweep when it writes, or when somebody takes: it gets a chance at both.
            await stage.broker.settle([Settlement(receipt=Receipt("never", "q", 1))])
            await stage.fetch("q", *outcomes)
        assert list(await stage.leftovers()) == []
