"""Starting coroutines in the worker's loop, at once where Python can."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

__all__ = ["Spawn", "now", "soon"]

Spawn: TypeAlias = Callable[
    [Coroutine[Any, Any, None], asyncio.AbstractEventLoop], "asyncio.Task[None]"
]


def soon(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
    """Return a task that makes its first step at the next turn of the loop."""
    return asyncio.Task(work, loop=loop)


if sys.version_info >= (3, 12):

    def now(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        """Return a task that has made its first step: half the cost if that was its only one."""
        return asyncio.Task(work, loop=loop, eager_start=True)

else:
    now = soon
