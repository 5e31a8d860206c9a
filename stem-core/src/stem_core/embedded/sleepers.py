"""Who waits for work or for a result, and what ends the wait.

A sleeper is noted under the store's lock in the same step that found nothing for
it, and whatever it waits for calls here under that lock: no wake-up is missed.
Rule of this module: it calls `Sleeper.wake` and knows no event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Sleeper", "Sleepers"]


class Sleeper(Protocol):
    """Somebody who can be woken from any thread, more than once, without blocking."""

    def wake(self) -> None:
        """Look again."""
        ...


class Sleepers:
    """Whom to wake. A woken sleeper is forgotten until it comes again.

    Attributes:
        latest_ms: somebody sleeps until this instant unless woken; -1 when nobody
            waits for work.
        for_results: who waits for which record.
    """

    def __init__(self) -> None:
        self._for_work: dict[Sleeper, tuple[frozenset[str], int]] = {}
        self.for_results: dict[str, dict[Sleeper, None]] = {}
        self.latest_ms = -1

    @property
    def is_empty(self) -> bool:
        """True when nobody waits; the one thing that may be asked without the store's lock."""
        return not (self._for_work or self.for_results)

    @property
    def count(self) -> int:
        """How many wait."""
        return len(self._for_work) + sum(map(len, self.for_results.values()))

    @property
    def queues(self) -> frozenset[str]:
        """The queues that somebody waits for."""
        return frozenset().union(*(queues for queues, _ in self._for_work.values()))

    def wait_for_work(self, sleeper: Sleeper, queues: Sequence[str], until_ms: int) -> None:
        """Note *sleeper*, who looks again at *until_ms* by itself."""
        self._for_work[sleeper] = (frozenset(queues), until_ms)
        self.latest_ms = max(self.latest_ms, until_ms)

    def settle_for(self, sleeper: Sleeper, queues: Sequence[str], until_ms: int) -> None:
        """Note, if *sleeper* was not woken meanwhile, that it looks again at *until_ms*."""
        if sleeper in self._for_work:
            self._for_work[sleeper] = (frozenset(queues), until_ms)
            self._look_back()

    def wait_for_result(self, sleeper: Sleeper, id: str) -> None:
        """Note *sleeper*, who wants the terminal record of *id*."""
        self.for_results.setdefault(id, {})[sleeper] = None

    def dismiss(self, sleeper: Sleeper) -> None:
        """Forget a sleeper that waited for work, if it is still noted."""
        if self._for_work.pop(sleeper, None) is not None:
            self._look_back()

    def dismiss_from(self, sleeper: Sleeper, id: str) -> None:
        """Forget a sleeper that waited for the record of *id*, if it is still noted."""
        waiting = self.for_results.get(id)
        if waiting is not None:
            waiting.pop(sleeper, None)
            if not waiting:
                del self.for_results[id]

    def ready(self, queue: str) -> None:
        """Something can be taken from *queue*."""
        self._wake([s for s, (queues, _) in self._for_work.items() if queue in queues])

    def sooner(self, due_ms: int) -> None:
        """Something will be ready or lapse at *due_ms*: whoever sleeps longer looks again."""
        self._wake([s for s, (_, until_ms) in self._for_work.items() if until_ms > due_ms])

    def ended(self, id: str) -> None:
        """The task *id* has a terminal record."""
        for sleeper in self.for_results.pop(id, ()):
            sleeper.wake()

    def everybody(self) -> None:
        """Let all who wait for work look again."""
        self._wake(list(self._for_work))

    def _wake(self, woken: list[Sleeper]) -> None:
        for sleeper in woken:
            del self._for_work[sleeper]
            sleeper.wake()
        if woken:
            self._look_back()

    def _look_back(self) -> None:
        self.latest_ms = max((until for _, until in self._for_work.values()), default=-1)
