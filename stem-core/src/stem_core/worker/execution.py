"""Calling a task's function, where it belongs and within its time.

Rule of this module: it calls and waits. What an exception means is `failures`; what
follows is `decide`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final

from stem_core.contracts.clock import Clock
from stem_core.model.options import Effective
from stem_core.worker.isolation.executor import ProcessCall, in_a_child
from stem_core.worker.isolation.pool import Children
from stem_core.worker.isolation.wire import Ended
from stem_core.worker.limits import Softened
from stem_core.worker.outcomes import Cause
from stem_core.worker.plans import Plan
from stem_core.worker.run import Run
from stem_core.worker.threads import CoroutineInThread, ThreadCall, Threads

__all__ = ["Executor"]

_log = logging.getLogger("stem.worker")

_PATIENCE_MS: Final = 5_000
"""How long a task that was told to end may take before it counts as stuck."""


class Executor:
    """Runs task functions in the loop, in threads or in child processes.

    Args:
        began: called with a run when its thread or process begins; those of the loop begin
            at once.
        stuck: called with a run that does not end although it was told to.
    """

    def __init__(
        self,
        threads: Threads,
        children: Children,
        clock: Clock,
        *,
        began: Callable[[Run], None],
        stuck: Callable[[Run], None],
    ) -> None:
        self.threads = threads
        self.children = children
        self._clock = clock
        self._began = began
        self._stuck = stuck

    async def call(self, run: Run, plan: Plan, arguments: dict[str, Any]) -> object:
        """Return what the task returns, or raise what it raises."""
        task = plan.task
        function = partial(task.fn, run.context) if task.wants_context else task.fn
        if plan.in_thread:
            kind = CoroutineInThread if task.is_async else ThreadCall
            return await self._in_thread(run, plan, kind(partial(function, **arguments)))
        if not task.is_async:
            return function(**arguments)
        if not plan.is_limited:
            return await function(**arguments)
        softened = Softened(function(**arguments))
        async with self._within_its_time(run, plan.effective, softened.reach):
            return await softened

    async def _in_thread(self, run: Run, plan: Plan, call: ThreadCall) -> object:
        loop, watches = asyncio.get_running_loop(), list[asyncio.Task[None]]()

        def begins() -> None:
            if run.call is call:  # else it is over for us
                self._began(run)
                if plan.is_limited:
                    watch = self._watch(run, plan.effective, call.soften)
                    watches.append(loop.create_task(watch))

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(begins)

        call.begins = tell
        run.call, run.queued = call, self.threads.submit(call)
        try:
            return await asyncio.wrap_future(run.queued)
        finally:
            self.threads.ended()
            run.call = None
            for watch in watches:
                watch.cancel()

    async def in_child(self, run: Run, plan: Plan) -> Ended:
        """Return how the task came out in a process of its own.

        Raises:
            ChildDied, NoChildren, UnknownTask: see `in_a_child`.
        """
        watches = list[asyncio.Task[None]]()

        def begins(call: ProcessCall) -> None:
            self._began(run)
            if plan.is_limited:
                watch = self._watch(run, plan.effective, call.soften)
                watches.append(asyncio.ensure_future(watch))

        try:
            return await in_a_child(run, plan.task.name, self.children, self._clock, begins)
        finally:
            for watch in watches:
                watch.cancel()

    @contextlib.asynccontextmanager
    async def _within_its_time(
        self, run: Run, effective: Effective, soften: Callable[[], None]
    ) -> AsyncIterator[None]:
        watch = asyncio.ensure_future(self._watch(run, effective, soften))
        try:
            yield
        finally:
            watch.cancel()

    async def _watch(self, run: Run, effective: Effective, soften: Callable[[], None]) -> None:
        soft_ms, hard_ms = effective.soft_limit_ms, effective.hard_limit_ms
        if soft_ms is not None:
            await self._clock.sleep(soft_ms)
            soften()
        if hard_ms is not None:
            await self._clock.sleep(hard_ms - (soft_ms or 0))
            run.end(Cause.HARD_LIMIT)
            await self.expect_the_end(run)

    async def expect_the_end(self, run: Run) -> None:
        """Give *run*, which was told to end, some time; then call it stuck.

        But not for a cancellation: it asks, and what it asks may take long or be refused.
        """
        await self._clock.sleep(_PATIENCE_MS)
        if run.outcome is not None:
            return
        if run.cause is Cause.CANCEL and run.elsewhere is not None:
            return  # it is killed when its grace is over
        if run.cause is Cause.CANCEL:
            _log.warning("%s was cancelled and goes on; it keeps its slot until it ends", run.label)
        else:
            self._stuck(run)
