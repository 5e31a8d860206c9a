"""Unique keys, and the ids of what has ended.

Rule of this module: plain and timeless, as in `records`.
"""

from __future__ import annotations

from typing import NamedTuple

from stem_core.contracts.messages import Message, UniqueKey
from stem_core.embedded.memory.agenda import Agenda

__all__ = ["Stone", "Stones", "UniqueKeys"]

_GRAIN_MS = 256


class UniqueKeys:
    """Which message holds which key. A ``window`` ends by time, the others by `free`."""

    def __init__(self) -> None:
        self._holders: dict[str, tuple[str, int]] = {}  # until -1: not by time
        self._windows = Agenda(_GRAIN_MS)

    def holder(self, key: str, now_ms: int) -> str | None:
        """Return the id that holds *key*."""
        held = self._holders.get(key)
        if held is None or -1 < held[1] <= now_ms:
            return None
        return held[0]

    def claim(self, unique: UniqueKey, id: str, now_ms: int) -> None:
        """Let *id* hold the key, which nobody holds."""
        before = self._holders.get(unique.key)
        if before is not None and before[1] > -1:
            self._windows.drop(unique.key, before[1])
        until_ms = -1
        if unique.until == "window":
            until_ms = now_ms + unique.window_ms
            self._windows.add(unique.key, until_ms)
        self._holders[unique.key] = (id, until_ms)

    def free(self, unique: UniqueKey, id: str) -> None:
        """Let go of the key, unless only time frees it or another message holds it."""
        if self._holders.get(unique.key) == (id, -1):
            del self._holders[unique.key]

    def sweep(self, now_ms: int, budget: int) -> None:
        """Free the memory of windows that are over."""
        for key in self._windows.due(now_ms, limit=budget):
            del self._holders[key]


class Stone(NamedTuple):
    """What is left of an ended message: enough to know its id, its body and its last lease."""

    until_ms: int
    body: int
    fence: int
    settled: int


class Stones:
    """Tombstones: ids that ended a short while ago.

    Attributes:
        base: above every fence of an id that is not known any more, so that an id
            which is born again never meets an old fence.
    """

    def __init__(self) -> None:
        self._stones: dict[str, Stone] = {}
        self._ends = Agenda(_GRAIN_MS)
        self.base = 0

    def __len__(self) -> int:
        return len(self._stones)

    def __contains__(self, id: str) -> bool:
        return id in self._stones

    def get(self, id: str, now_ms: int) -> Stone | None:
        """Return the stone of *id* while it stands."""
        stone = self._stones.get(id)
        return stone if stone is not None and stone.until_ms > now_ms else None

    def put(self, message: Message, fence: int, settled: int, now_ms: int) -> None:
        """Remember the id of *message*, which ends now, for as long as it asked."""
        until_ms = now_ms + message.dedupe_for_ms
        # The hash of bytes is keyed by the process: enough to tell bodies of one id apart.
        self._stones[message.id] = Stone(until_ms, hash(message.body), fence, settled)
        self._ends.add(message.id, until_ms)

    def sweep(self, now_ms: int, budget: int) -> None:
        """Free the memory of stones that are over."""
        for id in self._ends.due(now_ms, limit=budget):
            self._forget(id)

    def lift(self, id: str) -> None:
        """Remove the stone of *id*, which is born again after its time."""
        self._ends.drop(id, self._stones[id].until_ms)
        self._forget(id)

    def _forget(self, id: str) -> None:
        self.base = max(self.base, self._stones.pop(id).fence + 1)
