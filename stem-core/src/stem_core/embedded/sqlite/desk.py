"""A desk: one thread that does, in order, what callers in many event loops ask for.

SQLite calls wait for locks and disks, which an event loop must not. What callers ask for
while the thread is busy is done together afterwards: that is where batches come from.
Rule of this module: it knows neither SQL nor verbs.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final

__all__ = ["Desk", "Job"]

_TOGETHER: Final = 128


class Job:
    """One call that a desk makes for somebody.

    Attributes:
        verb, args: the call; the desk adds what it stands on as the first argument.
        glance: a cheaper call, tried first: what it returns, unless None, is the outcome.
        lost: is called with the outcome, in any thread, when nobody is there to take it.
    """

    __slots__ = (
        "_future", "_is_made", "_loop", "args", "error", "glance", "lost", "outcome", "verb",
    )  # fmt: skip

    def __init__(
        self,
        verb: Callable[..., Any],
        args: tuple[Any, ...],
        *,
        glance: Callable[..., Any] | None = None,
        lost: Callable[[Any], None] | None = None,
        is_awaited: bool = True,
    ) -> None:
        self.verb: Final = verb
        self.args: Final = args
        self.glance: Final = glance
        self.lost: Final = lost
        self.outcome: Any = None
        self.error: Exception | None = None
        self._is_made = False
        self._loop: Final = asyncio.get_running_loop() if is_awaited else None
        self._future: Final[asyncio.Future[Any] | None] = (
            self._loop.create_future() if self._loop is not None else None
        )

    def made(self, outcome: Any) -> None:
        """Note what the call has returned."""
        self.outcome = outcome
        self._is_made = True

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Where somebody waits for it."""
        return self._loop

    @property
    def is_wanted(self) -> bool:
        """False once whoever asked has gone."""
        return self._future is None or not self._future.done()

    async def done(self) -> Any:
        """Return the outcome. Cancelling this before the call is made prevents it."""
        assert self._future is not None
        try:
            return await self._future
        except asyncio.CancelledError:
            # The outcome had come, and the caller is torn away all the same.
            if self._future.done() and not self._future.cancelled():
                self._lose()
            raise

    def hand_over(self) -> None:
        """Give the outcome to whoever waits. To be called in the loop of the job."""
        assert self._future is not None
        if self._future.done():
            self._lose()
        elif self.error is not None:
            self._future.set_exception(self.error)
        else:
            self._future.set_result(self.outcome)

    def _lose(self) -> None:
        if self.lost is not None and self._is_made:
            self.lost(self.outcome)

    def abandon(self) -> None:
        """Nobody can take the outcome: the loop of the job is closed."""
        self._lose()


class Desk:
    """Does jobs in a thread that is started by the first and ends with `stop`.

    Args:
        name: of the thread.
        work: does jobs and notes their outcomes; never raises. Its second argument gives
            what was asked for meanwhile, to be done with them.
        leave: is called in the thread when it ends.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[Job], Callable[[], list[Job]]], None],
        leave: Callable[[], None],
    ) -> None:
        self._name: Final = name
        self._work: Final = work
        self._leave: Final = leave
        self._jobs: Final[SimpleQueue[Job | None]] = SimpleQueue()
        self._lock: Final = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_told = False
        self.busy: Final = threading.Lock()

    async def ask(
        self,
        verb: Callable[..., Any],
        *args: Any,
        glance: Callable[..., Any] | None = None,
        lost: Callable[[Any], None] | None = None,
    ) -> Any:
        """Return what *verb* returns."""
        job = Job(verb, args, glance=glance, lost=lost)
        self._put(job)
        return await job.done()

    def begin_here(self) -> bool:
        """Keep the desk from working, for a caller who works in its own thread, if it has
        nothing to do; to be ended by `end_here`."""
        return self._jobs.empty() and self.busy.acquire(blocking=False)

    def end_here(self) -> None:
        """Let the desk work again."""
        self.busy.release()

    def post(self, verb: Callable[..., Any], *args: Any) -> None:
        """Let *verb* be done; nobody waits for it."""
        self._put(Job(verb, args, is_awaited=False))

    def stop(self) -> threading.Thread | None:
        """Let the thread end once all that was asked for is done; return it."""
        with self._lock:
            if self._thread is not None:
                self._is_told = True
                self._jobs.put(None)  # wakes it
            return self._thread

    def _put(self, job: Job) -> None:
        with self._lock:
            self._jobs.put(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name=self._name, daemon=True)
                self._thread.start()

    # ── in the thread ────────────────────────────────────────────────────────

    def _main(self) -> None:
        while True:
            jobs = self._next()
            if jobs:
                with self.busy:
                    self._work(jobs, partial(self._gather, jobs))
                _deliver(jobs)
            del jobs  # what is done must not be kept while the desk waits
            if self._is_told and self._has_left():
                return

    def _has_left(self) -> bool:
        """Leave, unless something was asked for after the stop: then after that."""
        if not self._jobs.empty():
            return False
        with self.busy:
            self._leave()
        with self._lock:
            if not self._jobs.empty():
                return False
            self._is_told, self._thread = False, None
            return True

    def _next(self) -> list[Job]:
        """Wait for a job, or for the stop; return it with those behind it."""
        job = self._jobs.get()
        jobs = [] if job is None else [job]
        self._gather(jobs)
        return jobs

    def _gather(self, jobs: list[Job]) -> list[Job]:
        """Add to *jobs* what has been asked for since, up to a bound; return what was added."""
        before = len(jobs)
        with contextlib.suppress(Empty):
            while len(jobs) < _TOGETHER:
                job = self._jobs.get_nowait()
                if job is not None:
                    jobs.append(job)
        return jobs[before:]


def _deliver(jobs: Sequence[Job]) -> None:
    """Hand over outcomes, with one call for each loop."""
    loops: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        if job.loop is not None:
            loops.setdefault(job.loop, []).append(job)
    for loop, theirs in loops.items():
        try:
            loop.call_soon_threadsafe(_hand_over, theirs)
        except RuntimeError:  # the loop is closed
            for job in theirs:
                job.abandon()


def _hand_over(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.hand_over()
