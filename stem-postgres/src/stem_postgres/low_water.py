"""Where looks for work begin, while something open keeps the server from forgetting what ended.

A look walks along the ready order from its start. What has ended is gone from there as soon as
nobody can see it any more; an open snapshot sees it, and then each look passes by all that has
ended since. So whoever finds looks slow asks how much they pass by. If that is much, his looks
begin where the first task was seen, queue by queue and priority by priority, and ever further on.

What comes back to a turn before that is not seen from there: a task that was released, or one whose
transaction stayed open for long. So it is asked again from the very start, every second, or less
often if that takes long: at most a twentieth of the time goes into it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from stem_core.plugin import Clock, StoreError
from stem_postgres.arrays import Int8s

__all__ = ["LowWater"]

Ask = Callable[[Sequence[str], Int8s | None, bool], Awaitable[tuple[Sequence[int], int]]]
"""Takes queues, where to begin, and whether it may take long; returns the first of each priority of
each queue, and how many entries it passed by."""

_RANKS: Final = 10
_NOWHERE: Final = (0,) * _RANKS
_SLOW_MS: Final = 5.0
_A_TASK_MS: Final = 0.1
_MUCH: Final = 2_000
"""To pass by so many takes as long as all else of a look."""

_PAUSE_MS: Final = 250
_FULL_EVERY_MS: Final = 1_000
_FULL_SHARE: Final = 20


class LowWater:
    """The low water of the queues of one handle."""

    def __init__(self, clock: Clock, ask: Ask) -> None:
        self._clock = clock
        self._ask = ask
        self._lows: dict[str, Sequence[int]] = {}
        self._due_ms = 0
        self._full_ms = 0
        self._is_late = False  # the last call from the start was given up
        self._asking: asyncio.Task[None] | None = None

    def of(self, queues: Sequence[str]) -> Int8s | None:
        """Return where a look at *queues* begins; None for the very start."""
        if not self._lows:
            return None
        return Int8s([low for name in queues for low in self._lows.get(name, _NOWHERE)])

    def looked(self, queues: Sequence[str], took_ms: float, count: int) -> None:
        """Take note that a look took so long, and brought *count* tasks."""
        now_ms = self._clock.monotonic_ms()
        is_slow = took_ms > _SLOW_MS + _A_TASK_MS * count
        is_due = now_ms >= (self._due_ms if is_slow else self._full_ms)
        if (is_slow or self._lows) and is_due and self._asking is None:
            self._asking = asyncio.create_task(self._find(queues), name="stem-postgres-low-water")

    async def _find(self, queues: Sequence[str]) -> None:
        try:
            with suppress(StoreError):
                await self._found(queues, self._clock.monotonic_ms())
        finally:
            self._due_ms = self._clock.monotonic_ms() + _PAUSE_MS
            self._asking = None

    async def _found(self, queues: Sequence[str], began_ms: int) -> None:
        is_full = began_ms >= self._full_ms
        is_long = is_full and self._is_late
        try:
            since = None if is_full else self.of(queues)
            lows, passed = await self._ask(queues, since, is_long)
            self._is_late = False
        except StoreError:
            self._is_late = True
            raise
        finally:
            now_ms = self._clock.monotonic_ms()
            if is_full:
                pause_ms = max(_FULL_EVERY_MS, _FULL_SHARE * (now_ms - began_ms))
                is_short = self._is_late and not is_long
                self._full_ms = now_ms + (_FULL_EVERY_MS if is_short else pause_ms)
        if is_full and passed < _MUCH:
            self._lows = {}
        elif passed >= _MUCH or (self._lows and not is_full):
            for place, name in enumerate(queues):
                self._lows[name] = lows[_RANKS * place : _RANKS * (place + 1)]

    async def stop(self) -> None:
        """End what is asked."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
