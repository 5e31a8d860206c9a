"""Noticing what other processes write: a thread that looks whether the file has changed.

`PRAGMA data_version` tells for a few microseconds whether anybody else has committed. The
thread asks only while somebody waits; often for a moment after a change, for where one
message comes others follow, and less often after that.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

__all__ = ["Watcher"]

_log: Final = logging.getLogger("stem.sqlite")

_BUSY_S: Final = 0.001
_IDLE_S: Final = 0.009
_BUSY_FOR_S: Final = 0.5
_LOOK_ANYWAY_S: Final = 1.0
"""The safety net: a change that was missed for whatever reason is seen after this."""

_PAUSE_S: Final = 0.5


class Watcher:
    """Looks while somebody waits.

    Args:
        version: returns something that changes with every commit of another connection.
        look: looks what has changed, and wakes whom it concerns.
        is_needed: whether anybody waits.
        leave: is called in the thread when it ends.
    """

    def __init__(
        self,
        version: Callable[[], object],
        look: Callable[[], None],
        is_needed: Callable[[], bool],
        leave: Callable[[], None],
    ) -> None:
        self._version: Final = version
        self._look: Final = look
        self._is_needed: Final = is_needed
        self._leave: Final = leave
        self._bell: Final = threading.Event()
        self._lock: Final = threading.Lock()
        self._running: tuple[threading.Thread, threading.Event] | None = None
        self._failed = False
        self.busy: Final = threading.Lock()

    def wake(self) -> None:
        """Somebody waits now: begin to look, if nobody does."""
        if self._running is not None and self._bell.is_set():
            return
        with self._lock:
            if self._running is None:
                told = threading.Event()
                thread = threading.Thread(
                    target=self._main, args=(told,), name="stem-sqlite-watch", daemon=True
                )
                self._running = (thread, told)
                thread.start()
        self._bell.set()

    def stop(self) -> threading.Thread | None:
        """Let the thread end; return it."""
        with self._lock:
            running, self._running = self._running, None
        if running is None:
            return None
        running[1].set()
        self._bell.set()
        return running[0]

    # ── in the thread ────────────────────────────────────────────────────────

    def _main(self, told: threading.Event) -> None:
        known: object = None
        changed_at = looked_at = 0.0
        while not told.is_set():
            if not self._is_needed():
                self._rest(told)
                continue
            now = time.monotonic()
            time.sleep(_BUSY_S if now - changed_at < _BUSY_FOR_S else _IDLE_S)
            try:
                with self.busy:
                    version = self._version()
                    if version != known:
                        known, changed_at, looked_at = version, now, now
                        self._look()
                    elif now - looked_at > _LOOK_ANYWAY_S:
                        looked_at = now
                        self._look()
                self._failed = False
            except Exception as error:  # whoever waits is told by the next call
                self._trouble(error)
        with self.busy:
            self._leave()

    def _rest(self, told: threading.Event) -> None:
        """Wait until somebody waits."""
        self._bell.clear()
        if not self._is_needed() and not told.is_set():
            self._bell.wait()

    def _trouble(self, error: Exception) -> None:
        if not self._failed:
            _log.warning("cannot look for new work: %s", error)
        self._failed = True
        with self.busy:
            self._leave()
        time.sleep(_PAUSE_S)
