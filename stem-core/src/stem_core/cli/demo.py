"""`stem demo`: producer, broker, worker and result backend at work on real files.

One task for each file of a folder measures it; one of them fails twice on
purpose. What is printed at the end is read from the result backend, so a task
that was lost anywhere on the way is missed there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import click

from stem_core.cli.demo_files import Found, files_of
from stem_core.cli.demo_report import (
    ROWS,
    Outcome,
    for_people,
    for_programs,
    prologue,
    verdict,
)
from stem_core.cli.demo_tasks import measure, tasks
from stem_core.cli.exits import ExitCode
from stem_core.cli.parameters import argument, json_option, option, whole_number
from stem_core.cli.terminal import Paint, Progress, count_of, visible
from stem_core.contracts.observer import Event
from stem_core.model.duration import format_ms
from stem_core.model.settings import StemConfig
from stem_core.producer.client import Stem
from stem_core.worker.worker import Worker

__all__ = ["demo"]

_QUEUE: Final = "demo"
_DELIBERATE_FAILURES: Final = 2
_LOOK_AGAIN_S: Final = 2.0
_ENDS: Final = frozenset({"task-succeeded", "task-failed", "task-cancelled"})


@click.command(short_help="Run one task for each file of a folder, and watch.")
@argument(
    "folder",
    required=False,
    envvar="STEM_DEMO_FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@option(
    "-c",
    "--concurrency",
    metavar="N",
    variable="STEM_DEMO_CONCURRENCY",
    type=whole_number(1, 256),
    default=8,
    show_default=True,
    help="How many files are measured at once.",
)
@option(
    "--all",
    "show_all",
    variable="STEM_DEMO_ALL",
    is_flag=True,
    help=f"Show a row for every file, not for the first {ROWS} only.",
)
@json_option("DEMO")
def demo(folder: Path | None, concurrency: int, show_all: bool, as_json: bool) -> ExitCode:
    """Measure every file of FOLDER, one task each: its hash, its lines and its words.

    Needs no server: a producer, the memory:// broker, a worker and a result
    backend live in this process. Without FOLDER it measures Stem's own sources.
    Links are not followed; __pycache__ and .git are left out. One task fails
    twice on purpose and is retried. STEM_BROKER_URL and other settings play no part.

    Exit code 1 if any task is lost or fails for good.
    """
    place = (folder or _own_sources()).resolve()
    found = files_of(place)
    if not found.files:
        raise click.BadParameter(f"there is no file in {str(place)!r}", param_hint="FOLDER")
    # For a program standard output holds the results and nothing else.
    stage = sys.stderr if as_json else sys.stdout
    with _no_warnings():
        outcomes = asyncio.run(_perform(place, found, concurrency, stage))
    if as_json:
        click.echo(json.dumps(for_programs(outcomes), indent=2))
    else:
        rows = len(outcomes) if show_all else ROWS
        click.echo("\n".join(for_people(outcomes, rows=rows, paint=Paint.of(sys.stdout))))
    return verdict(outcomes)


def _own_sources() -> Path:
    return Path(__file__).parent.parent


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep to itself that memory:// ends with this process; here that is the point."""
    logger = logging.getLogger("stem")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


# ── the play ─────────────────────────────────────────────────────────────────


async def _perform(folder: Path, found: Found, concurrency: int, stage: IO[str]) -> list[Outcome]:
    """Enqueue a task for each file, run a worker until all have ended, read the results."""
    progress = Progress(stage, len(found.files), live=stage.isatty())
    for line in prologue(str(folder), found, concurrency):
        progress.say(line)
    async with Stem(broker="memory://demo", registry=tasks, config=StemConfig()) as stem:
        files = await _enqueue(stem, folder, found.files)
        progress.say(f"enqueued {count_of(len(files), 'task')}")
        watcher = _Watcher(files, progress)
        async with Worker(
            stem,
            queues=[_QUEUE],
            concurrency=concurrency,
            threads=concurrency,
            observers=[watcher],
        ):
            await _all_ended(stem, watcher)
        progress.end()
        return [Outcome(file, await stem.status(id)) for id, file in files.items()]


async def _enqueue(stem: Stem, folder: Path, files: Sequence[str]) -> dict[str, str]:
    """Enqueue one task for each of *files*; return the files by the ids of their tasks."""
    calls = [
        measure.call(str(folder / file), 0 if place else _DELIBERATE_FAILURES)
        for place, file in enumerate(files)
    ]
    jobs = await stem.enqueue_many(calls)
    return {job.id: file for job, file in zip(jobs, files, strict=True)}


async def _all_ended(stem: Stem, watcher: _Watcher) -> None:
    """Return when every task has ended, or is known to nobody any more."""
    while watcher.waiting:
        try:
            await asyncio.wait_for(watcher.finished.wait(), _LOOK_AGAIN_S)
        except TimeoutError:
            for id in tuple(watcher.waiting):
                status = await stem.status(id)
                if status is None or status.state.is_terminal:
                    watcher.waiting.discard(id)


class _Watcher:
    """Watches the tasks, as any observer may, and shows what it sees."""

    def __init__(self, files: Mapping[str, str], progress: Progress) -> None:
        self._files: Final = files
        self._progress: Final = progress
        self._failed: Final[set[str]] = set()
        self.waiting: Final = set(files)
        self.finished: Final = asyncio.Event()

    def on_event(self, event: Event, /) -> None:
        """Take note of what happened to a task of the demo."""
        file = self._files.get(event.task_id)
        if file is None:
            return
        if event.name == "task-retried":
            self._failed.add(event.task_id)
            again = f"again in {format_ms(event.detail['after_ms'])}"
            self._say(event, file, f"failed: {event.detail['error']}; {again}")
        elif event.name in _ENDS:
            if event.task_id in self._failed:
                self._say(event, file, event.name.removeprefix("task-"))
            self._end(event.task_id, file)

    def _say(self, event: Event, file: str, what: str) -> None:
        self._progress.say(f"  attempt {event.attempt} of {visible(file)} {visible(what)}")

    def _end(self, task_id: str, file: str) -> None:
        self.waiting.discard(task_id)
        self._progress.show(len(self._files) - len(self.waiting), file)
        if not self.waiting:
            self.finished.set()
