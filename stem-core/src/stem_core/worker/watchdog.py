"""The watchdog: a thread that sees when the worker's loop does not turn.

A task that blocks the loop holds up its neighbours, and the keeper goes on renewing all of
their leases, for it must. So somebody has to say which task it is, and to end that at some
time. Rule of this module: it looks and tells; what follows is `shift`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from stem_core.contracts.clock import Clock
from stem_core.model.duration import format_ms
from stem_core.worker.exits import PATIENCE_MS
from stem_core.worker.leaving import aside
from stem_core.worker.run import Run
from stem_core.worker.saying import log_with_stack
from stem_core.worker.stacks import frame_of, run_in, stack_of

__all__ = ["Stall", "Watchdog", "longest_stall_ms"]

_log = logging.getLogger("stem.worker")

_TICK_MS: Final = 500
_FIRST_LINE_MS: Final = 1_000
_MOST_BETWEEN_LINES_MS: Final = 60_000


class Stall:
    """How long a loop has stood still, as seen by one who looks every *tick_ms*.

    Time in which nobody looked does not count: then the whole process stood still, stopped
    or swapped out, and no task of it is to blame.

    Attributes:
        stood_ms: since the loop was seen to turn.
        left_ms: how long it may go on like that, since it was told something that cannot
            wait for ever.
    """

    def __init__(self, tick_ms: int, now_ms: int) -> None:
        self._tick_ms = tick_ms
        self._seen_ms = now_ms
        self._next_line_ms: float = _FIRST_LINE_MS
        self.stood_ms = 0.0
        self.left_ms = math.inf

    def look(self, now_ms: int, *, has_turned: bool, within_ms: float = math.inf) -> None:
        """Take note of what is seen at *now_ms*; since the last look the loop was told
        something that it must hear *within_ms*, or nothing."""
        step_ms = min(now_ms - self._seen_ms, 2 * self._tick_ms)
        self._seen_ms = now_ms
        if has_turned:  # perhaps before it was told
            self.stood_ms, self.left_ms = 0.0, within_ms
            self._next_line_ms = _FIRST_LINE_MS
            return
        self.stood_ms += step_ms
        self.left_ms = min(self.left_ms - step_ms, within_ms)

    def wants_a_line(self) -> bool:
        """Say whether people should hear of it now: after 1, 10, 60, 120 … seconds."""
        if self.stood_ms < self._next_line_ms:
            return False
        self._next_line_ms = _line_after(self._next_line_ms)
        return True

    def is_over(self, longest_ms: float) -> bool:
        """Say whether nobody should wait for the loop any more."""
        return self.stood_ms >= longest_ms or self.left_ms <= 0


def _line_after(ms: float) -> float:
    return (
        min(10 * ms, _MOST_BETWEEN_LINES_MS)
        if ms < _MOST_BETWEEN_LINES_MS
        else ms + _MOST_BETWEEN_LINES_MS
    )


def longest_stall_ms(run: Run | None, limit_ms: float) -> float:
    """Return how long *run* may hold up the loop: no longer than its hard time limit either,
    and the patience that any task has when that is over."""
    hard_ms = None if run is None or run.plan is None else run.plan.effective.hard_limit_ms
    return limit_ms if hard_ms is None else min(limit_ms, hard_ms + PATIENCE_MS)


class Watchdog:
    """Watches the loop that starts it.

    Args:
        limit_ms: how long the loop may stand still.
        over: is called in the watchdog's thread when that is over, once for each time, with
            the run that holds up the loop if it is one.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        limit_ms: int,
        over: Callable[[Run | None], None],
        tick_ms: int = _TICK_MS,
    ) -> None:
        self._clock = clock
        self._limit_ms = limit_ms
        self._over = over
        self._tick_ms = tick_ms
        self._stopped = threading.Event()
        self._has_turned = True
        self._within_ms = math.inf
        self._is_told = False

    def start(self) -> None:
        """Watch the loop that runs, and the thread that it runs in."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        threading.Thread(target=self._watch, name="stem-watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()

    def told(self, within_ms: float) -> None:
        """Note that the loop was told something that it must hear *within_ms*, or it is over.
        From any thread, and from signal handlers."""
        self._within_ms = min(self._within_ms, within_ms)

    # ── in the watchdog's thread ─────────────────────────────────────────────

    def _watch(self) -> None:
        stall = Stall(self._tick_ms, self._clock.monotonic_ms())
        while not self._stopped.wait(self._tick_ms / 1000):
            try:
                self._look(stall)
            except Exception:  # a thread that nobody sees die is the worst of watchdogs
                _log.exception("the watchdog failed; it looks again")

    def _look(self, stall: Stall) -> None:
        has_turned, self._has_turned = self._has_turned, False
        within_ms, self._within_ms = self._within_ms, math.inf
        stall.look(self._clock.monotonic_ms(), has_turned=has_turned, within_ms=within_ms)
        if has_turned:
            self._is_told = False
            with contextlib.suppress(RuntimeError):  # the loop is closed, and all with it
                self._loop.call_soon_threadsafe(self._beat)
            return
        frame = frame_of(self._thread)
        run = run_in(frame)
        longest_ms = longest_stall_ms(run, self._limit_ms)
        is_over = stall.is_over(longest_ms) and not self._is_told
        if stall.wants_a_line() or is_over:
            level = logging.ERROR if is_over else logging.WARNING
            stack = stack_of(frame)
            # A log into a pipe that is full may be what blocks the loop, and would block us.
            aside(partial(_complain, level, run, stall.stood_ms, longest_ms, stack))
        if is_over:
            self._is_told = True
            self._over(run)

    def _beat(self) -> None:
        self._has_turned = True


def _complain(level: int, run: Run | None, stood_ms: float, longest_ms: float, stack: str) -> None:
    """Say who holds up the loop, and where; in the words that help whoever wrote the task."""
    who = "something that is no task of this worker" if run is None else run.label
    of_task = {} if run is None else {"id": run.id, "task": run.delivery.message.task}
    log_with_stack(
        level,
        f"the worker's event loop is blocked for {_seconds(stood_ms)} by {who}: await something, "
        f"or make the task a plain def. After {_seconds(longest_ms)} this worker is given up. "
        "It stands here:",
        stack,
        event="loop-blocked",
        stood_ms=int(stood_ms),
        **of_task,
    )


def _seconds(ms: float) -> str:
    return format_ms(round(ms / 1000) * 1000)
