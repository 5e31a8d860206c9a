"""Things to do at a time: an agenda of keys that gives out what is due, in order.

Rule of this module: it knows no clock. Instants are whole milliseconds of
whoever asks. Every step costs the same however many keys wait, and what is
dropped leaves nothing behind.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

__all__ = ["NEVER", "Agenda"]

NEVER: Final = 1 << 62
"""An instant that does not come."""

_SLACK: Final = 64


class Agenda:
    """Keys by their time. With a *grain* above 1 they come up to that much later, in fewer pages.

    Attributes:
        next_ms: nothing is due before this instant. A lower bound: what was dropped
            may have been the earliest.
    """

    __slots__ = ("_grain", "_pages", "_times", "next_ms")

    def __init__(self, grain: int = 1) -> None:
        self._grain = grain
        self._pages: dict[int, dict[str, None]] = {}
        self._times: list[int] = []
        self.next_ms: int = NEVER

    def __len__(self) -> int:
        return sum(map(len, self._pages.values()))

    def add(self, key: str, due_ms: int) -> None:
        """Note *key* for *due_ms*; nothing if it is noted for that time already."""
        grain = self._grain
        time = due_ms if grain == 1 else -(-due_ms // grain) * grain
        page = self._pages.get(time)
        if page is not None:
            page[key] = None
            return
        self._pages[time] = {key: None}
        heappush(self._times, time)
        if time < self.next_ms:
            self.next_ms = time

    def drop(self, key: str, due_ms: int) -> None:
        """Forget *key*, which was added for *due_ms* and has not come up yet."""
        grain = self._grain
        time = due_ms if grain == 1 else -(-due_ms // grain) * grain
        page = self._pages[time]
        del page[key]
        if not page:
            del self._pages[time]
            if len(self._times) > 2 * len(self._pages) + _SLACK:
                self._times = list(self._pages)
                heapify(self._times)

    def due(self, now_ms: int, *, limit: int | None = None) -> list[str]:
        """Take out what is due by *now_ms*: by time, then in the order added.

        With *limit*, stop after the page that reaches it.
        """
        times, pages = self._times, self._pages
        found: list[str] = []
        while times and times[0] <= now_ms and (limit is None or len(found) < limit):
            found += pages.pop(heappop(times), ())
        while times and times[0] not in pages:
            heappop(times)
        self.next_ms = times[0] if times else NEVER
        return found
