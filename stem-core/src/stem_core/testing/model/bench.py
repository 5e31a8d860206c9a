"""Where a store stands while it is compared: its stage, one event loop, and its time.

Rule of this module: it knows the store's clock, virtual or real, and nothing of the model.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

from stem_core.contracts.broker import Broker
from stem_core.testing.contract.stage import Stage

__all__ = ["Bench", "StageFactory"]

R = TypeVar("R")
StageFactory = Callable[[], Stage | Awaitable[Stage]]


class Bench:
    """A fresh stage with two handles, as two processes would have them.

    On a real clock two instants cannot be told apart that lie closer than `slack_ms`, a
    quarter of a unit: nothing is done that near to a moment at which something changes, and
    a step during which such a moment came tells nothing.
    """

    def __init__(self, factory: StageFactory) -> None:
        self._runner: Final = asyncio.Runner()
        self._began_s: Final = time.monotonic()
        self._passed_ms = 0
        try:
            self.stage: Final = self.run(_opened(factory))
            self.handles: Final[list[Broker]] = [self.stage.broker, self.stage.sibling()]
        except BaseException:
            self._runner.close()
            raise
        self.slack_ms: Final = self.stage.unit_ms // 4 if self.stage.is_real else 0

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run *work* in the loop of this bench."""
        # Not by the runner: it sets its handler of signals anew each time, which takes longer
        # than most steps.
        return self._runner.get_loop().run_until_complete(work)

    def close(self) -> None:
        """Close the stage and the loop."""
        try:
            self.run(self.stage.aclose())
        finally:
            self._runner.close()

    def crash(self) -> None:
        """Close the second handle, which settles nothing, and open another one in its place."""
        self.run(self.handles[1].aclose())
        self.handles[1] = self.stage.sibling()

    # ── time ─────────────────────────────────────────────────────────────────

    @property
    def now_ms(self) -> int:
        """Milliseconds since this bench stands."""
        if self.stage.is_real:
            return round((time.monotonic() - self._began_s) * 1000)
        return self._passed_ms

    def let_pass(self, duration_ms: int) -> None:
        """Return when that much time has passed."""
        self.run(self.stage.let_pass(duration_ms))
        self._passed_ms += duration_ms

    def keep_clear_of(self, moments: Iterable[int]) -> None:
        """On a real clock, wait until no moment is near."""
        due = sorted(moments)
        while near := [each for each in due if abs(each - self.now_ms) <= self.slack_ms > 0]:
            self.let_pass(near[0] + self.slack_ms + 1 - self.now_ms)

    def was_slow(self, since_ms: int, moments: Iterable[int]) -> bool:
        """True when what began at *since_ms* and ended now may have met a moment."""
        took_ms = self.now_ms - since_ms
        is_near = any(since_ms <= each <= self.now_ms + self.slack_ms // 2 for each in moments)
        return self.stage.is_real and (is_near or took_ms > self.slack_ms)


async def _opened(factory: StageFactory) -> Stage:
    made: object = factory()
    stage = await made if inspect.isawaitable(made) else made
    if isinstance(stage, Stage) and stage.has_broker:
        return stage
    raise TypeError(
        f"the stage factory gave {stage!r}: give a function, plain or async, that returns "
        "a fresh stem_core.testing.Stage with a broker"
    )
