"""What follows when a process died under its task: the lease lapses soon, and one remembers how.

Rule of this module: the broker counts lapses, nobody else does. A lease that is let go of
is one that lapses, so what ends its workers is found whether or not somebody saw it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from stem_core.contracts.broker import Broker
from stem_core.contracts.messages import Extension
from stem_core.model.errors import StoreError
from stem_core.worker.run import Run

__all__ = ["Epitaphs", "Lapses", "pause_ms"]

_log = logging.getLogger("stem.worker")

_FIRST_MS: Final = 500
_MOST: Final = 1_000
_PATIENCE_S: Final = 5.0


def pause_ms(lapses: int, lease_ms: int) -> int:
    """Return how soon a lease lapses after the process died *lapses* times before: after
    0.5, 1, 2 … seconds, and never later than it would have by itself."""
    return min(lease_ms, _FIRST_MS << min(lapses, 10))


class Lapses:
    """Lets leases lapse.

    Args:
        drop: makes the lease keeper forget a run.
    """

    def __init__(self, broker: Broker, drop: Callable[[Run], None]) -> None:
        self._broker = broker
        self._drop = drop

    async def hasten(self, run: Run) -> None:
        """Let the lease of *run* lapse soon. If the store cannot be told, it lapses later."""
        self._drop(run)  # first: a renewal would undo it
        after_ms = pause_ms(run.delivery.lapses, run.lease_ms)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._broker.extend([Extension(run.delivery.receipt, after_ms)])
        except (StoreError, TimeoutError) as error:
            _log.warning("%s comes back when its lease has lapsed: %s", run.label, error)


class Epitaphs:
    """How processes died under their tasks, the last ones, by the task's id."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    def keep(self, id: str, how: str) -> None:
        """Remember *how*."""
        self._kept.pop(id, None)
        self._kept[id] = how
        if len(self._kept) > _MOST:
            del self._kept[next(iter(self._kept))]

    def of(self, id: str) -> str:
        """Return how the last process of *id* died in the hands of this worker, if it did."""
        return self._kept.get(id, "")
