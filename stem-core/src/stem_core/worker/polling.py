"""Whether the broker is polled: said while it is not, and the end of a worker that cannot.

An outage is survived for as long as the terms allow. After that the process itself may be
what is wrong (an address that has moved, a password that has changed), and whoever
supervises it starts another one. Rule of this module: it looks and counts; the polling
itself is `fetcher`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from stem_core.contracts.clock import Clock
from stem_core.model.duration import format_ms
from stem_core.observe.health import Vitals, complaint

__all__ = ["PollWatch"]

_log = logging.getLogger("stem.worker")

_LOOK_MS: Final = 1_000
_FIRST_LINE_MS: Final = 60_000
_MOST_BETWEEN_LINES_MS: Final = 600_000


class PollWatch:
    """Watches one worker.

    Args:
        vitals: how it is now.
        limit_ms: how long it may take no work for want of a broker; 0 for ever.
        cut_off: called when that is over.
    """

    def __init__(
        self,
        clock: Clock,
        vitals: Callable[[], Vitals],
        *,
        limit_ms: int,
        cut_off: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._vitals = vitals
        self._limit_ms = limit_ms
        self._cut_off = cut_off
        self._since_ms: int | None = None
        self._next_line_ms = _FIRST_LINE_MS

    async def run(self) -> None:
        """Look every second, until it is cut off."""
        while not self._is_over():
            await self._clock.sleep(min(_LOOK_MS, self._limit_ms or _LOOK_MS))
        _log.critical(
            "this worker could not poll for %s (STEM_WORKER_POLL_LIMIT) and ends",
            format_ms(self._limit_ms),
            extra={"stem_facts": {"event": "worker-cut-off"}},
        )
        self._cut_off()

    def _is_over(self) -> bool:
        vitals, now_ms = self._vitals(), self._clock.monotonic_ms()
        trouble = complaint(vitals)
        if not trouble or vitals.is_draining:
            self._since_ms, self._next_line_ms = None, _FIRST_LINE_MS
            return False
        if self._since_ms is None:
            self._since_ms = now_ms
            if not vitals.fault:  # else whoever got the error has told of it
                self._say(trouble, 0)
        lasted_ms = now_ms - self._since_ms
        if lasted_ms >= self._next_line_ms:
            self._next_line_ms = min(2 * lasted_ms, lasted_ms + _MOST_BETWEEN_LINES_MS)
            self._say(trouble, lasted_ms)
        return 0 < self._limit_ms <= lasted_ms

    def _say(self, trouble: str, lasted_ms: int) -> None:
        for_long = f" for {format_ms(lasted_ms // 1000 * 1000)}" if lasted_ms else ""
        until = format_ms(self._limit_ms) if self._limit_ms else "ever"
        _log.error(
            "this worker takes no work%s: %s; it goes on trying for %s", for_long, trouble, until
        )
