"""Running tasks in threads, and telling a thread to stop.

Python can only ask a thread to raise an exception at its next step of bytecode: a call
that blocks in C hears of it when it returns.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from stem_core.model.errors import SoftTimeLimitExceeded
from stem_core.worker.limits import Softened

__all__ = ["Interrupted", "ThreadCall", "Threads"]


class Interrupted(BaseException):
    """Raised in a task's thread when it must end. No `Exception`: cleaning up is welcome,
    carrying on is not."""


class ThreadCall:
    """One call in a thread, with the caller's context variables; can be interrupted."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._thread: int | None = None

    def __call__(self) -> Any:
        with self._lock:
            self._thread = threading.get_ident()
        try:
            return self._context.run(self._call)
        except StopIteration as stop:  # no future can carry one
            raise RuntimeError("the task raised StopIteration") from stop
        finally:
            with self._lock:
                # Nothing may hit this thread later, when it runs somebody else's task.
                _raise_in(self._thread, None)
                self._thread = None

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


class Threads:
    """The threads of one worker; made when the first plain function comes."""

    def __init__(self, most: int, name: str) -> None:
        self.most = most
        self._name = name
        self._calls = 0
        self._pool: ThreadPoolExecutor | None = None

    @property
    def has_queue(self) -> bool:
        """True when calls wait for a free thread."""
        return self._calls > self.most

    def submit(self, call: ThreadCall) -> Future[Any]:
        """Queue *call* for the next free thread."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.most, thread_name_prefix=self._name)
        self._calls += 1
        return self._pool.submit(call)

    def ended(self) -> None:
        """One call is over, whatever became of it."""
        self._calls -= 1

    def close(self) -> None:
        """Take no more calls, drop those that wait, and wait for none of those that run."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
