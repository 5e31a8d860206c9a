"""Who waits for what in this process, and what wakes them.

Whoever waits is noted before it looks, and whatever it may wait for is told here after it
was committed: no wake-up is missed. Rule of this module: it holds a lock for moments, calls
`Sleeper.wake`, and knows neither event loops nor SQL.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from attrs import frozen

from stem_core.embedded.sleepers import Sleeper, Sleepers
from stem_core.embedded.sqlite.transaction import Effects

__all__ = ["Waiters", "Wanted"]

_FOR_EVER_MS: Final = 1 << 62


@frozen
class Wanted:
    """What somebody waits for: work in queues, the results of ids, control messages."""

    queues: Sequence[str]
    ids: Sequence[str]
    control: bool


class Waiters:
    """All who wait at one store. Thread-safe.

    Args:
        has_come: is called, without the lock, when somebody begins to wait.
    """

    def __init__(self, has_come: Callable[[], None]) -> None:
        self._has_come: Final = has_come
        self._lock: Final = threading.Lock()
        self._sleepers: Final = Sleepers()
        self._listeners: Final[set[Sleeper]] = set()
        self._leaving: Final[deque[tuple[Sleeper, str | None]]] = deque()

    @property
    def is_empty(self) -> bool:
        """True when nobody waits; asked without the lock."""
        return self._sleepers.is_empty and not self._listeners

    def wait_for_work(self, sleeper: Sleeper, queues: Sequence[str]) -> None:
        """Note *sleeper*, who is about to look whether there is work in *queues*."""
        with self._lock:
            self._sleepers.wait_for_work(sleeper, queues, _FOR_EVER_MS)
        self._has_come()

    def will_look(self, sleeper: Sleeper, queues: Sequence[str], at_ms: int) -> None:
        """Note, if *sleeper* still waits, that it looks again by itself at *at_ms*."""
        with self._lock:
            self._sleepers.settle_for(sleeper, queues, at_ms)

    def wait_for_result(self, sleeper: Sleeper, id: str) -> None:
        """Note *sleeper*, who is about to look for the terminal record of *id*."""
        with self._lock:
            self._sleepers.wait_for_result(sleeper, id)
        self._has_come()

    def listen(self, sleeper: Sleeper) -> None:
        """Wake *sleeper* whenever a control message may have come."""
        with self._lock:
            self._listeners.add(sleeper)
        self._has_come()

    def unlisten(self, sleeper: Sleeper) -> None:
        """Wake *sleeper* no more."""
        with self._lock:
            self._listeners.discard(sleeper)

    def dismiss(self, sleeper: Sleeper, result_of: str | None = None) -> None:
        """Forget who waited for work, or for the record of *result_of*.

        Never blocks: a waiter of a dead loop is thrown away by the garbage collector, which
        may run while this very thread holds the lock.
        """
        self._leaving.append((sleeper, result_of))
        if self._lock.acquire(blocking=False):
            try:
                self._let_leave()
            finally:
                self._lock.release()

    def _let_leave(self) -> None:
        while self._leaving:
            sleeper, result_of = self._leaving.popleft()
            if result_of is None:
                self._sleepers.dismiss(sleeper)
            else:
                self._sleepers.dismiss_from(sleeper, result_of)

    # ── what happens ─────────────────────────────────────────────────────────

    def wanted(self) -> Wanted:
        """Return what somebody waits for now."""
        with self._lock:
            self._let_leave()
            return Wanted(
                sorted(self._sleepers.queues),
                list(self._sleepers.for_results),
                bool(self._listeners),
            )

    def tell(self, effects: Effects) -> None:
        """Wake whom a committed transaction concerns."""
        if self.is_empty:  # who comes now looks after the commit
            return
        with self._lock:
            for queue in effects.ready:
                self._sleepers.ready(queue)
            if effects.sooner_ms is not None and effects.sooner_ms < self._sleepers.latest_ms:
                self._sleepers.sooner(effects.sooner_ms)
            for id in effects.ended:
                self._sleepers.ended(id)
            if effects.has_spoken:
                for listener in self._listeners:
                    listener.wake()

    def wake_all(self) -> None:
        """Let all who wait for work look again: they are told what is wrong."""
        with self._lock:
            self._sleepers.everybody()
