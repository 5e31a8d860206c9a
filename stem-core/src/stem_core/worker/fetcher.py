"""Taking deliveries: as many as there are free slots for, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from stem_core import failpoints
from stem_core.contracts.broker import Broker
from stem_core.contracts.clock import Clock, Dice
from stem_core.contracts.messages import Delivery
from stem_core.model.errors import StoreError
from stem_core.producer.waiting import Begun
from stem_core.worker.backoff import Backoff
from stem_core.worker.lateness import still_ours
from stem_core.worker.queues import in_turn
from stem_core.worker.slots import Slots

__all__ = ["Fetcher"]

_WAIT_MS: Final = 5_000
_MOST: Final = 500

_FEW: Final = 8
"""Up to so many are begun before the next are asked for: to ask takes as long as to begin them."""


def _most_of(slots: Slots, broker: Broker) -> int:
    """Return how many are asked for in one call.

    Of a store that works elsewhere, half of what there is room for, where that is much: so one
    half runs while the store looks for the other, and settles what has ended before. And no more
    than half of what one call can settle, so that one call to settle catches up with two fetches.
    """
    can, half = broker.capabilities, slots.limit // 2
    if can.embedded or half < 2 * _FEW:
        return min(_MOST, slots.limit)
    return min(_MOST, max(2 * _FEW, min(half, can.max_batch // 2)))


def _may_look_ahead(deliveries: Sequence[Delivery], free: int) -> bool:
    """Decide whether the next are asked for before these begin, for which *free* slots are left.

    Not beside one that may have ended a worker before: it may have to be alone here.
    """
    is_worth_it = _FEW < len(deliveries) <= free
    return is_worth_it and not any(each.lapses for each in deliveries)


class Fetcher:
    """Fetches for ever and survives a store that is away.

    Args:
        take: called with each batch.
        failed: called with each error of the store.
        lost, back: called when the store goes and when it is there again.

    Attributes:
        fault: why the last fetch failed; empty when it did not.
        heard_ms: when the store was last heard of, or asked anew after a while in which
            there was no reason to; a time of the monotonic clock.
    """

    def __init__(
        self,
        broker: Broker,
        queues: Mapping[str, int],
        slots: Slots,
        *,
        worker: str,
        clock: Clock,
        dice: Dice,
        backoff: Backoff,
        take: Callable[[Sequence[Delivery]], None],
        failed: Callable[[StoreError], None],
        lost: Callable[[StoreError], None],
        back: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._queues = queues
        self._slots = slots
        self._most = _most_of(slots, broker)
        self._worker = worker
        self._clock = clock
        self._dice = dice
        self._backoff = backoff
        self._take = take
        self._failed = failed
        self._lost = lost
        self._back = back
        self._asked_ms = 0
        self.fault = ""
        self.heard_ms = clock.monotonic_ms()

    async def run(self) -> None:
        """Fetch whenever there is a free slot. Cancelling it leaves no delivery behind."""
        begun: Begun[Sequence[Delivery]] | None = None
        while True:
            begun = await self._fetched(begun or self._begin(await self._free_slots()))

    async def _free_slots(self) -> int:
        """Return how many slots are free, as soon as one is."""
        while (free := self._slots.free) <= 0:
            await self._slots.changed()
            self.heard_ms = self._clock.monotonic_ms()
        return free

    def _begin(self, limit: int) -> Begun[Sequence[Delivery]]:
        """Ask for *limit* deliveries, or as many as are asked for in one call."""
        limit = min(self._most, limit)
        queues = in_turn(self._queues, self._dice.roll)
        self._asked_ms = self._clock.monotonic_ms()
        return Begun(self._broker.fetch(queues, limit=limit, wait_ms=_WAIT_MS, worker=self._worker))

    async def _fetched(self, begun: Begun[Sequence[Delivery]]) -> Begun[Sequence[Delivery]] | None:
        """Take what was asked for. Where slots for as many again are free, these are asked for
        before that, and returned: the store looks for them while the tasks run. A few are taken
        first: they are what somebody waits for."""
        try:
            deliveries = await begun.rest()
            deliveries = await still_ours(self._broker, deliveries, self._asked_ms, self._clock)
            if failpoints.ARMED and deliveries:
                failpoints.reach("worker.claim.before_start")
        except StoreError as error:
            self.fault = error.fault.value
            self._failed(error)
            if self._backoff.failures == 0:
                self._lost(error)
            await self._backoff.wait()
            return None
        except Exception:  # a bug of a store: this loop is started again, and says so till then
            self.fault = "error"
            raise
        self.heard_ms, self.fault = self._clock.monotonic_ms(), ""
        if self._backoff.failures:
            self._backoff.reset()
            self._back()
        if not deliveries:
            return None
        free = self._slots.free - len(deliveries)
        if begun.is_over or not _may_look_ahead(deliveries, free):
            self._take(deliveries)
            await asyncio.sleep(0)  # a store that never waits would leave no turn to the tasks
            return None
        following = self._begin(free)
        try:
            self._take(deliveries)
        except BaseException:
            following.drop()
            raise
        return following
