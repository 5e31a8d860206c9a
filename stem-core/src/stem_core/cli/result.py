"""`stem result`: where a task stands, or how it ended."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import click

from stem_core.cli.exits import ExitCode
from stem_core.cli.parameters import app_option, argument, json_option, option, read_duration
from stem_core.cli.stores import open_stem, refuse_private
from stem_core.cli.terminal import Paint, Shade, visible
from stem_core.model.errors import NoResultBackend, ResultExpired
from stem_core.model.outcome import State, TaskError, TaskStatus

__all__ = ["facts_of", "result"]

_SHADES: Final[dict[State, Shade]] = {
    State.SUCCEEDED: "good",
    State.FAILED: "bad",
    State.DEAD: "bad",
    State.EXPIRED: "warn",
    State.CANCELLED: "warn",
    State.DISCARDED: "warn",
}


@click.command(short_help="Show where a task stands, or how it ended.")
@argument("task_id", metavar="ID")
@option(
    "--wait",
    metavar="DURATION",
    variable="STEM_RESULT_WAIT",
    type=read_duration,
    help="Wait this long for the end of the task: 30s, 5m.",
)
@app_option
@json_option("RESULT")
def result(task_id: str, wait: timedelta | None, app: str | None, as_json: bool) -> ExitCode:
    """Show where the task ID stands, or how it ended.

    Exit code 0 if it succeeded, 1 if it ended otherwise, 3 if nobody knows it
    (any more), 6 if it has not ended (in time).

    \b
    stem result order-1042
    stem result order-1042 --wait 30s --json
    """
    status = asyncio.run(_look(app, task_id, wait))
    if status is None:
        raise ResultExpired(
            f"nobody knows a task {task_id!r}",
            way_out="It was never enqueued here, or the time that its result is kept is over.",
        )
    if as_json:
        click.echo(json.dumps(facts_of(status), indent=2))
    else:
        click.echo("\n".join(_for_people(status, Paint.of(sys.stdout))))
    return _verdict(status.state)


async def _look(app: str | None, task_id: str, wait: timedelta | None) -> TaskStatus | None:
    async with open_stem(app) as stem:
        lane = await stem.lane()
        if lane.backend is None:
            raise NoResultBackend(
                "there is no result backend, so nobody remembers how tasks end",
                way_out="Set STEM_RESULT_BACKEND_URL.",
            )
        refuse_private(lane.backend, "result backend", at=lane.at)
        status = await stem.status(task_id)
        if wait is not None and status is not None and not status.state.is_terminal:
            await lane.backend.wait(task_id, timeout_ms=wait // timedelta(milliseconds=1))
            status = await stem.status(task_id)
        return status


def _verdict(state: State) -> ExitCode:
    if not state.is_terminal:
        return ExitCode.TIMED_OUT
    return ExitCode.OK if state is State.SUCCEEDED else ExitCode.FAILED


def _for_people(status: TaskStatus, paint: Paint) -> Iterator[str]:
    state = status.state.value
    shade = _SHADES.get(status.state)
    facts = {
        "id": status.id,
        "task": visible(status.task),
        "queue": visible(status.queue),
        "state": paint(state, shade) if shade else state,
        "reason": visible(status.reason),
        "attempt": str(status.attempt or ""),
        "enqueued": _moment(status.enqueued_at),
        "runs at": _moment(status.run_at),
        "started": _moment(status.started_at),
        "finished": _moment(status.finished_at),
        "worker": visible(status.worker),
        "meta": json.dumps(status.meta) if status.meta else "",
        "progress": json.dumps(status.progress) if status.progress is not None else "",
        "error": _told(status.error) if status.error else "",
        "value": json.dumps(status.value) if status.state is State.SUCCEEDED else "",
    }
    width = max(map(len, facts))
    return (f"{name:<{width}}  {text}" for name, text in facts.items() if text)


def facts_of(status: TaskStatus) -> dict[str, Any]:
    """Return all that is known of a task, as plain JSON values."""
    return {
        "id": status.id,
        "task": status.task,
        "queue": status.queue,
        "state": status.state.value,
        "reason": status.reason,
        "attempt": status.attempt,
        "lapses": status.lapses,
        "enqueued_at": _moment(status.enqueued_at) or None,
        "run_at": _moment(status.run_at) or None,
        "started_at": _moment(status.started_at) or None,
        "finished_at": _moment(status.finished_at) or None,
        "worker": status.worker,
        "meta": status.meta,
        "progress": status.progress,
        "value": status.value,
        "error": _error(status.error),
        "errors": [_error(each) for each in status.errors],
    }


def _moment(instant: datetime | None) -> str:
    return instant.isoformat(timespec="milliseconds") if instant else ""


def _told(error: TaskError) -> str:
    return visible(f"{error.type}: {error.message}")


def _error(error: TaskError | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {
        "type": error.type,
        "message": error.message,
        "traceback": error.traceback,
        "attempt": error.attempt,
        "at_ms": error.at_ms,
    }
