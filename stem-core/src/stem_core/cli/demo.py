"""`stem demo`: real files, real processes, and one of the workers is killed on the way.

One task for each file of a folder measures it. What is printed at the end is read from the
result backend, so a task that was lost anywhere on the way is missed there.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import click

from stem_core.cli.completing import broker_urls
from stem_core.cli.demo_files import files_of
from stem_core.cli.demo_place import BROKER, Place
from stem_core.cli.demo_report import (
    ROWS,
    for_people,
    for_programs,
    verdict,
)
from stem_core.cli.demo_scene import Scene, perform
from stem_core.cli.exits import ExitCode
from stem_core.cli.failures import telling_warnings
from stem_core.cli.parameters import argument, json_option, option, whole_number
from stem_core.cli.terminal import Paint
from stem_core.model.urls import StemURL

__all__ = ["demo"]


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
    default=4,
    show_default=True,
    help="How many files each worker measures at once.",
)
@option(
    "--processes",
    metavar="N",
    variable="STEM_DEMO_PROCESSES",
    type=whole_number(2, 16),
    default=2,
    show_default=True,
    help="How many worker processes there are, until one is killed.",
)
@option(
    "--broker",
    metavar="URL",
    variable=BROKER,
    shell_complete=broker_urls,
    help="Use this broker and its result backend, in a new namespace, and no file.",
)
@option(
    "--all",
    "show_all",
    variable="STEM_DEMO_ALL",
    is_flag=True,
    help=f"Show a row for every file, not for {ROWS} only.",
)
@option(
    "--keep",
    variable="STEM_DEMO_KEEP",
    is_flag=True,
    help="Keep the SQLite file, or the namespace, and say how to look at it.",
)
@json_option("DEMO")
def demo(
    folder: Path | None,
    concurrency: int,
    processes: int,
    broker: str | None,
    show_all: bool,
    keep: bool,
    as_json: bool,
) -> ExitCode:
    """Measure every file of FOLDER, one task each, and kill a worker on the way.

    Needs no server: a SQLite file in a temporary folder holds tasks and results, and
    worker processes find the hash, the lines and the words of each file. When half
    are done, one worker is killed in the middle of its tasks, by SIGKILL, which no
    program can resist. Another one takes them over, and nothing is lost.

    Without FOLDER it measures Stem's own sources. Links are not followed; __pycache__
    and .git are left out. One task fails twice on purpose and is retried, and a few
    take longer than they need. STEM_BROKER_URL and other settings play no part; with
    --broker those of TLS and of plugins do, for they lead there.

    The last line is a count. Lost are tasks without a result; run twice are those that
    were started again because their worker had died.

    Exit code 1 if any task is lost, fails for good or is committed twice, or if a
    worker does not come up.

    \b
    stem demo
    stem demo /usr/share/doc --processes 4
    stem demo --broker redis://localhost:6379/0
    """
    url = StemURL.parse(broker, source="--broker") if broker else None
    source = (folder or _own_sources()).resolve()
    found = files_of(source)
    if not found.files:
        raise click.BadParameter(f"there is no file in {str(source)!r}", param_hint="FOLDER")
    with _temporary_folder(keep=keep and url is None) as new:
        scene = Scene(
            source=source,
            found=found,
            processes=processes,
            concurrency=concurrency,
            folder=new,
            place=(
                Place.a_namespace(url, is_kept=keep) if url else Place.a_file(new, is_kept=keep)
            ),
        )
        return _show(scene, rows=len(found.files) if show_all else ROWS, keep=keep, as_json=as_json)


def _own_sources() -> Path:
    return Path(__file__).parent.parent


@contextmanager
def _temporary_folder(*, keep: bool) -> Iterator[Path]:
    """Give a new folder, which is removed at the end, however that comes."""
    folder = os.path.realpath(mkdtemp(prefix="stem-demo-"))
    try:
        yield Path(folder)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _show(scene: Scene, *, rows: int, keep: bool, as_json: bool) -> ExitCode:
    """Perform *scene*, print what came of it, and return the exit code."""
    # For a program standard output holds the results and nothing else.
    with telling_warnings():
        story = asyncio.run(perform(scene, sys.stderr if as_json else sys.stdout))
    look = list(scene.place.ways_to_look(story.example_id)) if keep else []
    if as_json:
        click.echo("\n".join(look), err=True, nl=bool(look))
        told = for_programs(story, kept=scene.place.name if keep else None)
        click.echo(json.dumps(told, indent=2))
    else:
        *lines, count = for_people(story, rows=rows, paint=Paint.of(sys.stdout))
        click.echo("\n".join([*lines, *look, count]))
    return verdict(story)
