"""What a fork does to memory: the child gets a copy that nobody else sees.

A child that went on with its parent's messages would run them a second time, so
a store starts anew there, with new locks. The parent holds every lock while it
forks, so that no lock is copied in the hands of a thread that the child lacks.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet

__all__ = ["watch"]


class _Guarded(Protocol):
    lock: threading.Lock

    def after_fork(self) -> None: ...


_watched: WeakSet[_Guarded] = WeakSet()
_watched_lock = threading.Lock()
_held: list[_Guarded] = []


def watch(store: _Guarded) -> None:
    """Call *store.after_fork* in every child of this process, while the store lives."""
    with _watched_lock:
        _watched.add(store)


def _before() -> None:
    _watched_lock.acquire()
    _held.extend(_watched)
    for store in _held:
        store.lock.acquire()


def _in_parent() -> None:
    while _held:
        _held.pop().lock.release()
    _watched_lock.release()


def _in_child() -> None:
    global _watched_lock
    _watched_lock = threading.Lock()
    while _held:
        _held.pop().after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
