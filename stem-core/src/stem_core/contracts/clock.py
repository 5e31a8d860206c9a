"""Time and dice as things that are passed in, so that tests can pass in others."""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import Final, Protocol, TypeAlias

__all__ = ["SYSTEM_CLOCK", "SYSTEM_DICE", "Clock", "Dice", "SystemClock", "SystemDice"]

_Bytes: TypeAlias = bytes  # where a method has that name


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

    def __init__(self) -> None:
        self._stock: dict[int, list[_Bytes]] = {}
        if hasattr(os, "register_at_fork"):  # a child must not roll what its parent rolls
            os.register_at_fork(after_in_child=self._stock.clear)

    def roll(self) -> float:
        return random.random()

    def bytes(self, count: int, /) -> bytes:
        """As the protocol says. The system is asked for many at a time: each costs a call."""
        try:
            return self._stock[count].pop()  # one step, so that no two threads get the same
        except (KeyError, IndexError):
            return self._restocked(count)

    def _restocked(self, count: int) -> _Bytes:
        if not 0 < count <= _KEPT_BYTES:
            return os.urandom(count)
        many = os.urandom(count * _STOCK)
        pieces = [many[at : at + count] for at in range(0, len(many), count)]
        last = pieces.pop()
        self._stock.setdefault(count, []).extend(pieces)
        return last


_STOCK: Final = 128
_KEPT_BYTES: Final = 16
"""What is longer than an id is not kept: it may be a secret."""


SYSTEM_CLOCK: Final = SystemClock()
SYSTEM_DICE: Final = SystemDice()
