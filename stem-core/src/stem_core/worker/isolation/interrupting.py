"""Telling the task of a child to end: in its coroutine, or by a signal in the main thread.

A signal reaches a plain function that blocks in a system call, as no exception from another
thread does. Rule of this module: nothing hits a task but the one that it is meant for.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

from stem_core.model.errors import SoftTimeLimitExceeded
from stem_core.worker.isolation.link import Link
from stem_core.worker.limits import Softened
from stem_core.worker.outcomes import Cause
from stem_core.worker.run import Run
from stem_core.worker.threads import Interrupted

__all__ = ["Interrupting"]

_SIGNAL: Final = signal.SIGUSR2
"""Not one that libraries count their time limits with."""


class Interrupting:
    """What the worker says of the task that runs. To be made in the main thread."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._main = threading.get_ident()
        self._lock = threading.Lock()
        self._run: Run | None = None
        self._serial = 0
        self._may_strike = False
        self._asked: tuple[int, BaseException] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._softened: Softened | None = None
        signal.signal(_SIGNAL, self._struck)

    # ── in the main thread ───────────────────────────────────────────────────

    @contextmanager
    def of(self, serial: int, run: Run) -> Iterator[None]:
        """Let the worker speak of *run*, by *serial*."""
        with self._lock:
            self._serial, self._run = serial, run
        try:
            yield
        finally:
            with self._lock:
                self._run = self._loop = self._task = self._softened = None

    @contextmanager
    def striking(self) -> Iterator[None]:
        """Here, in a plain function, an exception may be raised at any moment."""
        self._may_strike = True
        try:
            if self._run is not None and self._run.cause is Cause.SHUTDOWN:
                raise Interrupted("told to end before it began")
            yield
        finally:
            self._may_strike = False

    @contextmanager
    def cancelling(self, softened: Softened) -> Iterator[None]:
        """Here, in a coroutine, a cancellation may arrive wherever it waits."""
        with self._lock:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            self._softened = softened
            run = self._run
        if run is not None and run.cause is not None and self._task is not None:
            self._task.cancel()
        try:
            yield
        finally:
            with self._lock:
                self._loop = self._task = self._softened = None

    def _struck(self, number: int, frame: FrameType | None) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and asked[0] == self._serial and self._may_strike:
            self._link.strike(asked[1])

    # ── in the thread that hears the worker ──────────────────────────────────

    def soften(self, serial: int) -> None:
        """The soft limit of task *serial* is over."""
        with self._lock:
            if self._run is None or serial != self._serial:
                return
            if self._softened is not None:
                self._in_its_loop(self._softened.reach)
            else:
                self._strike(SoftTimeLimitExceeded("the soft time limit is over"))

    def end(self, serial: int, cause: Cause, reason: str) -> None:
        """Task *serial* is to end; a plain function that is cancelled is only told so."""
        with self._lock:
            run = self._run
            if run is None or serial != self._serial:
                return
            run.cancel_reason, run.wants_end, run.cause = reason, True, cause
            if self._task is not None:
                self._in_its_loop(self._task.cancel)
            elif cause is not Cause.CANCEL:
                self._strike(Interrupted("the worker shuts down"))

    def _in_its_loop(self, call: Callable[[], object]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # it has just been closed
                self._loop.call_soon_threadsafe(call)

    def _strike(self, error: BaseException) -> None:
        self._asked = (self._serial, error)
        signal.pthread_kill(self._main, _SIGNAL)
