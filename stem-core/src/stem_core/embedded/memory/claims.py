"""Unique keys, and the ids of what has ended.

Rule of this module: plain and timeless, as in `records`.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from stem_core.contracts.messages import Message, UniqueKey
from stem_core.embedded.memory.agenda import Agenda

__all__ = ["Stone", "Stones", "UniqueKeys"]

_COARSE: Final = 8  # a quarter of a second


class UniqueKeys:
    """Which message holds which key. A ``window`` ends by time, the others by `free`."""

    def __init__(self) -> None:
        self._holders: dict[str, tuple[str, int]] = {}  # until -1: not by time
        self._windows = Agenda(_COARSE)

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


Stone: TypeAlias = tuple[int, int, int, int]
"""What is left of an ended message: until when, the hash of its body, its last fence, and
the last fence that settled it. A plain tuple: there is one for every message of a while."""


class Stones:
    """Tombstones: ids that ended a short while ago.

    Attributes:
        by_id: every stone that was not swept yet; `get` knows whether it still stands.
        base: above every fence of an id that is not known any more, so that an id
            which is born again never meets an old fence.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Stone] = {}
        self.base = 0
        self._ends = Agenda(_COARSE)

    def get(self, id: str, now_ms: int) -> Stone | None:
        """Return the stone of *id* while it stands."""
        stone = self.by_id.get(id)
        return stone if stone is not None and stone[0] > now_ms else None

    def put(self, message: Message, fence: int, settled: int, now_ms: int) -> None:
        """Remember the id of *message*, which ends now, for as long as it asked."""
        until_ms = now_ms + message.dedupe_for_ms
        # The hash of bytes is keyed by the process: enough to tell bodies of one id apart.
        self.by_id[message.id] = (until_ms, hash(message.body), fence, settled)
        self._ends.add(message.id, until_ms)

    def sweep(self, now_ms: int, budget: int) -> None:
        """Free the memory of stones that are over."""
        for id in self._ends.due(now_ms, limit=budget):
            self._forget(id)

    def lift(self, id: str) -> None:
        """Remove the stone of *id*, which is born again after its time."""
        self._ends.drop(id, self.by_id[id][0])
        self._forget(id)

    def _forget(self, id: str) -> None:
        _, _, fence, _ = self.by_id.pop(id)
        self.base = max(self.base, fence + 1)
