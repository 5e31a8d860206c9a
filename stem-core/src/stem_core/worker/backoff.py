"""Waiting for a store that is away, and starting a loop again that has failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from stem_core.contracts.clock import Clock, Dice
from stem_core.model.errors import UsageError

__all__ = ["Backoff", "supervised"]

_log = logging.getLogger("stem.worker")

_FIRST_MS: Final = 50
_LONGEST_MS: Final = 2_000


class Backoff:
    """Waits that double from 50 ms to 2 s, or *longest_ms*, each with jitter, until `reset`."""

    def __init__(self, clock: Clock, dice: Dice, longest_ms: int = _LONGEST_MS) -> None:
        self._clock = clock
        self._dice = dice
        self._longest_ms = longest_ms
        self.failures = 0

    def another(self, longest_ms: int) -> Backoff:
        """Return one that begins anew, with the same clock and dice."""
        return Backoff(self._clock, self._dice, longest_ms)

    def reset(self) -> None:
        """It works again."""
        self.failures = 0

    async def wait(self) -> None:
        """Wait longer than the last time."""
        ceiling_ms = min(self._longest_ms, _FIRST_MS * 2 ** min(self.failures, 10))
        self.failures += 1
        await self._clock.sleep(max(1, int(ceiling_ms * (0.5 + self._dice.roll() / 2))))


async def supervised(name: str, loop: Callable[[], Awaitable[None]], backoff: Backoff) -> None:
    """Run *loop* until it returns; start it again when it fails.

    Raises:
        UsageError: a handle was closed under it, or used where it does not belong: trying
            again would change nothing.
    """
    while True:
        started_at = asyncio.get_running_loop().time()
        try:
            await loop()
            return
        except UsageError:
            raise
        except Exception:  # a worker that lives and takes no work is the worst of states
            if asyncio.get_running_loop().time() - started_at > 10:
                backoff.reset()
            _log.exception("the %s loop failed; it starts again", name)
        await backoff.wait()
