"""What a fork does to an embedded store: the child gets a copy of what only one may have.

A child that went on with its parent's messages in memory would run them a second time, and
a child that used, or closed, its parent's handle of a file would break its locks. So every
store is brought to a stop while the process forks, and starts anew in the child.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet

__all__ = ["watch"]


class Guarded(Protocol):
    """A store that has to know of forks."""

    def before_fork(self) -> None:
        """Come to a stop: nothing may be locked or half done in the copy."""
        ...

    def after_fork_in_parent(self) -> None:
        """Go on."""
        ...

    def after_fork_in_child(self) -> None:
        """Begin anew; what there was belongs to the parent."""
        ...


_watched: WeakSet[Guarded] = WeakSet()
_watched_lock = threading.Lock()
_stopped: list[Guarded] = []


def watch(store: Guarded) -> None:
    """Tell *store* of every fork of this process, while it lives."""
    with _watched_lock:
        _watched.add(store)


def _before() -> None:
    _watched_lock.acquire()
    _stopped.extend(_watched)
    for store in _stopped:
        store.before_fork()


def _in_parent() -> None:
    while _stopped:
        _stopped.pop().after_fork_in_parent()
    _watched_lock.release()


def _in_child() -> None:
    global _watched_lock
    _watched_lock = threading.Lock()
    while _stopped:
        _stopped.pop().after_fork_in_child()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
