"""Taking deliveries: as many as there are free slots for, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from stem_core import failpoints
from stem_core.contracts.broker import Broker
from stem_core.contracts.clock import Dice
from stem_core.contracts.messages import Delivery
from stem_core.model.errors import StoreError
from stem_core.worker.backoff import Backoff
from stem_core.worker.queues import in_turn
from stem_core.worker.slots import Slots

__all__ = ["Fetcher"]

_WAIT_MS: Final = 5_000
_MOST: Final = 500


class Fetcher:
    """Fetches for ever and survives a store that is away.

    Args:
        take: called with each batch.
        lost, back: called when the store goes and when it is there again.
    """

    def __init__(
        self,
        broker: Broker,
        queues: Mapping[str, int],
        slots: Slots,
        *,
        worker: str,
        dice: Dice,
        backoff: Backoff,
        take: Callable[[Sequence[Delivery]], None],
        lost: Callable[[StoreError], None],
        back: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._queues = queues
        self._slots = slots
        self._worker = worker
        self._dice = dice
        self._backoff = backoff
        self._take = take
        self._lost = lost
        self._back = back

    async def run(self) -> None:
        """Fetch whenever there is a free slot. Cancelling it leaves no delivery behind."""
        while True:
            await self._fetch()

    async def _fetch(self) -> None:
        while self._slots.free <= 0:
            await self._slots.changed()
        queues = in_turn(self._queues, self._dice.roll)
        limit = min(_MOST, self._slots.free)
        try:
            deliveries = await self._broker.fetch(
                queues, limit=limit, wait_ms=_WAIT_MS, worker=self._worker
            )
            if failpoints.ARMED and deliveries:
                failpoints.reach("worker.claim.before_start")
        except StoreError as error:
            if self._backoff.failures == 0:
                self._lost(error)
            await self._backoff.wait()
            return
        if self._backoff.failures:
            self._backoff.reset()
            self._back()
        if deliveries:
            self._take(deliveries)
            await asyncio.sleep(0)  # a store that never waits would leave no turn to the tasks
