"""What a broker promises under load: many takers, many priorities."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from stem_core.contracts.broker import Broker
from stem_core.contracts.messages import SettleStatus
from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBroker
from stem_core.testing.contract.values import end, message

__all__ = ["LoadContract"]

_MANY = 300
_TAKERS = 6


class LoadContract(OnBroker):
    """Much at once changes nothing of what is promised of one."""

    @promise("FETCH-1")
    async def test_of_many_takers_each_message_reaches_one(self, stage: Stage) -> None:
        await publish_many(stage)
        handles = [stage.broker, *(stage.sibling() for _ in range(_TAKERS - 1))]
        taken = await asyncio.gather(
            *(take_all(handle, f"w{n}") for n, handle in enumerate(handles))
        )
        assert_each_once(taken)

    @promise("FETCH-1", "SIBLING-1")
    async def test_of_many_takers_in_threads_each_message_reaches_one(self, stage: Stage) -> None:
        await publish_many(stage)

        def work(handle: Broker, worker: str) -> list[str]:
            async def all_of_it() -> list[str]:
                try:
                    return await take_all(handle, worker)
                finally:
                    await handle.aclose()

            return asyncio.run(all_of_it())

        handles = [stage.broker.sibling() for _ in range(_TAKERS)]
        taken = await asyncio.gather(
            *(asyncio.to_thread(work, handle, f"w{n}") for n, handle in enumerate(handles))
        )
        assert_each_once(taken)

    @promise("FETCH-2", level="priority")
    async def test_priority_order_holds_under_load(self, stage: Stage) -> None:
        priority_of = {f"m{n}": (n * 7) % 10 for n in range(200)}
        await stage.publish(*(message(id, priority=given) for id, given in priority_of.items()))
        seen: list[str] = []
        while taken := await stage.fetch(limit=7):
            seen += [delivery.message.id for delivery in taken]
            await stage.broker.settle([end(delivery) for delivery in taken])
        assert seen == sorted(priority_of, key=lambda id: -priority_of[id])  # a stable sort


async def publish_many(stage: Stage) -> None:
    """Publish `_MANY` messages."""
    most = min(100, stage.broker.capabilities.max_batch)
    for start in range(0, _MANY, most):
        await stage.publish(*(message(f"m{n}") for n in range(start, min(_MANY, start + most))))


async def take_all(broker: Broker, worker: str) -> list[str]:
    """Take and ack until nothing is ready; return the ids."""
    ids: list[str] = []
    while taken := await broker.fetch(["q"], limit=7, wait_ms=0, worker=worker):
        ids += [delivery.message.id for delivery in taken]
        settled = await broker.settle([end(delivery) for delivery in taken])
        assert {reply.status for reply in settled} == {SettleStatus.DONE}
    return ids


def assert_each_once(taken: Sequence[Sequence[str]]) -> None:
    """Insist that the takers have got every message, and none of them twice."""
    ids = sorted(id for batch in taken for id in batch)
    assert ids == sorted(f"m{n}" for n in range(_MANY))
