"""What handles promise: siblings and their end."""

from __future__ import annotations

import asyncio

from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBroker
from stem_core.testing.contract.values import (
    message,
)

__all__ = ["HandleContract"]


class HandleContract(OnBroker):
    """One handle for each loop, and each closes by itself."""

    @promise("SIBLING-1")
    async def test_a_sibling_works_in_another_thread_and_closes_by_itself(
        self, stage: Stage
    ) -> None:
        await stage.publish(message())
        sibling = stage.broker.sibling()
        assert sibling.store_id == stage.broker.store_id

        async def elsewhere() -> str:
            (delivery,) = await sibling.fetch(["q"], limit=1, wait_ms=0, worker="w2")
            await sibling.publish([message("from-there")])
            await sibling.aclose()
            return delivery.message.id

        assert await asyncio.to_thread(lambda: asyncio.run(elsewhere())) == "m"
        assert (await stage.take()).message.id == "from-there"

    @promise("CLOSE-1", level="lease")
    async def test_closing_twice_is_fine_and_leaves_leases_to_lapse(self, stage: Stage) -> None:
        sibling = stage.sibling()
        await stage.publish(message(lease_ms=stage.unit_ms))
        await sibling.fetch(["q"], limit=1, wait_ms=0, worker="w2")
        await sibling.aclose()
        await sibling.aclose()
        assert await stage.fetch() == []
        await stage.let_pass(stage.unit_ms + 1)
        assert (await stage.take()).lapses == 1
