"""`stem jobs`: one task at a time: what is known, why it waits, and cancelling it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import click

from stem_core.cli.exits import ExitCode
from stem_core.cli.fates import telling
from stem_core.cli.moments import iso, moment, span
from stem_core.cli.operations import Operations, open_operations
from stem_core.cli.parameters import app_option, argument, json_option, option
from stem_core.cli.program import TeachingGroup

# What `stem result` says to programs, this command says too: in one place.
from stem_core.cli.result import facts_of as status_facts
from stem_core.cli.stores import refuse_private
from stem_core.cli.strangers import cut, error_facts, history_lines
from stem_core.cli.terminal import Paint, Shade, visible
from stem_core.cli.why import Because, Facts, why
from stem_core.contracts.admin import QueueStats
from stem_core.contracts.messages import CancelStatus, Located, Place
from stem_core.model.errors import ResultExpired
from stem_core.model.ids import check_id
from stem_core.model.outcome import State, TaskStatus

__all__ = ["jobs"]

_SHADES: Final[Mapping[State, Shade]] = {
    State.SUCCEEDED: "good",
    State.FAILED: "bad",
    State.DEAD: "bad",
    State.EXPIRED: "warn",
    State.CANCELLED: "warn",
    State.DISCARDED: "warn",
}

_MOST_COLUMNS: Final = 400

_CANCELS: Final[Mapping[CancelStatus, tuple[str, Shade]]] = {
    CancelStatus.CANCELLED: ("cancelled", "good"),
    CancelStatus.REQUESTED: ("requested: it runs, and its worker will be told", "good"),
    CancelStatus.FINISHED: ("had ended before", "warn"),
    CancelStatus.UNKNOWN: ("unknown", "bad"),
}


@click.group(cls=TeachingGroup, short_help="Look at single tasks, or cancel them.")
def jobs() -> None:
    """Look at single tasks, or cancel them.

    \b
    stem jobs show order-1042
    stem jobs why order-1042
    stem jobs cancel order-1042 order-1043
    """


# ── what is known ────────────────────────────────────────────────────────────


@jobs.command(short_help="Show all that is known about a task.")
@argument("task_id", metavar="ID")
@app_option
@json_option("JOBS_SHOW")
def show(task_id: str, app: str | None, as_json: bool) -> None:
    """Show all that is known about the task ID: how it stands, and where it is held.

    Exit code 3 if nobody knows it (any more).

    \b
    stem jobs show order-1042
    """
    facts = asyncio.run(_facts(app, check_id(task_id)))
    status, located = facts.status, facts.located
    if status is None:
        raise ResultExpired(
            f"nobody knows a task {task_id!r}",
            way_out="It was never enqueued here, or it has ended and is forgotten.",
        )
    if as_json:
        held = _located_facts(located) if located else None
        click.echo(json.dumps({**status_facts(status), "broker": held}, indent=2))
    else:
        lines = _shown(status, located, facts.now_ms, Paint.of(sys.stdout))
        click.echo("\n".join(lines))


@jobs.command("why", short_help="Say why a task does not run, or has not finished.")
@argument("task_id", metavar="ID")
@app_option
@json_option("JOBS_WHY")
def why_(task_id: str, app: str | None, as_json: bool) -> ExitCode:
    """Say in plain sentences why the task ID does not run, or has not finished.

    Exit code 3 if nobody knows it (any more).

    \b
    stem jobs why order-1042
    """
    facts = asyncio.run(_facts(app, check_id(task_id)))
    sentences = why(facts)
    if as_json:
        click.echo(json.dumps(_answer(facts, sentences), indent=2))
    else:
        paint, (first, *more) = Paint.of(sys.stdout), sentences
        click.echo("\n".join([paint(first.text, "bold"), *(each.text for each in more)]))
    is_known = facts.status is not None or facts.located is not None
    return ExitCode.OK if is_known else ExitCode.NOT_FOUND


def _answer(facts: Facts, sentences: Sequence[Because]) -> dict[str, Any]:
    status, located = facts.status, facts.located
    return {
        "id": facts.id,
        "state": status.state.value if status else None,
        "place": located.place.value if located else None,
        "because": [{"code": each.code, "text": each.text} for each in sentences],
    }


async def _facts(app: str | None, id: str) -> Facts:
    """Ask what is known of the task *id*, as of one moment."""
    async with open_operations(app) as operations:
        lane = operations.lane
        if lane.backend is not None:
            refuse_private(lane.backend, "result backend", at=lane.at)
        status, located = await _known(operations, id)
        return Facts(
            id=id,
            status=status,
            located=located,
            queue=await _queue_of(operations, located),
            at=lane.at,
            namespace=operations.stem.config.namespace,
            remembers=lane.backend is not None,
            now_ms=operations.now_ms(),
        )


async def _known(operations: Operations, id: str) -> tuple[TaskStatus | None, Located | None]:
    """Return the status of a task and where the broker holds it.

    A status that has ended while the broker holds the task alive is one that a replay
    left behind.
    """
    status = await operations.stem.status(id)
    [located] = await operations.lane.lookup([id])
    if status is None:
        is_late = located is not None
    else:
        is_held = located is not None and located.place is not Place.DEAD
        is_late = not status.state.is_terminal and not is_held
    if is_late:  # it came, or it ended, between the two questions
        status = await operations.stem.status(id)
    return status, located


async def _queue_of(operations: Operations, located: Located | None) -> QueueStats | None:
    """Return the statistics of the queue that a live task is in, if the broker gives any."""
    admin = operations.lane.broker.admin
    if admin is None or located is None or located.place is Place.DEAD:
        return None
    [stats] = await operations.ask(admin.stats, [located.message.queue])
    return stats


# ── showing ──────────────────────────────────────────────────────────────────


def _shown(status: TaskStatus, located: Located | None, now_ms: int, paint: Paint) -> Iterator[str]:
    facts = {**_status_lines(status, now_ms), **_located_lines(located, now_ms)}
    told = {name: cut(visible(text), _MOST_COLUMNS) for name, text in facts.items() if text}
    width = max(map(len, told))
    shade = _SHADES.get(status.state)
    if shade is not None:
        told["state"] = paint(told["state"], shade)
    yield from (f"{name:<{width}}  {text}" for name, text in told.items())
    last = (status.error,) if status.error is not None else ()
    errors = (located.errors if located else ()) or status.errors or last
    if errors:
        yield ""
        yield paint("errors, the oldest first", "bold")
        yield from (f"  {line}" for line in history_lines(errors, now_ms))


def _status_lines(status: TaskStatus, now_ms: int) -> dict[str, str]:
    return {
        "id": status.id,
        "task": status.task,
        "queue": status.queue,
        "state": status.state.value,
        "reason": status.reason,
        "attempt": str(status.attempt or ""),
        "enqueued": _at(status.enqueued_at, now_ms),
        "runs at": _at(status.run_at, now_ms),
        "started": _at(status.started_at, now_ms),
        "finished": _at(status.finished_at, now_ms),
        "worker": status.worker,
        "meta": json.dumps(status.meta) if status.meta else "",
        "progress": json.dumps(status.progress) if status.progress is not None else "",
        "value": json.dumps(status.value) if status.state is State.SUCCEEDED else "",
    }


def _located_lines(located: Located | None, now_ms: int) -> dict[str, str]:
    if located is None:
        return {"broker": "does not hold it any more"}
    message = located.message
    asked = f"yes: {located.cancel_reason}" if located.cancel_reason else "yes"
    return {
        "broker": f"holds it as {located.place.value}",
        "lease left": span(located.lease_ms) if located.place is Place.LEASED else "",
        "fence": str(located.fence),
        "lapses": f"{located.lapses} in a row, of at most {message.max_lapses}",
        "releases": str(located.releases),
        "priority": str(message.priority),
        "expires": moment(message.expires_at_ms, now_ms),
        "cancel asked": asked if located.cancel_requested else "",
    }


def _located_facts(located: Located) -> dict[str, Any]:
    message = located.message
    return {
        "place": located.place.value,
        "attempt": located.attempt,
        "fence": located.fence,
        "lapses": located.lapses,
        "max_lapses": message.max_lapses,
        "releases": located.releases,
        "priority": message.priority,
        "run_at": iso(located.run_at_ms),
        "lease_left_ms": located.lease_ms,
        "worker": located.worker,
        "cancel_requested": located.cancel_requested,
        "cancel_reason": located.cancel_reason,
        "expires_at": iso(message.expires_at_ms),
        "reason": located.reason,
        "died_at": iso(located.died_at_ms),
        "errors": [error_facts(each) for each in located.errors],
    }


def _at(instant: datetime | None, now_ms: int) -> str:
    return moment(round(instant.timestamp() * 1000), now_ms) if instant else ""


# ── cancelling ───────────────────────────────────────────────────────────────


@jobs.command(short_help="Ask that tasks do not run, or stop.")
@argument("ids", metavar="ID...", nargs=-1, required=True)
@option(
    "--reason",
    metavar="TEXT",
    variable="STEM_JOBS_CANCEL_REASON",
    default="",
    help="Why: kept with the result, and told to the worker.",
)
@app_option
@json_option("JOBS_CANCEL")
def cancel(ids: tuple[str, ...], reason: str, app: str | None, as_json: bool) -> ExitCode:
    """Ask that each task ID does not run, or stops.

    One that waits ends at once; one that runs is told to stop.

    Exit code 0 if each one is cancelled or was told, 1 if one had ended before, 3 if
    nobody knows one.

    \b
    stem jobs cancel order-1042 --reason "paid twice"
    """
    once = tuple(dict.fromkeys(map(check_id, ids)))
    done: dict[str, CancelStatus] = {}
    with telling(done, partial(_tell_cancelled, done, as_json)):
        asyncio.run(_cancel(app, once, reason, done))
    if CancelStatus.UNKNOWN in done.values():
        return ExitCode.NOT_FOUND
    return ExitCode.FAILED if CancelStatus.FINISHED in done.values() else ExitCode.OK


async def _cancel(
    app: str | None, ids: Sequence[str], reason: str, done: dict[str, CancelStatus]
) -> None:
    async with open_operations(app) as operations:
        for id in ids:
            done[id] = await operations.stem.cancel(id, reason)


def _tell_cancelled(done: Mapping[str, CancelStatus], as_json: bool) -> None:
    if as_json:
        tasks = [{"id": id, "status": status.value} for id, status in done.items()]
        click.echo(json.dumps({"tasks": tasks}, indent=2))
        return
    paint = Paint.of(sys.stdout)
    width = max(map(len, done), default=0)
    for id, status in done.items():
        told, shade = _CANCELS[status]
        click.echo(f"{id:<{width}}  {paint(told, shade)}")
