"""Deciding whether a store is so near that its reply is waited for where one stands.

A turn of the event loop costs about as much as a server on the same machine thinks, so a lone
call to it may wait on its socket, and nothing else of the loop runs meanwhile. Pure: it is told
how long calls took, and moves no bytes.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Nearness"]

_FAR_CALLS: Final = 100
"""So many calls go through the loop after a reply was late: what it lost is lost once in those."""


class Nearness:
    """What is known of one server; an instance for each that is asked.

    A new one knows nothing, so the first call goes through the loop.

    Args:
        near_s: a server that answers a call through the loop within this is near.
        near_for_idle_s: likewise for a caller that has slept: a server that was idle too takes
            its time, and mostly nothing else of the loop wants a turn.

    Attributes:
        is_near: the next call may wait in place.
        is_near_for_idle: likewise for one that has slept.
    """

    __slots__ = ("_near_for_idle_s", "_near_s", "_since_late", "is_near", "is_near_for_idle")

    def __init__(self, near_s: float, near_for_idle_s: float) -> None:
        self._near_s = near_s
        self._near_for_idle_s = near_for_idle_s
        self._since_late = 0
        self.is_near = self.is_near_for_idle = False

    def answered_in(self, seconds: float) -> None:
        """Note how long a call took, through the loop or in place."""
        self._since_late += 1
        is_trusted = self._since_late > 0
        self.is_near = is_trusted and seconds < self._near_s
        self.is_near_for_idle = is_trusted and seconds < self._near_for_idle_s

    def was_late(self) -> None:
        """Note that a reply did not come while one waited in place."""
        self.is_near = self.is_near_for_idle = False
        self._since_late = -_FAR_CALLS
