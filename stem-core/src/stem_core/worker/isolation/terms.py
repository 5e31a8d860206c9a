"""How many children a worker has, how they start, and when one of them has done enough."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal, TypeAlias

from attrs import frozen

from stem_core.producer.client import Stem

__all__ = ["App", "ChildTerms", "StartMethod", "cores"]

App: TypeAlias = Callable[[], Stem]
"""Imports the application in a new process, the way that the worker did. It is pickled."""

StartMethod: TypeAlias = Literal["spawn", "forkserver"]


@frozen(kw_only=True)
class ChildTerms:
    """How the children of one worker are.

    Attributes:
        app: imports the application; None when no new process could.
        why_not: why there is none, for people; empty when there is one.
        most: as many at a time.
        method: ``spawn`` begins with nothing, ``forkserver`` with what one process has
            imported already.
        max_tasks: one is replaced after so many; 0 for never.
        max_rss: one that holds more bytes of memory after a task is replaced; 0 for never.
        cancel_grace_ms: how long a task that was cancelled may go on.
        is_wanted: a task asks for one, so that the first is started with the worker.
        takes_suspects: what may have ended a worker before is run in a child, whatever its
            own isolation.
    """

    app: App | None = None
    why_not: str = ""
    most: int = 1
    method: StartMethod = "spawn"
    max_tasks: int = 0
    max_rss: int = 0
    cancel_grace_ms: int = 10_000
    is_wanted: bool = False
    takes_suspects: bool = False


def cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
