"""Waiting in an event loop for what other loops and threads do in the store."""

from __future__ import annotations

import asyncio
import contextlib

from stem_core.contracts.clock import Clock

__all__ = ["Nap"]


class Nap:
    """One coroutine that waits, again and again, to be woken or for its time.

    Belongs to the loop it is made in; `wake` may come from anywhere.
    """

    __slots__ = ("_future", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> None:
        """End this wait, or the next one if none is going on."""
        if _running_loop() is self._loop:
            _finish(self._future)
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there
            self._loop.call_soon_threadsafe(_finish, self._future)

    async def wait(self) -> None:
        """Return when woken."""
        try:
            await self._future
        finally:
            self._future = self._loop.create_future()

    async def sleep(self, clock: Clock, until_ms: int) -> None:
        """Return when woken, or at *until_ms* of the monotonic time of *clock*."""
        future = self._future
        alarm = self._loop.create_task(_sleep_until(clock, until_ms))
        alarm.add_done_callback(lambda _: _finish(future))
        try:
            await self.wait()
        finally:
            if not self._loop.is_closed():  # else this is the garbage collector's last word
                alarm.cancel()


async def _sleep_until(clock: Clock, until_ms: int) -> None:
    # Counted from here and not from the call: a task starts a little later.
    await clock.sleep(max(0, until_ms - clock.monotonic_ms()))


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
