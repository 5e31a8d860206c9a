"""What time it is at the server, as far as a process can know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_SPAN_MS: Final = 20_000


class ServerClock:
    """The server's wall clock, from its stamps and our monotonic clock.

    A stamp that arrives is at least as old as the way that it came. So the server's time is
    never behind `stamp + (time since it arrived)`, and the stamp that came the fastest says
    most: of what was heard in the last while, the highest difference counts. What this clock
    shows is therefore late by the shortest way, and never early: no lease is taken before
    its end. A step of the server's clock back in time is believed after forty seconds.
    """

    def __init__(self, monotonic_ms: Callable[[], int]) -> None:
        self._monotonic_ms = monotonic_ms
        self._older: int | None = None
        self._newer: int | None = None
        self._since_ms = monotonic_ms()

    def heard(self, stamp_ms: int) -> None:
        """Take note of a stamp that came just now, however old it is."""
        now_ms = self._monotonic_ms()
        if now_ms - self._since_ms > _SPAN_MS and self._newer is not None:
            self._older, self._newer, self._since_ms = self._newer, None, now_ms
        ahead_ms = stamp_ms - now_ms
        self._newer = ahead_ms if self._newer is None else max(self._newer, ahead_ms)

    def now_ms(self) -> int:
        """Return milliseconds since the Unix epoch; 0 before anything was heard."""
        heard = [ahead_ms for ahead_ms in (self._older, self._newer) if ahead_ms is not None]
        return self._monotonic_ms() + max(heard) if heard else 0
