"""One child as its worker sees it: started, spoken to, heard, and seen to die.

Rule of this module: it is about one process and decides nothing. Who starts and replaces
them is `pool`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from stem_core.worker.isolation.logs import write
from stem_core.worker.isolation.wire import (
    End,
    Ended,
    Frame,
    Frames,
    Line,
    Mark,
    Progressed,
    Published,
    Ready,
    Start,
    Stillborn,
    Stop,
    TellSoft,
    pack,
)
from stem_core.worker.outcomes import Cause
from stem_core.worker.run import Run

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

__all__ = ["Child", "ChildDied", "told_end"]

_log = logging.getLogger("stem.worker")

_LAST_WORDS_S: Final = 0.2
"""How long a dead child's last frames may take; longer only when a fork holds its socket."""


_LAST_TRACE_S: Final = 2.0
"""How long a child that failed to start may take to end by itself."""


class ChildDied(Exception):
    """The process of a task has ended, and the task with it. Never seen by users."""


class Child(asyncio.Protocol):
    """One process, from its start to its end. Belongs to the worker's loop.

    Args:
        begin: starts the process, with its end of the socket; returns it, and where it marks
            the task that it has begun.
        ready: called when it can run tasks.
        died: called once, when it has ended.

    Attributes:
        pid: of the process; 0 before there is one.
        tasks: the names that it knows; empty until it is ready.
        done: how many tasks it has run.
        rss: bytes of memory that it held after its last task.
        why: what it said of a start that failed.
        is_ready: it has loaded the application.
        is_doomed: it was killed, though it may not be dead yet.
    """

    def __init__(
        self,
        begin: Callable[[socket.socket], tuple[BaseProcess, Mark]],
        *,
        ready: Callable[[Child], None],
        died: Callable[[Child], None],
    ) -> None:
        self._begin = begin
        self._tell_ready = ready
        self._tell_died = died
        self._frames = Frames()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._watched: int | None = None
        self._is_deaf = False
        self._is_over = False
        self._run: Run | None = None
        self._around = contextvars.Context()
        self._ended: asyncio.Future[Ended] | None = None
        self.pid = 0
        self.tasks: frozenset[str] = frozenset()
        self.done = 0
        self.rss = 0
        self.why = ""
        self.is_ready = False
        self.is_doomed = False

    # ── its life ─────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start the process; it says itself when it is ready.

        Raises:
            OSError: the system has no room for it.
            Exception: what the process is to know cannot be pickled.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process, self._mark = self._begin(theirs)
            except BaseException:
                ours.close()
                self._is_over = True
                raise
        self.pid = self._process.pid or 0
        self._watched = _watchable(self._process)
        self._loop.add_reader(self._watched, self._exited)
        self._connecting = self._loop.create_task(self._connect(ours))

    async def _connect(self, ours: socket.socket) -> None:
        try:
            await self._loop.create_connection(lambda: self, sock=ours)
        except BaseException as error:  # mostly the loop is being closed: the process sees that
            self.why = self.why or f"the worker could not hear it: {error!r}"
            ours.close()
            raise

    @property
    def is_dead(self) -> bool:
        """True when nothing more comes of it."""
        return self._is_over

    @property
    def has_begun(self) -> bool:
        """True when the function of its last task was called, so that a death is the task's."""
        return self._mark.value == self.done

    def kill(self) -> None:
        """End it now, with all that its task has started."""
        self.is_doomed = True
        if self._is_over:
            return
        with suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
            return
        with suppress(OSError):  # it has not got as far as to lead a group
            os.kill(self.pid, signal.SIGKILL)

    def stop(self, patience_s: float) -> None:
        """Let it end like a program that is done; kill it when that takes long."""
        self._say(Stop())
        self._loop.call_later(patience_s, self.kill)

    def _exited(self) -> None:
        """The process is no more; what it has said before may still be on its way."""
        self._unwatch()
        self.kill()  # what it has started and not ended
        if self._is_deaf:
            self._over()
        else:
            self._loop.call_later(_LAST_WORDS_S, self._over)

    def _over(self) -> None:
        if self._is_over or self._watched is not None:
            return
        self._is_over = True
        if self._transport is not None:
            self._transport.abort()
        self.why = self.why or told_end(self._process.exitcode)
        with suppress(ValueError):  # it has not been waited for, as where SIGCHLD is ignored
            self._process.close()
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(ChildDied(self.why))
        self._tell_died(self)

    def _unwatch(self) -> None:
        watched, self._watched = self._watched, None
        if watched is not None:
            self._loop.remove_reader(watched)
            if watched != self._process.sentinel:
                os.close(watched)  # ours; a sentinel is closed with its process

    # ── its tasks ────────────────────────────────────────────────────────────

    async def call(self, run: Run) -> Ended:
        """Run the task of *run*; return how it came out.

        Raises:
            ChildDied: the process ended under it.
        """
        self._run, self._around = run, contextvars.copy_context()
        ended: asyncio.Future[Ended] = self._loop.create_future()
        self._ended = ended
        if self._is_over:
            raise ChildDied(self.why)
        self.done += 1
        self._say(Start(serial=self.done, delivery=run.delivery, started_ms=run.started_ms))
        try:
            return await ended
        finally:
            self._run = self._ended = None
            self._around = contextvars.Context()

    def soften(self) -> None:
        """Tell the task that its soft limit is over."""
        self._say(TellSoft(self.done))

    def tell_end(self, cause: Cause, reason: str) -> None:
        """Ask the task to end."""
        self._say(End(self.done, cause.name, reason))

    def _say(self, frame: Frame) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack(frame))

    # ── what it says ─────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hear what it says."""
        for frame in self._frames.feed(data):
            self._hear(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """It closed the socket, or ended: without it there is nothing that it is good for."""
        self._is_deaf = True
        if self._watched is not None:
            if self.is_ready:
                self.kill()
            else:  # Python is just writing what hindered it, which is all that people get to see
                self._loop.call_later(_LAST_TRACE_S, self.kill)
        else:
            self._over()

    def _hear(self, frame: Frame) -> None:
        match frame:
            case Ended():
                self.rss = frame.rss
                if self._ended is not None and not self._ended.done():
                    self._ended.set_result(frame)
            case Line():
                self._around.run(write, frame, self.pid)
            case Progressed(value) if self._run is not None:
                self._run.progress(self._run.id, self._run.delivery.receipt.fence, value)
            case Published(message) if self._run is not None:
                self._run.publish_now(message)
            case Ready(tasks):
                self.tasks, self.is_ready = tasks, True
                self._tell_ready(self)
            case Stillborn(why):
                self.why = why
            case _:  # of a task that is over
                pass


def _watchable(process: BaseProcess) -> int:
    """Return a descriptor that becomes readable when *process* ends.

    The sentinel of a spawned one is a pipe that what the task starts may hold open; that of
    a forkserver's is written by the server.
    """
    if process._start_method == "spawn" and hasattr(os, "pidfd_open"):  # type: ignore[attr-defined]
        with suppress(OSError):
            return os.pidfd_open(process.pid or 0)
    return process.sentinel


def told_end(code: int | None) -> str:
    """Return how a process ended, for people, by its exit code as `multiprocessing` gives it."""
    if code is None:
        return "its process ended"
    if code >= 0:
        return f"its process ended with exit code {code}"
    try:
        name = f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        name = f"signal {-code}"
    likely = ": the system does that when memory runs out" if -code == signal.SIGKILL else ""
    return f"its process was killed by {name}{likely}"
