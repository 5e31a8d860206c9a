"""One performance of `stem demo`: a producer, the workers, what they share, and how it came out."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from attrs import frozen

from stem_core.cli.demo_crew import Crew, crew_of
from stem_core.cli.demo_files import Found
from stem_core.cli.demo_journal import Journal, run_twice
from stem_core.cli.demo_place import Place
from stem_core.cli.demo_play import Play, seconds
from stem_core.cli.demo_plot import LONGER_MS, is_another, long_ones
from stem_core.cli.demo_report import Outcome, Story, prologue
from stem_core.cli.demo_tasks import LEASE_MS, QUEUE, measure, tasks
from stem_core.cli.terminal import Paint, Progress, count_of
from stem_core.contracts.admin import BrokerAdmin
from stem_core.model.errors import StoreError
from stem_core.model.outcome import Record, TaskStatus
from stem_core.producer.client import Stem
from stem_core.producer.lane import Lane
from stem_core.producer.reading import recorded, status_of

__all__ = ["Scene", "perform"]

_DELIBERATE_FAILURES: Final = 2
_MOST: Final = 500


@frozen(kw_only=True)
class Scene:
    """Where it plays, and with how many.

    Attributes:
        source: the folder whose files are measured.
        found: these files.
        processes, concurrency: workers, and tasks at a time in each.
        folder: for everything that is written.
        place: for tasks and results.
    """

    source: Path
    found: Found
    processes: int
    concurrency: int
    folder: Path
    place: Place

    @property
    def journal(self) -> str:
        """Where every start is noted."""
        return str(self.folder / "starts.txt")

    @property
    def killed(self) -> str:
        """The file that is made when a worker was killed."""
        return str(self.folder / "killed")

    @property
    def long_ones(self) -> range:
        """The places of the tasks in whose middle a worker is killed."""
        return long_ones(len(self.found.files), self.processes * self.concurrency)


async def perform(scene: Scene, stage: IO[str]) -> Story:
    """Start workers, enqueue the tasks, watch until all have ended, read the results."""
    paint, progress = Paint.of(stage), Progress(stage, len(scene.found.files), live=stage.isatty())
    place = scene.place
    config = place.settings(os.environ)
    async with Stem(broker=place.url, registry=tasks, config=config) as stem:
        lane = await stem.lane()
        place.check(lane.broker)
        for line in prologue(str(scene.source), scene.found, place.introduced(), paint):
            progress.say(line)
        files = dict[str, str]()
        try:
            async with crew_of(scene.processes, place, scene.concurrency, scene.folder) as crew:
                progress.say(_introduction(scene, crew))
                files = await _enqueue(stem, scene)
                progress.say(_announcement(scene))
                play = Play(
                    lane,
                    crew,
                    Journal(scene.journal),
                    progress,
                    paint,
                    files=files,
                    long_ids=[id for at, id in enumerate(files) if at in scene.long_ones],
                    killed=Path(scene.killed),
                )
                await play.until_all_ended()
            # Only now: a worker that is gone commits nothing more.
            return await _story(lane, files, play)
        finally:
            if place.is_to_be_emptied:
                try:
                    await _empty(lane, tuple(files))
                except StoreError as error:  # what ended the demo is told, and not this instead
                    progress.say(f"The namespace {place.namespace} was not emptied: {error}")


def _introduction(scene: Scene, crew: Crew) -> str:
    names = ", ".join(map(str, crew.mates))
    return f"Workers: {names}; {count_of(scene.concurrency, 'task')} at a time each."


def _announcement(scene: Scene) -> str:
    enqueued = count_of(len(scene.found.files), "task")
    longer = f"{len(scene.long_ones)} made to take {seconds(LONGER_MS)} longer"
    return f"Enqueued {enqueued}, one made to fail twice, {longer}."


async def _enqueue(stem: Stem, scene: Scene) -> dict[str, str]:
    """Enqueue one task for each file; return the files by the ids of their tasks, in order."""
    files = scene.found.files
    jobs = await stem.enqueue_many(
        measure.call(
            str(scene.source / file),
            journal=scene.journal,
            failures=0 if place else _DELIBERATE_FAILURES,
            longer_ms=LONGER_MS if place in scene.long_ones else 0,
            until=scene.killed if place in scene.long_ones else "",
        )
        for place, file in enumerate(files)
    )
    return {job.id: file for job, file in zip(jobs, files, strict=True)}


# ── afterwards ───────────────────────────────────────────────────────────────


async def _empty(lane: Lane, ids: Sequence[str]) -> None:
    """Leave nothing of this demo in a store that others use too, however it ended."""
    admin = lane.broker.admin
    if admin is not None:
        if await _purge(admin):
            await asyncio.sleep(LEASE_MS / 1000)  # workers that are gone hold something
            await _purge(admin)
        dead = await admin.dead_letters(QUEUE, limit=_MOST)
        await admin.discard([letter.message.id for letter in dead.items])
    if lane.backend is not None:
        for chunk in _chunks(ids):
            await lane.backend.expire(chunk, ttl_ms=0)


async def _purge(admin: BrokerAdmin) -> bool:
    """Cancel all that waits; say whether something is still held."""
    while await admin.purge(QUEUE, limit=_MOST):
        pass
    return any(queue.leased for queue in await admin.stats([QUEUE]))


# ── the results ──────────────────────────────────────────────────────────────


async def _story(lane: Lane, files: Mapping[str, str], play: Play) -> Story:
    starts = Counter(start.task_id for start in play.starts)
    twice = run_twice(play.starts)
    records = await _records(lane, tuple(files))
    outcomes = [
        Outcome(
            file,
            await _status(lane, id, records[id]),
            starts=starts[id],
            is_run_twice=id in twice,
            is_committed_twice=is_another(records[id], play.ended.get(id)),
        )
        for id, file in files.items()
    ]
    return Story(outcomes=outcomes, casualty=play.casualty, recovery_ms=play.recovery_ms)


async def _records(lane: Lane, ids: Sequence[str]) -> dict[str, Record | None]:
    found: dict[str, Record | None] = {}
    for chunk in _chunks(ids):
        found |= zip(chunk, await lane.load(chunk), strict=True)
    return found


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _MOST] for start in range(0, len(ids), _MOST))


async def _status(lane: Lane, id: str, record: Record | None) -> TaskStatus | None:
    """Return what is known of *id*: its record, or else where the broker holds it."""
    if record is not None and record.state.is_terminal:
        return recorded(record)
    return await status_of(lane, id)
