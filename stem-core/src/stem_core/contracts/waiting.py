"""Waiting in an event loop for what others do at a server: for stores that are told of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from stem_core.contracts.clock import SYSTEM_CLOCK, Clock

__all__ = ["Nap", "started"]

T = TypeVar("T")


def started(call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Return a task that has made its first step, where Python can: what it sends is on its way."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(call, loop=asyncio.get_running_loop(), eager_start=True)
    return asyncio.ensure_future(call)


class Nap:
    """One coroutine that waits, again and again, to be woken or for its time.

    A wake that comes while nobody sleeps ends the next sleep.
    """

    __slots__ = ("_error", "_future", "_is_woken", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()
        self._error: Exception | None = None
        self._is_woken = False

    def wake(self, error: Exception | None = None) -> None:
        """End this sleep, or the next one; with *error*, by raising it."""
        self._error = self._error or error
        self._is_woken = True
        _finish(self._future)

    async def sleep(self, clock: Clock, until_ms: int) -> bool:
        """Return when woken, or at *until_ms* of the monotonic time of *clock*; say whether
        it was woken."""
        future = self._future
        alarm = self._alarm(clock, until_ms, future)
        try:
            await future
        finally:
            alarm.cancel()
            self._future = self._loop.create_future()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        is_woken, self._is_woken = self._is_woken, False
        return is_woken

    def _alarm(
        self, clock: Clock, until_ms: int, future: asyncio.Future[None]
    ) -> asyncio.Task[None] | asyncio.TimerHandle:
        if clock is SYSTEM_CLOCK:  # a task would have a turn of its own to be cancelled in
            left_s = max(0, until_ms - clock.monotonic_ms()) / 1000
            return self._loop.call_later(left_s, _finish, future)
        alarm = self._loop.create_task(_sleep_until(clock, until_ms))
        alarm.add_done_callback(lambda _: _finish(future))
        return alarm


async def _sleep_until(clock: Clock, until_ms: int) -> None:
    # Counted from here and not from the call: a task starts a little later.
    await clock.sleep(max(0, until_ms - clock.monotonic_ms()))


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
