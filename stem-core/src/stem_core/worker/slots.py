"""How many deliveries a worker may hold: credits for the fetch loop."""

from __future__ import annotations

import asyncio

__all__ = ["Slots"]


class Slots:
    """Counts what runs and what waits to be settled. Belongs to one loop.

    A slot is free again when its task has ended, so that the next fetch overlaps the
    settling of the last batch; but no more than *limit* settlements are left waiting.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        self.unsettled = 0
        self._is_closed = False
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def free(self) -> int:
        """How many deliveries may be fetched now."""
        if self._is_closed:
            return 0
        backlog = max(0, self.unsettled - self.limit)
        return self.limit - self.running - backlog

    @property
    def is_idle(self) -> bool:
        """True when nothing runs and nothing waits to be settled."""
        return not (self.running or self.unsettled)

    def close(self) -> None:
        """None is free, whatever ends, until they are opened."""
        self._is_closed = True

    def open(self) -> None:
        """They are free again as they come."""
        self._is_closed = False
        self.wake()

    def start(self, count: int) -> None:
        """Deliveries were taken."""
        self.running += count

    def end(self) -> None:
        """Its task ended; its settlement is on the way."""
        self.running -= 1
        self.unsettled += 1
        self.wake()

    def settled(self, count: int = 1) -> None:
        """They are settled, or there is nothing to settle any more."""
        self.unsettled -= count
        self.wake()

    async def changed(self) -> None:
        """Return at the next change."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def wake(self) -> None:
        """Let those who wait for a change look again."""
        if self._waiters:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()
