"""Running what may have ended a worker with nothing beside it, where no child can run it.

A message whose lease has lapsed may be what ended the worker that held it, or may only have
been there. If it ends the next one too, it shall be known that nothing else did. So it
waits until this worker holds nothing more, runs, and only then others are taken. Rule of this
module: of several such messages one is kept, and the others are handed back without blame,
for whoever is held beside it would lapse with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from stem_core.contracts.clock import Clock
from stem_core.worker.run import Run
from stem_core.worker.slots import Slots

__all__ = ["Alone"]

_PATIENCE_MS: Final = 30_000
"""How long a suspect waits for what runs already; then it may be taken elsewhere."""


class Alone:
    """Keeps one suspect at a time apart. Belongs to the worker's loop.

    Args:
        is_elsewhere: says of a run whether it has a process of its own anyway, or never runs.
        start: starts a run.
        hand_back: settles a run as handed back; the second argument is after how long.

    Attributes:
        suspect: the run that waits to be alone, or is.
    """

    def __init__(
        self,
        slots: Slots,
        clock: Clock,
        *,
        is_elsewhere: Callable[[Run], bool],
        start: Callable[[Run], None],
        hand_back: Callable[[Run, int], None],
    ) -> None:
        self._slots = slots
        self._clock = clock
        self._is_elsewhere = is_elsewhere
        self._start = start
        self._hand_back = hand_back
        self._waiting: asyncio.Task[None] | None = None
        self.suspect: Run | None = None

    def sort(self, runs: Sequence[Run]) -> list[Run]:
        """Return those of *runs* that may start among others; take care of the rest."""
        if self.suspect is None and not any(run.delivery.lapses for run in runs):
            return list(runs)
        suspects = [run for run in runs if self._is_suspect(run)]
        if self.suspect is not None:  # a fetch that was on its way
            return self._only(runs, not_these=[run for run in runs if not self._never_runs(run)])
        if not suspects:
            return list(runs)
        first = max(suspects, key=lambda run: run.delivery.lapses)
        self._keep(first)
        return self._only([run for run in runs if run is not first], not_these=suspects)

    def _is_suspect(self, run: Run) -> bool:
        return bool(run.delivery.lapses) and not (self._never_runs(run) or self._is_elsewhere(run))

    def _never_runs(self, run: Run) -> bool:
        """It is poison: its end is written down, and nothing called."""
        return run.delivery.lapses >= run.delivery.message.max_lapses

    def _only(self, runs: Sequence[Run], *, not_these: Sequence[Run]) -> list[Run]:
        for run in not_these:
            if run is not self.suspect:
                self._hand_back(run, 0)
        return [run for run in runs if run not in not_these]

    def _keep(self, run: Run) -> None:
        self.suspect = run
        self._slots.close()
        self._waiting = asyncio.get_running_loop().create_task(self._start_alone(run))

    async def _start_alone(self, run: Run) -> None:
        waits = [
            asyncio.ensure_future(self._is_alone()),
            asyncio.ensure_future(self._clock.sleep(_PATIENCE_MS)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        if waits[0].done() and not waits[0].cancelled():
            self._start(run)
        else:
            self._hand_back(run, _PATIENCE_MS)

    async def _is_alone(self) -> None:
        while self._slots.running > 1 or self._slots.unsettled:
            await self._slots.changed()

    def over(self) -> None:
        """The suspect has ended, and did not take this worker with it: others may come."""
        self.suspect = None
        self._slots.open()

    def leave(self) -> None:
        """Hand the suspect back if it still waits: the worker takes nothing more."""
        run, waiting = self.suspect, self._waiting
        if run is not None and waiting is not None and not waiting.done():
            waiting.cancel()
            self._hand_back(run, 0)
