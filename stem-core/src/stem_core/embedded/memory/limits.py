"""Rate and concurrency limits of a memory store.

A rate is exact: in no window of *per_ms* are there more than *rate* starts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from stem_core.contracts.limits import Limit, LimitDecision, LimitStore
from stem_core.embedded.memory.agenda import Agenda

if TYPE_CHECKING:
    from stem_core.embedded.memory.handle import MemoryHandle

__all__ = ["Limits", "MemoryLimits"]

_ASK_AGAIN_MS: Final = 250
"""A concurrent unit may be given back at any time, long before its lease ends."""


class _Use:
    """What is taken of one key."""

    __slots__ = ("holders", "starts", "until_ms")

    def __init__(self) -> None:
        self.starts: deque[int] = deque()
        self.holders: dict[str, int] = {}
        self.until_ms = 0

    def wait_ms(self, limit: Limit, holder: str, now_ms: int) -> int:
        """Return how long *holder* must wait for one unit; 0 when it is free."""
        while self.starts and self.starts[0] <= now_ms - limit.per_ms:
            self.starts.popleft()
        wait_ms = 0
        if limit.rate and len(self.starts) >= limit.rate:
            wait_ms = self.starts[-limit.rate] + limit.per_ms - now_ms
        if limit.concurrent:
            self.holders = {h: until for h, until in self.holders.items() if until > now_ms}
            if holder not in self.holders and len(self.holders) >= limit.concurrent:
                soonest_ms = min(self.holders.values()) - now_ms
                wait_ms = max(wait_ms, min(soonest_ms, _ASK_AGAIN_MS))
        return wait_ms

    def take(self, limit: Limit, holder: str, lease_ms: int, now_ms: int) -> None:
        """Take one unit, which is free."""
        if limit.rate:
            self.starts.append(now_ms)
            self.until_ms = max(self.until_ms, now_ms + limit.per_ms)
        if limit.concurrent:
            self.holders[holder] = now_ms + lease_ms
            self.until_ms = max(self.until_ms, now_ms + lease_ms)


class Limits:
    """All keys of one store; a key that nobody uses any more leaves nothing behind."""

    def __init__(self) -> None:
        self._uses: dict[str, _Use] = {}
        self._ends = Agenda(coarse=10)

    def __len__(self) -> int:
        return len(self._uses)

    def acquire(
        self, now_ms: int, limits: Sequence[Limit], holder: str, lease_ms: int
    ) -> LimitDecision:
        """`LimitStore.acquire`."""
        self._sweep(now_ms)
        wanted = list({limit.key: limit for limit in limits}.values())
        uses = [self._uses.get(limit.key) or _Use() for limit in wanted]
        waits = [
            use.wait_ms(limit, holder, now_ms) for use, limit in zip(uses, wanted, strict=True)
        ]
        if any(waits):
            return LimitDecision(False, max(waits))
        for use, limit in zip(uses, wanted, strict=True):
            use.take(limit, holder, lease_ms, now_ms)
            if limit.key not in self._uses:
                self._uses[limit.key] = use
                self._ends.add(limit.key, use.until_ms)
        return LimitDecision(True)

    def give_back(self, now_ms: int, limits: Sequence[Limit], holder: str) -> None:
        """`LimitStore.give_back`."""
        for limit in limits:
            if (use := self._uses.get(limit.key)) is not None:
                use.holders.pop(holder, None)

    def _sweep(self, now_ms: int) -> None:
        for key in self._ends.due(now_ms):
            use = self._uses[key]
            if use.until_ms > now_ms:
                self._ends.add(key, use.until_ms)
            else:
                del self._uses[key]


class MemoryLimits(LimitStore):
    """The limits of one handle's store."""

    def __init__(self, handle: MemoryHandle) -> None:
        self._handle = handle

    async def acquire(
        self, limits: Sequence[Limit], *, holder: str, lease_ms: int
    ) -> LimitDecision:
        store = self._handle.enter()
        return store.step(store.limits.acquire, limits, holder, lease_ms)

    async def give_back(self, limits: Sequence[Limit], *, holder: str) -> None:
        store = self._handle.enter()
        store.step(store.limits.give_back, limits, holder)
