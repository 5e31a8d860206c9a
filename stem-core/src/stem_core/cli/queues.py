"""`stem queues`: what waits where, and holding, releasing or emptying a queue."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import click

from stem_core.cli.batching import progress_on_terminal
from stem_core.cli.completing import queues as queue_names
from stem_core.cli.confirming import confirmed, refuse_unasked
from stem_core.cli.exits import ExitCode
from stem_core.cli.fates import telling
from stem_core.cli.moments import span
from stem_core.cli.operations import Operations, open_operations, warn_of_unknown
from stem_core.cli.parameters import app_option, argument, json_option, option
from stem_core.cli.program import TeachingGroup
from stem_core.cli.terminal import Paint, count_of, table, visible
from stem_core.contracts.admin import QueueStats
from stem_core.contracts.messages import Cancelled, Located, Place
from stem_core.model.ids import check_name
from stem_core.model.outcome import Record

# The record that a cancel saves is the record that a purge saves: made in one place.
from stem_core.producer.reading import cancelled_record

__all__ = ["queues"]

_COUNTS: Final = ("ready", "delayed", "parked", "leased", "dead")
_COLUMNS: Final = ("queue", *_COUNTS, "oldest", "")
_PAUSED: Final = "paused"


@click.group(cls=TeachingGroup, short_help="List, pause, resume or empty queues.")
def queues() -> None:
    """List, pause, resume or empty queues.

    \b
    stem queues list
    stem queues pause billing
    stem queues resume billing
    """


# ── looking ──────────────────────────────────────────────────────────────────


@queues.command("list", short_help="Show how much waits, runs and is dead in each queue.")
@argument("names", metavar="[QUEUE]...", nargs=-1, shell_complete=queue_names)
@app_option
@json_option("QUEUES_LIST")
def list_(names: tuple[str, ...], app: str | None, as_json: bool) -> None:
    """Show how much waits, runs and is dead in each queue, or in each QUEUE named.

    ready could start now, delayed waits for its time, parked waits for a worker that
    knows it, leased runs; oldest is how long the first of the ready ones has waited.

    \b
    stem queues list
    stem queues list billing reports --json
    """
    found = asyncio.run(_stats(app, _checked(names)))
    if as_json:
        totals = _totals(found)
        click.echo(json.dumps({**_for_programs(found), "totals": totals}, indent=2))
    else:
        click.echo("\n".join(_for_people(found, Paint.of(sys.stdout))))


async def _stats(app: str | None, names: Sequence[str]) -> Sequence[QueueStats]:
    async with open_operations(app) as operations:
        found = await operations.ask(operations.admin.stats, names)
        if names:
            await _warn_of_empty(operations, found)
        return found


async def _warn_of_empty(operations: Operations, found: Sequence[QueueStats]) -> None:
    """Warn of queues that nobody has ever used: a queue that is empty has at least been used."""
    unused = [each.queue for each in found if each == QueueStats(queue=each.queue)]
    if unused:
        await warn_of_unknown(operations, unused)


def _totals(found: Sequence[QueueStats]) -> dict[str, int]:
    sums = {name: sum(getattr(each, name) for each in found) for name in _COUNTS}
    return {**sums, "oldest_ms": max((each.oldest_ms for each in found), default=0)}


def _for_programs(found: Sequence[QueueStats]) -> dict[str, Any]:
    facts = [
        {
            "queue": each.queue,
            **{name: getattr(each, name) for name in _COUNTS},
            "oldest_ms": each.oldest_ms,
            "paused": each.paused,
        }
        for each in found
    ]
    return {"queues": facts}


def _for_people(found: Sequence[QueueStats], paint: Paint) -> Iterator[str]:
    if not found:
        yield "No queue holds anything now, not even a dead letter."
        return
    totals = _totals(found)
    rows = [_row(each) for each in found]
    sums = [f"{totals[name]:,}" for name in _COUNTS]
    # No queue can be called so: a name has no spaces.
    rows.append((f"all {len(found)}", *sums, _age(totals["oldest_ms"]), ""))
    numbers = frozenset(range(1, len(_COLUMNS) - 1))
    head, *lines, last = table(_COLUMNS, rows, right=numbers)
    yield paint(head, "bold")
    for line, each in zip(lines, found, strict=True):
        yield paint(line, "warn") if each.paused else line
    yield paint(last, "bold")


def _row(stats: QueueStats) -> tuple[str, ...]:
    counts = [f"{getattr(stats, name):,}" for name in _COUNTS]
    return (stats.queue, *counts, _age(stats.oldest_ms), _PAUSED if stats.paused else "")


def _age(oldest_ms: int) -> str:
    return span(oldest_ms) if oldest_ms else "-"


# ── holding ──────────────────────────────────────────────────────────────────


@queues.command(short_help="Hold queues: no worker is given anything of them.")
@argument("names", metavar="QUEUE...", nargs=-1, required=True, shell_complete=queue_names)
@app_option
@json_option("QUEUES_PAUSE")
def pause(names: tuple[str, ...], app: str | None, as_json: bool) -> None:
    """Hold each QUEUE: no worker is given anything of it until it is resumed.

    What runs goes on, and what is enqueued meanwhile waits.

    \b
    stem queues pause billing
    """
    _tell_held(*asyncio.run(_hold(app, _checked(names), is_paused=True)), as_json)


@queues.command(short_help="Let queues that are paused go on.")
@argument("names", metavar="QUEUE...", nargs=-1, required=True, shell_complete=queue_names)
@app_option
@json_option("QUEUES_RESUME")
def resume(names: tuple[str, ...], app: str | None, as_json: bool) -> None:
    """Let each QUEUE go on: waiting workers are woken.

    \b
    stem queues resume billing
    """
    _tell_held(*asyncio.run(_hold(app, _checked(names), is_paused=False)), as_json)


async def _hold(
    app: str | None, names: Sequence[str], *, is_paused: bool
) -> tuple[Sequence[QueueStats], Sequence[QueueStats]]:
    """Pause or resume queues; return their statistics before and after."""
    async with open_operations(app) as operations:
        admin = operations.need("pause")
        before = await operations.ask(admin.stats, names)
        await _warn_of_empty(operations, before)
        for name in names:
            await operations.ask(admin.pause if is_paused else admin.resume, name)
        return before, await operations.ask(admin.stats, names)


def _tell_held(before: Sequence[QueueStats], after: Sequence[QueueStats], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_for_programs(after), indent=2))
        return
    was_paused = {each.queue for each in before if each.paused}
    paint = Paint.of(sys.stdout)
    for each in after:
        click.echo(_held(each, each.queue in was_paused, paint))


def _held(stats: QueueStats, was_paused: bool, paint: Paint) -> str:
    again = " already" if stats.paused and was_paused else ""
    state = paint(_PAUSED, "warn") if stats.paused else paint("goes on", "good")
    if not stats.paused and not was_paused:
        state += ", and was not paused"
    waiting = f"{count_of(_waiting(stats), 'task')} waiting"
    return f"{visible(stats.queue)}: {state}{again}; {waiting}, {stats.leased:,} running"


def _waiting(stats: QueueStats) -> int:
    return stats.ready + stats.delayed + stats.parked


# ── emptying ─────────────────────────────────────────────────────────────────


@queues.command(short_help="Cancel everything that waits in a queue.")
@argument("name", metavar="QUEUE", shell_complete=queue_names)
@option(
    "--yes",
    "is_sure",
    variable="STEM_QUEUES_PURGE_YES",
    is_flag=True,
    help="Do not ask; needed without a terminal.",
)
@app_option
@json_option("QUEUES_PURGE")
def purge(name: str, is_sure: bool, app: str | None, as_json: bool) -> ExitCode:
    """Cancel everything that waits in QUEUE: ready, delayed and parked.

    What runs goes on, and dead letters stay. Each task ends as cancelled, and its
    record says so.

    Exit code 1 if nothing was confirmed.

    \b
    stem queues purge reports --yes
    """
    [queue] = _checked([name])
    if not is_sure:
        refuse_unasked(f"Cancelling all that waits in {queue!r}")
    [stats] = asyncio.run(_stats(app, [queue]))
    total = _waiting(stats)
    question = f"Cancel {count_of(total, 'waiting task')} of queue {queue}?"
    if total and not is_sure and not confirmed(question):
        click.echo("Nothing was cancelled.", err=True)
        return ExitCode.FAILED
    ended: list[str] = []
    with telling(ended, partial(_tell_purged, queue, ended, as_json)):
        if total or is_sure:
            asyncio.run(_purge(app, queue, total, ended))
    return ExitCode.OK


async def _purge(app: str | None, queue: str, total: int, ended: list[str]) -> None:
    """Cancel what waits until nothing is left, and note the id of each in *ended*."""
    async with open_operations(app) as operations:
        cancel = partial(operations.admin.purge, limit=operations.most)
        with progress_on_terminal(total, operations.most) as progress:
            while chunk := await operations.tell(cancel, queue):
                ended += [each.message.id for each in chunk if each.message is not None]
                await _remember(operations, chunk)
                progress.show(min(len(ended), total))


async def _remember(operations: Operations, ended: Sequence[Cancelled]) -> None:
    """Save how tasks ended in a backend that is another store: there it is learnt from here."""
    lane = operations.lane
    if lane.backend is not None and not lane.atomic:
        ttl_ms = operations.stem.config.failure_ttl_ms
        await lane.from_backend(
            lane.backend.save, list(_records(ended, operations.now_ms(), ttl_ms))
        )


def _records(ended: Sequence[Cancelled], now_ms: int, ttl_ms: int) -> Iterator[Record]:
    for each in ended:
        if each.message is not None:
            located = Located(place=Place.READY, message=each.message, fence=each.fence)
            yield cancelled_record(located, "purged", now_ms, ttl_ms)


def _tell_purged(queue: str, ended: Sequence[str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"queue": queue, "cancelled": len(ended), "ids": ended}, indent=2))
    elif ended:
        click.echo(f"{queue}: {count_of(len(ended), 'task')} cancelled")
    else:
        click.echo(f"{queue}: nothing waits there")


def _checked(names: Sequence[str]) -> list[str]:
    return [check_name(each, kind="queue") for each in dict.fromkeys(names)]
