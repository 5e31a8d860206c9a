"""Whose turn it is to write: a queue of processes before SQLite's own lock.

SQLite lets a process that finds the file locked sleep and try again, up to 100 ms at a
time, and whoever comes by first wins: with a dozen writers some of them starve for
seconds. So each writer first waits in the kernel, which wakes it the moment the one before
has finished. It is a courtesy among processes of Stem and nothing depends on it: the lock
that keeps the file whole is SQLite's, and the kernel takes this one from the dead.
"""

from __future__ import annotations

import os
from typing import Final

try:
    import fcntl
except ImportError:  # Windows: SQLite's own waiting has to do
    fcntl = None  # type: ignore[assignment]

__all__ = ["NoTurn", "Turn"]


class Turn:
    """The turn to write to the file at *path*, taken and given back by one thread at a time."""

    def __init__(self, path: str) -> None:
        self._path: Final = f"{path}-turn"
        self._file: int | None = None
        self._works = fcntl is not None

    def take(self, *, wait: bool = True) -> bool:
        """Take the turn; without *wait* say whether it could be had at once."""
        if not self._works:
            return True
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
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
        if self._file is not None:
            os.close(self._file)
            self._file = None


class NoTurn(Turn):
    """For a store that no other process can write to."""

    def __init__(self) -> None:
        super().__init__("")
        self._works = False
