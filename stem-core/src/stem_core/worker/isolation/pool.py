"""The children of one worker: started before they are needed, replaced when they are done.

Rule of this module: it counts processes. What runs in them is `executor`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from typing import TYPE_CHECKING, Final

from stem_core.contracts.capabilities import Capabilities
from stem_core.contracts.clock import Clock, Dice
from stem_core.worker.isolation.process import Child
from stem_core.worker.isolation.terms import App, ChildTerms
from stem_core.worker.isolation.watch import Watch
from stem_core.worker.isolation.wire import Mark, Rules

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

__all__ = ["Children", "NoChildren"]

_log = logging.getLogger("stem.worker")

_FIRST_PAUSE_MS: Final = 500
_LONGEST_PAUSE_MS: Final = 30_000
_HOPELESS: Final = 3
"""Starts in a row that fail before nobody waits for a child any more."""

_LONGEST_START_S: Final = 60.0
_FAREWELL_S: Final = 5.0
_LAST_FAREWELL_S: Final = 1.0


class NoChildren(Exception):
    """No child comes up; its text says why."""


class Children:
    """Hands out children, each to one task at a time. Belongs to the worker's loop.

    There is one more than are needed, so that a task finds it ready.
    """

    def __init__(
        self, terms: ChildTerms, rules: Rules, capabilities: Capabilities, clock: Clock, dice: Dice
    ) -> None:
        self.terms = terms
        self._rules = rules
        self._capabilities = capabilities
        self._clock = clock
        self._dice = dice
        self._all: set[Child] = set()
        self._idle: list[Child] = []
        self._leaving: set[Child] = set()
        self._waiters: deque[asyncio.Future[Child]] = deque()
        self._busy = 0
        self._failures = 0
        self._fault = ""
        self._pausing: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._is_closed = False
        self._context: BaseContext | None = None
        self._watch = Watch()

    @property
    def fault(self) -> str:
        """Why no child comes up; empty when they do."""
        return self._fault if self._failures >= _HOPELESS else ""

    @property
    def takes_suspects(self) -> bool:
        """Whether what may have ended a worker is to run in a child. Not where the broker is
        in this process: the task could not reach it, as it can elsewhere."""
        return self.terms.takes_suspects and self._capabilities.multiprocess

    @property
    def pids(self) -> list[int]:
        """Those of the processes that live."""
        return [child.pid for child in (*self._all, *self._leaving)]

    def warm(self) -> None:
        """Start the first one."""
        self._fill()

    async def take(self) -> Child:
        """Return a child that is ready and nobody else's.

        Raises:
            NoChildren: none comes up.
        """
        while self._idle:
            child = self._idle.pop()
            if not child.is_doomed:
                return self._given(child)
        if self.fault:
            raise NoChildren(self.fault)
        waiter: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._fill()
        try:
            return self._given(await waiter)
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and not waiter.exception():
                self._offer(waiter.result())
            raise

    def _given(self, child: Child) -> Child:
        self._busy += 1
        self._fill()
        return child

    def give_back(self, child: Child, *, is_free: bool) -> None:
        """Its task has ended; one that is not *is_free* still has something of it, and is
        killed."""
        self._busy -= 1
        if not is_free or child.is_doomed:
            child.kill()
        elif self._is_spent(child):
            self._all.discard(child)
            self._leave(child, _FAREWELL_S)
            self._fill()
        else:
            self._offer(child)

    def _is_spent(self, child: Child) -> bool:
        most, most_rss = self.terms.max_tasks, self.terms.max_rss
        return bool((most and child.done >= most) or (most_rss and child.rss > most_rss))

    def _leave(self, child: Child, patience_s: float) -> None:
        if not child.is_dead:
            self._leaving.add(child)
            child.stop(patience_s)

    def _offer(self, child: Child) -> None:
        """Give *child* to whoever has waited longest, else keep it ready."""
        while self._waiters and not child.is_dead:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(child)
                return
        if not child.is_dead:
            self._idle.append(child)

    # ── starting ─────────────────────────────────────────────────────────────

    def _fill(self) -> None:
        """Start as many as are missing."""
        if self._is_closed or self._pausing is not None or self.terms.app is None:
            return
        wanted = min(self.terms.most, self._busy + len(self._waiters) + 1)
        while len(self._all) < wanted and self._pausing is None:
            self._start()

    def _start(self) -> None:
        child = Child(self._begin, ready=self._ready, died=self._died)
        self._all.add(child)
        try:
            child.start()
            self._watch.add(child.pid)
        except Exception as error:  # the system has no room, or the application no way to pickle
            child.why = f"a process cannot be started: {error}"
            self._died(child)
        else:
            asyncio.get_running_loop().call_later(_LONGEST_START_S, self._too_slow, child)

    def _too_slow(self, child: Child) -> None:
        if not child.is_ready and not child.is_dead:
            child.why = f"it did not load the application within {_LONGEST_START_S:.0f} s"
            child.kill()

    def _begin(self, end: socket.socket) -> tuple[BaseProcess, Mark]:
        from stem_core.worker.isolation.child import main

        assert self.terms.app is not None  # else nothing is started
        context = self._context = self._context or _context(self.terms.method, self.terms.app)
        mark = context.RawValue("Q", 0)
        arguments = (end, mark, self.terms.app, self._rules, self._capabilities)
        # Not a daemon for `multiprocessing`: those may not have children of their own.
        process = context.Process(  # type: ignore[attr-defined]
            target=main, args=arguments, name="stem-child", daemon=False
        )
        process.start()
        return process, mark

    def _ready(self, child: Child) -> None:
        if self._failures:
            _log.info("a child process came up again")
        self._failures, self._fault = 0, ""
        self._offer(child)

    def _died(self, child: Child) -> None:
        was_ours = child in self._all
        self._all.discard(child)
        self._leaving.discard(child)
        self._watch.remove(child.pid)
        self._changed.set()
        if child in self._idle:
            self._idle.remove(child)
        if was_ours and not child.is_ready and not self._is_closed:
            self._failed(child)
        self._fill()

    def _failed(self, child: Child) -> None:
        """It died before it was ready: the next one is tried after a pause."""
        self._failures += 1
        self._fault = child.why
        pause_ms = min(_LONGEST_PAUSE_MS, _FIRST_PAUSE_MS << min(self._failures - 1, 10))
        pause_ms = int(pause_ms * (0.5 + self._dice.roll() / 2))
        _log.error(
            "a child process did not come up, %d in a row; the next try is in %d ms: %s",
            self._failures,
            pause_ms,
            child.why,
        )
        if self._failures >= _HOPELESS:
            self._send_away()
        if self._pausing is None:
            self._pausing = asyncio.get_running_loop().create_task(self._pause(pause_ms))

    def _send_away(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(NoChildren(self._fault))
        self._waiters.clear()

    async def _pause(self, pause_ms: int) -> None:
        await self._clock.sleep(pause_ms)
        self._pausing = None
        self._fill()

    # ── the end ──────────────────────────────────────────────────────────────

    async def close(self) -> None:
        """End them all: those that have nothing to do gently, the others at once."""
        self._is_closed = True
        if self._pausing is not None:
            self._pausing.cancel()
        for child in list(self._all):
            if child in self._idle:
                self._leave(child, _LAST_FAREWELL_S)
            else:
                child.kill()
        while self._all or self._leaving:
            self._changed.clear()
            await self._changed.wait()
        self._watch.close()


def _context(method: str, app: App) -> BaseContext:
    import multiprocessing  # when it is needed: most workers have no children

    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(["stem_core.worker.isolation.server", *_module_of(app)])
    return context


def _module_of(app: App) -> list[str]:
    """Return the module that *app* imports, where it says so."""
    name = getattr(app, "module", "")
    return [name] if name and name != "__main__" else []
