"""A clock and dice that obey a test.

Nothing in here waits for real time. Whatever takes a `Clock` or a `Dice` takes these.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from stem_core.contracts.clock import SystemDice
from stem_core.model.duration import Duration, to_ms

__all__ = ["FakeClock", "LoadedDice", "LongestWaits"]

_START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """A clock that stands still until `advance`.

    One clock may serve several loops and threads: every sleeper is woken in its
    own loop. `monotonic_ms` starts at 0.
    """

    def __init__(self, start: datetime = _START) -> None:
        if start.tzinfo is None:
            raise ValueError(f"start={start!r} is naive; give it a timezone")
        self._wall_ms = round(start.timestamp() * 1000)
        self._monotonic_ms = 0
        self._lock = threading.Lock()
        self._sleepers: dict[asyncio.Future[None], int] = {}

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return self._wall_ms

    def monotonic_ms(self) -> int:
        """Milliseconds that `advance` has added."""
        return self._monotonic_ms

    def now(self) -> datetime:
        """The wall time as an aware datetime in UTC."""
        return datetime.fromtimestamp(self._wall_ms / 1000, UTC)

    @property
    def sleepers(self) -> int:
        """How many are asleep now."""
        return len(self._sleepers)

    def advance(self, by: Duration) -> None:
        """Let time pass in one step and wake whoever slept until now or less.

        Plain and thread-safe. The woken run when their loops do, and all of them
        see the new time.
        """
        with self._lock:
            step_ms = to_ms(by, field="by")
            self._wall_ms += step_ms
            self._monotonic_ms += step_ms
            due = [sleeper for sleeper, at in self._sleepers.items() if at <= self._monotonic_ms]
            for sleeper in sorted(due, key=self._sleepers.__getitem__):
                del self._sleepers[sleeper]
                _wake(sleeper)

    def jump_wall(self, by_ms: int) -> None:
        """Set the wall clock alone, forward or back, as a time server may do."""
        with self._lock:
            self._wall_ms += by_ms

    async def sleep(self, duration_ms: int) -> None:
        """Return once `advance` has let *duration_ms* pass; 0 or less only yields."""
        if duration_ms <= 0:
            return await asyncio.sleep(0)
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._sleepers[sleeper] = self._monotonic_ms + math.ceil(duration_ms)
        try:
            return await sleeper
        finally:
            with self._lock:
                self._sleepers.pop(sleeper, None)


def _wake(sleeper: asyncio.Future[None]) -> None:
    def finish() -> None:
        if not sleeper.done():
            sleeper.set_result(None)

    with contextlib.suppress(RuntimeError):  # its loop is closed: nobody is asleep there
        sleeper.get_loop().call_soon_threadsafe(finish)


class LoadedDice:
    """Dice whose rolls are known: *rolls* over and over, and bytes that count upwards."""

    def __init__(self, rolls: Sequence[float] = (0.5,)) -> None:
        if not rolls or not all(0 <= roll < 1 for roll in rolls):
            raise ValueError(f"rolls={rolls!r}: give at least one number in [0, 1)")
        self._rolls: Iterator[float] = itertools.cycle(rolls)
        self._count = itertools.count(1)

    def roll(self) -> float:
        """The next of the rolls given."""
        return next(self._rolls)

    def bytes(self, count: int, /) -> bytes:
        """*count* bytes that no earlier call gave, as long as there are enough of them."""
        return next(self._count).to_bytes(max(count, 8), "big")[-count:] if count else b""


class LongestWaits(SystemDice):
    """Dice of the system but for the rolls: always the highest, so that jitter spares no wait."""

    def roll(self) -> float:
        """The last number before 1."""
        return math.nextafter(1.0, 0.0)
