"""Running tasks in threads, and telling a thread to stop.

Python can only ask a thread to raise an exception at its next step of bytecode: a call
that blocks in C hears of it when it returns. So the threads are daemons of our own: those
of `concurrent.futures` are joined when the process ends, however long their call takes.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeAlias

from stem_core.model.errors import SoftTimeLimitExceeded
from stem_core.worker.limits import Softened

__all__ = ["Interrupted", "ThreadCall", "Threads"]


class Interrupted(BaseException):
    """Raised in a task's thread when it must end. No `Exception`: cleaning up is welcome,
    carrying on is not."""


class ThreadCall:
    """One call in a thread, with the caller's context variables; can be interrupted.

    Attributes:
        begins: called in the thread when the call begins, which may be long after it was
            queued.
    """

    begins: Callable[[], object] | None = None

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._thread: int | None = None

    def __call__(self) -> Any:
        with self._lock:
            self._thread = threading.get_ident()
        try:
            if self.begins is not None:
                self.begins()
            return self._context.run(self._call)
        except StopIteration as stop:  # no future can carry one
            raise RuntimeError("the task raised StopIteration") from stop
        finally:
            with self._lock:
                # Nothing may hit this thread later, when it runs somebody else's task.
                _raise_in(self._thread, None)
                self._thread = None

    @property
    def thread(self) -> int | None:
        """Who makes the call, as `threading.get_ident` tells; None while nobody does."""
        return self._thread

    def soften(self) -> None:
        """Raise `SoftTimeLimitExceeded` in the call, if it runs."""
        self._raise(SoftTimeLimitExceeded)

    def interrupt(self) -> None:
        """Raise `Interrupted` in the call, if it runs."""
        self._raise(Interrupted)

    def _raise(self, kind: type[BaseException]) -> None:
        with self._lock:
            if self._thread is not None:
                _raise_in(self._thread, kind)


class CoroutineInThread(ThreadCall):
    """One coroutine in a thread, with a loop of its own."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        super().__init__(self._run)
        self._start = start
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._softened: Softened | None = None

    def _run(self) -> Any:
        return asyncio.run(self._body())

    async def _body(self) -> Any:
        self._softened = Softened(self._start())
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        return await self._softened

    def soften(self) -> None:
        """Raise `SoftTimeLimitExceeded` where the coroutine waits."""
        if self._softened is not None:
            self._in_its_loop(self._softened.reach)

    def interrupt(self) -> None:
        """Cancel the coroutine."""
        if self._task is not None:
            self._in_its_loop(self._task.cancel)

    def _in_its_loop(self, call: Callable[[], object]) -> None:
        with self._lock:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(call)


def _raise_in(thread: int | None, kind: type[BaseException] | None) -> None:
    exception = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread or 0), exception)


_Jobs: TypeAlias = "queue.SimpleQueue[tuple[ThreadCall, Future[Any]] | None]"


class Threads:
    """The threads of one worker; each is made when a call finds the others busy.

    Belongs to the worker's loop.
    """

    def __init__(self, most: int, name: str) -> None:
        self.most = most
        self._name = name
        self._calls = 0
        self._made = 0
        self._jobs: _Jobs = queue.SimpleQueue()

    def submit(self, call: ThreadCall) -> Future[Any]:
        """Queue *call* for the next free thread."""
        future: Future[Any] = Future()
        self._calls += 1
        self._jobs.put((call, future))
        if self._made < min(self._calls, self.most):
            self._made += 1
            name = f"{self._name}_{self._made}"
            threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True).start()
        return future

    def ended(self) -> None:
        """One call is over, whatever became of it."""
        self._calls -= 1

    def close(self) -> None:
        """Take no more calls, drop those that wait, and wait for none of those that run."""
        try:
            while True:
                if (job := self._jobs.get_nowait()) is not None:
                    job[1].cancel()
        except queue.Empty:
            pass
        for _ in range(self._made):
            self._jobs.put(None)


def _work(jobs: _Jobs) -> None:
    """Do one call after the other until there is a None."""
    while (job := jobs.get()) is not None:
        call, future = job
        if future.set_running_or_notify_cancel():
            try:
                value = call()
            except BaseException as error:  # it is the caller's, whatever it is
                future.set_exception(error)
            else:
                future.set_result(value)
                del value
        del job, call, future  # a thread that waits holds nothing of its last call
