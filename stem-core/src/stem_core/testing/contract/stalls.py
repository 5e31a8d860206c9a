"""Whether a test on the real clock had the time that it was meant to have.

Rule of this module: a failure counts at once unless the machine stood still meanwhile, and one
that comes back on a slower clock counts whatever the machine does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from attrs import define

from stem_core.testing.contract.misuse import Misuse
from stem_core.testing.contract.stage import Stage

__all__ = ["NotDone", "Stalls", "on_a_steady_clock"]

_RUNS: Final = 3
_MOST_UNIT_MS: Final = 5000
_PART_OF_A_UNIT: Final = 5
"""A loop that was late by more than this part of a unit may have spoiled what a test measures."""

_LOOKS_PER_UNIT: Final = 50


class NotDone(AssertionError):
    """A test hung: that is no question of some milliseconds."""


@define
class Stalls:
    """How long the loop of one run stood still at most, and what was a unit of time for it."""

    longest_ms: float = 0
    unit_ms: int = 0

    @property
    def excuse(self) -> bool:
        """True when a test that failed may have been right but for them."""
        return self.longest_ms * _PART_OF_A_UNIT > self.unit_ms > 0

    @contextmanager
    def seen_on(self, stage: Stage) -> Iterator[None]:
        """Look at the clock all the time, if *stage* goes by the real one."""
        if not stage.is_real:
            yield
            return
        self.unit_ms = stage.unit_ms
        loop = asyncio.get_running_loop()
        step_s = stage.unit_ms / 1000 / _LOOKS_PER_UNIT
        due_s = loop.time() + step_s
        timer: asyncio.TimerHandle

        def note() -> None:
            self.longest_ms = max(self.longest_ms, (loop.time() - due_s) * 1000)

        def look() -> None:
            nonlocal due_s, timer
            note()
            due_s = loop.time() + step_s
            timer = loop.call_at(due_s, look)

        timer = loop.call_at(due_s, look)  # no task: a test may count those
        try:
            yield
        finally:
            timer.cancel()
            note()  # a loop that stood still to the very end has not looked yet


def on_a_steady_clock(run: Callable[[int, Stalls], Coroutine[Any, Any, None]]) -> None:
    """Call *run* in a loop of its own; again, with a longer unit, if the loop stood still.

    *run* is given the least unit of time in milliseconds, and tells the stalls.

    Raises:
        Exception: what the last run raised, or the first that nothing excuses.
    """
    __tracebackhide__ = True
    failure: Exception | None = None
    least_unit_ms = 0
    for runs_left in reversed(range(_RUNS)):
        stalls = Stalls()
        try:
            asyncio.run(run(least_unit_ms, stalls))
        except Misuse as misuse:
            raise failure or misuse from None  # nobody asked the author for a second stage
        except NotDone:
            raise
        except Exception as error:
            failure, least_unit_ms = error, 2 * stalls.unit_ms
            if not (runs_left and stalls.excuse and least_unit_ms <= _MOST_UNIT_MS):
                raise
        else:
            return
