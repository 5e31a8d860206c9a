"""Soft time limits inside coroutines: a cancellation that arrives as `SoftTimeLimitExceeded`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from stem_core.model.errors import SoftTimeLimitExceeded

__all__ = ["SoftLimitReached", "Softened"]


class SoftLimitReached(SoftTimeLimitExceeded, asyncio.CancelledError):
    """What is raised inside the coroutine.

    A `CancelledError` too, because the libraries that a task waits in, task groups
    above all, clean up after a cancellation and after nothing else.
    """


class Softened:
    """Awaits *coroutine* and can, once, raise `SoftTimeLimitExceeded` where it waits."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[Any] | None = None
        self._reached = False

    def reach(self) -> None:
        """The limit is over. To be called in the loop of the coroutine."""
        if self._task is not None and not self._task.done():
            self._reached = True
            self._task.cancel()

    def __await__(self) -> Generator[Any, Any, Any]:
        # What `await coroutine` does, but for what is thrown in: PEP 380's loop by hand.
        self._task = asyncio.current_task()
        try:
            awaited = self._coroutine.send(None)
            while True:
                try:
                    yield awaited
                except BaseException as error:
                    thrown = self._instead_of(error)
                    awaited = self._coroutine.throw(thrown)
                else:
                    awaited = self._coroutine.send(None)
        except StopIteration as done:
            return done.value
        finally:
            self._task = None
            self._coroutine.close()

    def _instead_of(self, thrown: BaseException) -> BaseException:
        if not (self._reached and isinstance(thrown, asyncio.CancelledError)):
            return thrown
        self._reached = False
        if self._task is not None:
            self._task.uncancel()
        return SoftLimitReached("the soft time limit is over")
