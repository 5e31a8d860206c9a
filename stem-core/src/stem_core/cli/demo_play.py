"""`stem demo` while it runs: it watches the tasks, kills a worker among them and tells both.

Rule of this module: what is told was read from the broker, the result backend or the journal
of starts. No worker is asked: one that is killed could not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Final

import click

from stem_core.cli.demo_crew import KILLED_BY, Crew, Mate
from stem_core.cli.demo_journal import Journal, Start, now_ms
from stem_core.cli.demo_plot import Casualty, Lease, leases_in, taken_over, victim_of, was_left
from stem_core.cli.demo_tasks import LEASE_MS
from stem_core.cli.terminal import Paint, Progress, count_of, visible
from stem_core.contracts.messages import Located
from stem_core.model.outcome import Record
from stem_core.producer.lane import Lane

__all__ = ["Play", "seconds"]

_LOOK_S: Final = 0.03
_LOOK_AT_ALL_MS: Final = 2_000
_PATIENCE_MS: Final = 30_000
"""How long nothing at all may happen: no start, no end, and no lease that is renewed."""

_MOST: Final = 500


class Play:
    """The tasks of one demo and the workers that run them.

    Args:
        files: by the ids of their tasks.
        long_ids: the tasks in whose middle a worker is killed.
        killed: a file to make when that was done, for which they wait.

    Attributes:
        starts: every start that was noted.
        ended: the records of ended tasks, as they were when they were first seen.
        casualty: who was killed; None before.
        recovery_ms: from the kill until all that was held had been started elsewhere.
    """

    def __init__(
        self,
        lane: Lane,
        crew: Crew,
        journal: Journal,
        progress: Progress,
        paint: Paint,
        *,
        files: Mapping[str, str],
        long_ids: Sequence[str],
        killed: Path,
    ) -> None:
        self._lane: Final = lane
        self._crew: Final = crew
        self._journal: Final = journal
        self._progress: Final = progress
        self._paint: Final = paint
        self._files: Final = files
        self._long_ids: Final = long_ids
        self._killed: Final = killed
        self._waiting: Final = dict.fromkeys(files)
        self._running: Final = dict[str, None]()  # started and not known to have ended
        self._failures: Final = dict[str, int]()
        self._held: Mapping[Lease, int] = {}  # since when
        self._news_at_ms = self._life_at_ms = now_ms()
        self.starts: Final[list[Start]] = []
        self.ended: Final[dict[str, Record]] = {}
        self.casualty: Casualty | None = None
        self.recovery_ms: int | None = None

    async def until_all_ended(self) -> None:
        """Return when every task has ended, or is known to nobody any more.

        Raises:
            ClickException: a worker ended that nobody had killed, or no worker does anything.
        """
        while self._waiting:
            await self._look()
            if self._waiting:
                await asyncio.sleep(_LOOK_S)
        self._progress.end()

    async def _look(self) -> None:
        self._crew.check()
        self._hear(self._journal.news())
        if now_ms() - self._news_at_ms > _LOOK_AT_ALL_MS:
            await self._look_at_all()
        located = await self._look_at(tuple(self._running))
        self._check_life(located)
        self._tell_failures(located)
        if self.casualty is None:
            await self._kill_in_the_middle(located)
        elif self.recovery_ms is None:
            self._tell_recovery(self.casualty)

    def _hear(self, news: Sequence[Start]) -> None:
        if news:
            self._news_at_ms = now_ms()
        self.starts.extend(news)
        started = (start.task_id for start in news if start.task_id in self._waiting)
        self._running.update(dict.fromkeys(started))

    # ── what becomes of tasks ────────────────────────────────────────────────

    async def _look_at_all(self) -> None:
        """Look at those too that never started: a task may end, or be lost, before it does."""
        self._news_at_ms = now_ms()
        waiting = tuple(self._waiting)
        for start in range(0, len(waiting), _MOST):
            await self._look_at(waiting[start : start + _MOST])

    async def _look_at(self, ids: Sequence[str]) -> Mapping[str, Located]:
        """Note which of *ids* have ended; return where the others are."""
        self._note_ends(await self._lane.load(ids))
        ids = [id for id in ids if id in self._waiting]
        located = dict(zip(ids, await self._lane.lookup(ids), strict=True))
        unknown = [id for id, place in located.items() if place is None]
        # One may have ended between the two questions.
        self._note_ends(await self._lane.load(unknown))
        for id in unknown:
            self._forget(id)
        return {id: place for id, place in located.items() if place is not None}

    def _note_ends(self, records: Sequence[Record | None]) -> None:
        for record in records:
            if record is not None and record.state.is_terminal:
                self._note_end(record)

    def _note_end(self, record: Record) -> None:
        file = self._files[record.id]
        self.ended[record.id] = record
        self._forget(record.id)
        self._progress.show(len(self.ended), file)
        if record.id in self._failures:
            self._progress.say(
                f"  attempt {record.attempt} of {visible(file)} {record.state.value}"
            )

    def _forget(self, id: str) -> None:
        self._news_at_ms = self._life_at_ms = now_ms()
        self._waiting.pop(id, None)
        self._running.pop(id, None)

    def _check_life(self, located: Mapping[str, Located]) -> None:
        if any(place.lease_ms for place in located.values()):
            self._life_at_ms = now_ms()
        elif now_ms() - self._life_at_ms > _PATIENCE_MS:
            waiting = count_of(len(self._waiting), "task")
            raise click.ClickException(
                f"{waiting} wait, and no worker has touched any for {seconds(_PATIENCE_MS)}"
            )

    def _tell_failures(self, located: Mapping[str, Located]) -> None:
        for id, place in located.items():
            for error in place.errors[self._failures.get(id, 0) :]:
                file = visible(self._files[id])
                why = f"{error.type.rpartition('.')[2]}: {visible(error.message)}"
                self._progress.say(f"  attempt {error.attempt} of {file} failed: {why}")
            if place.errors:
                self._failures[id] = len(place.errors)

    # ── the kill, and after it ───────────────────────────────────────────────

    async def _kill_in_the_middle(self, located: Mapping[str, Located]) -> None:
        """Kill a worker once all long tasks have been started, and some are being run."""
        now = now_ms()
        self._held = {lease: self._held.get(lease, now) for lease in leases_in(located)}
        if self._waiting.keys() & self._long_ids <= self._running.keys():
            name = victim_of(self._held, now)
            if name is not None:
                await self._kill(self._crew[name])

    async def _kill(self, mate: Mate) -> None:
        await mate.kill()
        at_ms = now_ms()
        self._killed.touch()
        held = frozenset(await self._left_by(mate))
        self.casualty = Casualty(name=mate.name, pid=mate.pid, at_ms=at_ms, held=held)
        said = f"{mate} was killed by {KILLED_BY} in the middle of {count_of(len(held), 'task')}."
        self._progress.say(self._paint(said, "bad"))
        if held:
            stay = f"They stay leased to it for {seconds(LEASE_MS)} at most"
            self._progress.say(f"  {stay}: nobody is left to hand them back.")

    async def _left_by(self, mate: Mate) -> Iterator[str]:
        """Return the tasks that *mate*, who is dead, had started and not settled."""
        self._hear(self._journal.news())
        mine = [start for start in self.starts if start.pid == mate.pid]
        last = {start.task_id: start for start in mine if start.task_id in self._waiting}
        records = await self._lane.load(tuple(last))
        located = await self._lane.lookup(tuple(last))
        left = map(was_left, last.values(), records, located)
        return compress(last, left)

    def _tell_recovery(self, casualty: Casualty) -> None:
        anew = taken_over(casualty, self.starts)
        if not casualty.held or len(anew) < len(casualty.held):
            return
        self.recovery_ms = max(start.at_ms for start in anew.values()) - casualty.at_ms
        by = " and ".join(map(str, self._heirs(anew)))
        what = f"all {len(anew)}" if len(anew) > 1 else "it"
        said = f"{by} took over {what}, {seconds(self.recovery_ms)} after the kill"
        self._progress.say(f"{self._paint(said, 'good')}, when they were free.")

    def _heirs(self, anew: Mapping[str, Start]) -> Iterator[Mate]:
        for pid in dict.fromkeys(start.pid for start in anew.values()):
            yield self._crew.by_pid(pid)


def seconds(span_ms: int) -> str:
    """Return *span_ms* as people say it."""
    return f"{span_ms / 1000:.1f}s"
