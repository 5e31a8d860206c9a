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
    """Keys by their time, in pages of 2 to the power of *coarse* milliseconds: up to that much
    late, and cheaper by it.

    Attributes:
        next_ms: nothing is due before this instant. A lower bound: what was dropped
            may have been the earliest.
    """

    __slots__ = ("_coarse", "_numbers", "_pages", "_round_up", "next_ms")

    def __init__(self, coarse: int = 0) -> None:
        self._coarse = coarse
        self._round_up = (1 << coarse) - 1
        self._pages: dict[int, dict[str, None]] = {}
        self._numbers: list[int] = []
        self.next_ms: int = NEVER

    def __len__(self) -> int:
        return sum(map(len, self._pages.values()))

    def add(self, key: str, due_ms: int) -> None:
        """Note *key* for *due_ms*; nothing if it is noted for that time already."""
        number = (due_ms + self._round_up) >> self._coarse
        page = self._pages.get(number)
        if page is None:
            page = self._new_page(number)
        page[key] = None

    def page(self, due_ms: int) -> dict[str, None]:
        """Return what is noted for *due_ms*, to note many keys at once; add at least one."""
        number = (due_ms + self._round_up) >> self._coarse
        page = self._pages.get(number)
        return self._new_page(number) if page is None else page

    def _new_page(self, number: int) -> dict[str, None]:
        page: dict[str, None] = {}
        self._pages[number] = page
        heappush(self._numbers, number)
        if number << self._coarse < self.next_ms:
            self.next_ms = number << self._coarse
        return page

    def drop(self, key: str, due_ms: int) -> None:
        """Forget *key*, which was added for *due_ms* and has not come up yet."""
        number = (due_ms + self._round_up) >> self._coarse
        page = self._pages[number]
        del page[key]
        if not page:
            del self._pages[number]
            if len(self._numbers) > 2 * len(self._pages) + _SLACK:
                self._numbers = list(self._pages)
                heapify(self._numbers)

    def due(self, now_ms: int, *, limit: int | None = None) -> list[str]:
        """Take out what is due by *now_ms*: by time, then in the order added.

        With *limit*, stop after the page that reaches it.
        """
        numbers, pages, last = self._numbers, self._pages, now_ms >> self._coarse
        found: list[str] = []
        while numbers and numbers[0] <= last and (limit is None or len(found) < limit):
            found += pages.pop(heappop(numbers), ())
        while numbers and numbers[0] not in pages:
            heappop(numbers)
        self.next_ms = numbers[0] << self._coarse if numbers else NEVER
        return found
