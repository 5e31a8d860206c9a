"""A lock that a fork cannot leave shut.

A thread that holds a lock while another one forks does not exist in the child, and
so could never open it there. Rule of this module: what such a lock guards must bear
being made once more by the child.
"""

from __future__ import annotations

import os
import threading
from weakref import WeakSet

__all__ = ["ForkSafeLock"]


class ForkSafeLock:
    """A re-entrant lock, as a context manager; open in every forked child."""

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _all.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Be open, whoever held it: for the only thread of a forked child."""
        self._lock = threading.RLock()


_all: WeakSet[ForkSafeLock] = WeakSet()


def _in_child() -> None:
    for lock in list(_all):
        lock.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_in_child)
