"""The one background loop of this process, for code without an event loop.

Rule of this module: a daemon thread, so that it never keeps a program alive; made
anew after a fork, which copies no threads.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from stem_core.model.errors import UseAwait

__all__ = ["background_loop", "refuse_in_loop", "run"]

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_of_parent: list[asyncio.AbstractEventLoop | None] = []


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run *coroutine* in the background loop and wait here for what it returns.

    Raises:
        UseAwait: inside a running event loop, which waiting would stop.
    """
    try:
        refuse_in_loop()
    except UseAwait:
        coroutine.close()
        raise
    future = asyncio.run_coroutine_threadsafe(coroutine, background_loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()  # an interrupted wait stops what it waited for
        raise


def refuse_in_loop() -> None:
    """Raise `UseAwait` inside a running event loop."""
    if asyncio._get_running_loop() is not None:
        raise UseAwait(
            "a blocking call inside a running event loop would stop it",
            way_out="Leave out .blocking and write await.",
        )


def background_loop() -> asyncio.AbstractEventLoop:
    """Return the loop of this process that runs in a thread of its own, starting it if needed."""
    global _loop
    with _lock:
        if _loop is None:
            loop, started = asyncio.new_event_loop(), threading.Event()
            loop.call_soon(started.set)
            threading.Thread(target=loop.run_forever, name="stem-blocking", daemon=True).start()
            started.wait()
            _loop = loop  # not before: a thread that could not start must not be waited for
        return _loop


def _after_fork() -> None:
    global _loop, _lock
    # Kept: its destructor would take the parent's file descriptors out of the shared poll.
    _of_parent.append(_loop)
    _loop, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_after_fork)
