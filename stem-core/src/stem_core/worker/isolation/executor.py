"""Running a delivery in a child: a call that can be softened, ended and killed.

Rule of this module: a task comes out as an outcome, or its process died. What the death
means for the message is `runner`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from stem_core.contracts.clock import Clock
from stem_core.model.errors import UnknownTask
from stem_core.worker.isolation.pool import Children
from stem_core.worker.isolation.process import Child, ChildDied
from stem_core.worker.isolation.wire import Ended
from stem_core.worker.outcomes import Cause
from stem_core.worker.run import Run

__all__ = ["ProcessCall", "in_a_child"]

_FAREWELL_MS: Final = 500
"""How long a task may clean up when its worker ends: less than the worker waits for it."""


class ProcessCall:
    """One task in one child, as `Run` ends it."""

    def __init__(self, child: Child, clock: Clock, cancel_grace_ms: int) -> None:
        self._child = child
        self._clock = clock
        self._cancel_grace_ms = cancel_grace_ms
        self._killing: asyncio.Task[None] | None = None
        self.soften: Final = child.soften

    def end(self, cause: Cause, reason: str) -> None:
        """End the task: ask first where there is time to, and kill it then."""
        self.close()
        match cause:
            case Cause.CANCEL:
                self._ask(cause, reason, self._cancel_grace_ms)
            case Cause.SHUTDOWN:
                self._ask(cause, reason, _FAREWELL_MS)
            case Cause.HARD_LIMIT | Cause.LEASE_LOST:
                self._child.kill()

    def _ask(self, cause: Cause, reason: str, grace_ms: int) -> None:
        self._child.tell_end(cause, reason)
        self._killing = asyncio.get_running_loop().create_task(self._kill_after(grace_ms))

    async def _kill_after(self, grace_ms: int) -> None:
        await self._clock.sleep(grace_ms)
        self._child.kill()

    def close(self) -> None:
        """Nothing is to be killed any more."""
        if self._killing is not None:
            self._killing.cancel()


async def in_a_child(
    run: Run,
    task: str,
    children: Children,
    clock: Clock,
    began: Callable[[ProcessCall], None],
) -> Ended:
    """Return how *task*, the task of *run*, came out in one of *children*.

    Raises:
        ChildDied: its process ended under it, by itself or because it was killed.
        NoChildren: there is none.
        UnknownTask: the application that a child imports does not have it.
    """
    while True:
        child = await _taken(run, children)
        try:
            return await _called(run, task, child, children, clock, began)
        except ChildDied:
            # Before the function was called it is no fault of the task: there are others.
            if child.has_begun or run.cause is not None:
                raise


async def _taken(run: Run, children: Children) -> Child:
    run.waits_for_child = True
    try:
        return await children.take()
    finally:
        run.waits_for_child = False


async def _called(
    run: Run,
    task: str,
    child: Child,
    children: Children,
    clock: Clock,
    began: Callable[[ProcessCall], None],
) -> Ended:
    call = ProcessCall(child, clock, children.terms.cancel_grace_ms)
    is_free = False
    try:
        if task not in child.tasks:
            is_free = True
            raise _unknown(task)
        run.elsewhere = call
        began(call)
        ended = await child.call(run)
        is_free = True
        return ended
    finally:
        run.elsewhere = None
        call.close()
        children.give_back(child, is_free=is_free)


def _unknown(task: str) -> UnknownTask:
    return UnknownTask(
        f"task {task!r} is not registered in a new process that imports the application",
        way_out="Register it where the Stem is made, or in a module that is imported there.",
    )
