"""Time and dice as things that are passed in, so that tests can pass in others."""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import Final, Protocol

__all__ = ["SYSTEM_CLOCK", "SYSTEM_DICE", "Clock", "Dice", "SystemClock", "SystemDice"]


class Clock(Protocol):
    """Where time comes from."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch; may jump."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds since some moment; never goes back."""
        ...

    async def sleep(self, duration_ms: int) -> None:
        """Return after *duration_ms* of this clock's time."""
        ...


class Dice(Protocol):
    """Where chance comes from."""

    def roll(self) -> float:
        """A number in [0, 1)."""
        ...

    def bytes(self, count: int, /) -> bytes:
        """Unpredictable bytes."""
        ...


class SystemClock:
    """The machine's own time."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    async def sleep(self, duration_ms: int) -> None:
        await asyncio.sleep(duration_ms / 1000)


class SystemDice:
    """The machine's own chance: the operating system's for bytes, a generator's for rolls."""

    def roll(self) -> float:
        return random.random()

    def bytes(self, count: int, /) -> bytes:
        return os.urandom(count)


SYSTEM_CLOCK: Final = SystemClock()
SYSTEM_DICE: Final = SystemDice()
