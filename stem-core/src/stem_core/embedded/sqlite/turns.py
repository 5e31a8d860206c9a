"""Whose turn it is to write: a queue of processes before SQLite's own lock.

SQLite lets a process that finds the file locked sleep and try again, up to 100 ms at a
time, and whoever comes by first wins: with a dozen writers some of them starve for
seconds. So each writer first waits in the kernel, which wakes it the moment the one before
has finished. It is a courtesy among processes of Stem and nothing depends on it: the lock
that keeps the file whole is SQLite's, the kernel takes this one from the dead, and nobody
waits for it longer than a moment.
"""

from __future__ import annotations

import contextlib
import os
import threading
from queue import SimpleQueue
from typing import Any, Final

__all__ = ["NoTurn", "Turn"]


def _locks() -> Any:
    """Return the kernel's locks; None on Windows, where SQLite's own waiting has to do."""
    try:
        import fcntl
    except ImportError:
        return None
    return fcntl


fcntl: Final[Any] = _locks()

_LONGEST_S: Final = 1.0
"""Whoever holds the turn for longer is stopped or strange: go on without it."""


class Turn:
    """The turn to write to the file at *path*, taken and given back by one thread at a time."""

    def __init__(self, path: str) -> None:
        self._path: Final = f"{path}-turn"
        self._file: int | None = None
        self._works = fcntl is not None
        self._queue: _Queue | None = None

    def take(self, *, wait: bool = True) -> bool:
        """Take the turn; without *wait* say whether it could be had at once.

        With *wait* it is taken, or it is not to be had and one goes on without it.
        """
        if not self._works:
            return True
        try:
            if self._file is None:
                self._file = os.open(self._path, _HOW, 0o660)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait and self._file is not None:
                self._queue = self._queue or _Queue()
                self._queue.wait(self._file)
            return wait
        except OSError:  # no such locks here, or no right to make the file
            self.close()
            self._works = False
        return True

    def give_back(self) -> None:
        """Let the next one write."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; the next `take` opens it again."""
        self._queue = None
        if self._file is not None:
            os.close(self._file)
            self._file = None


_HOW: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class _Queue:
    """Waits for a lock of the kernel, which knows no time limit, for a limited time: in a thread
    that gives the lock back if it comes when nobody waits any more."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._asked: Final[SimpleQueue[tuple[int, threading.Event]]] = SimpleQueue()
        self._given_up: set[threading.Event] = set()
        threading.Thread(target=self._main, name="stem-sqlite-turn", daemon=True).start()

    def wait(self, file: int) -> None:
        """Return when *file* is locked, or after a while all the same."""
        if self._given_up:  # the one before is still waited for
            return
        came = threading.Event()
        self._asked.put((file, came))
        if not came.wait(_LONGEST_S):
            with self._lock:
                if not came.is_set():
                    self._given_up.add(came)

    def _main(self) -> None:
        while True:
            file, came = self._asked.get()
            with contextlib.suppress(OSError):  # closed meanwhile
                fcntl.flock(file, fcntl.LOCK_EX)
            with self._lock:
                came.set()
                if came in self._given_up:
                    self._given_up.discard(came)
                    _unlock(file)


def _unlock(file: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)


class NoTurn(Turn):
    """For a store that no other process can write to."""

    def __init__(self) -> None:
        super().__init__("")
        self._works = False
