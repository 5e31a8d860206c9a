"""`stem enqueue`: one task, by its name."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import click
from attrs import frozen

from stem_core.cli.completing import queues, tasks
from stem_core.cli.failures import nearest, warn
from stem_core.cli.parameters import (
    app_option,
    argument,
    json_option,
    option,
    read_duration,
    read_header,
    read_instant,
    read_object,
    whole_number,
)
from stem_core.cli.stores import mistyped_queues, open_stem, refuse_private
from stem_core.model.options import TaskOptions
from stem_core.producer.registry import TaskRegistry

__all__ = ["enqueue"]


@frozen(kw_only=True)
class _Wish:
    """What the command line asks for; *how* holds only what was given."""

    name: str
    arguments: dict[str, Any]
    options: TaskOptions
    how: dict[str, Any]
    wait: timedelta | None


@click.command(short_help="Enqueue one task by its name.")
@argument("name", shell_complete=tasks)
@argument("arguments", metavar="[JSON]", type=read_object, default="{}")
@option(
    "-q",
    "--queue",
    metavar="NAME",
    variable="STEM_ENQUEUE_QUEUE",
    shell_complete=queues,
    help="Where it waits.",
)
@option(
    "--priority",
    metavar="0-9",
    variable="STEM_ENQUEUE_PRIORITY",
    type=whole_number(0, 9),
    help="9 is taken first.",
)
@option(
    "--max-retries",
    metavar="N",
    variable="STEM_ENQUEUE_MAX_RETRIES",
    type=whole_number(0),
    help="Runs after the first one, if it fails.",
)
@option(
    "--delay",
    metavar="DURATION",
    variable="STEM_ENQUEUE_DELAY",
    type=read_duration,
    help="Start this much later: 90s, 5m, 1h30m.",
)
@option(
    "--not-before",
    metavar="INSTANT",
    variable="STEM_ENQUEUE_NOT_BEFORE",
    type=read_instant,
    help="Start at this instant: 2030-01-31T09:30:00+00:00.",
)
@option(
    "--header",
    "headers",
    metavar="NAME=VALUE",
    variable="STEM_ENQUEUE_HEADER",
    type=read_header,
    multiple=True,
    help="A header for the handler; can be given several times.",
)
@option(
    "--meta",
    metavar="JSON",
    variable="STEM_ENQUEUE_META",
    type=read_object,
    help="A JSON object that is stored with the result.",
)
@option(
    "--id",
    "task_id",
    metavar="ID",
    variable="STEM_ENQUEUE_ID",
    help="An id of your own: the same one twice makes one task.",
)
@option(
    "--wait",
    metavar="DURATION",
    variable="STEM_ENQUEUE_WAIT",
    type=read_duration,
    help="Wait this long for the result and print it.",
)
@app_option
@json_option("ENQUEUE")
def enqueue(
    name: str,
    arguments: dict[str, Any],
    queue: str | None,
    priority: int | None,
    max_retries: int | None,
    delay: timedelta | None,
    not_before: datetime | None,
    headers: tuple[tuple[str, str], ...],
    meta: dict[str, Any] | None,
    task_id: str | None,
    wait: timedelta | None,
    app: str | None,
    as_json: bool,
) -> None:
    """Enqueue the task NAME with the arguments JSON, and print its id.

    JSON is an object with the task's parameters, or - to read it from standard
    input. The code of the task is not needed: STEM_BROKER_URL says where it goes.

    \b
    stem enqueue billing.charge '{"customer_id": "cust_123", "amount": 4200}'
    stem enqueue reports.generate '{"month": "2030-01"}' --queue reports --delay 5m
    """
    given = {"queue": queue, "priority": priority, "max_retries": max_retries}
    how = {"delay": delay, "not_before": not_before, "meta": meta, "task_id": task_id}
    wish = _Wish(
        name=name,
        arguments=arguments,
        options=TaskOptions.of(**_given(given)),
        how=_given({**how, "headers": dict(headers) or None}),
        wait=wait,
    )
    task_id, value = asyncio.run(_send(app, wish))
    if as_json:
        result = {} if wait is None else {"value": value}
        click.echo(json.dumps({"id": task_id, **result}))
    else:
        click.echo(task_id if wait is None else json.dumps(value))


def _given(wishes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wishes.items() if value is not None}


async def _send(app: str | None, wish: _Wish) -> tuple[str, Any]:
    """Enqueue the task; return its id and, if that was asked for, its value."""
    async with open_stem(app) as stem:
        lane = await stem.lane()
        refuse_private(lane.broker, "broker", at=lane.at)
        if app:
            _check_against(stem.registry, wish)
            for doubt in mistyped_queues(stem, [wish.options.queue] if wish.options.queue else []):
                warn(doubt)
        task_id = await stem.enqueue(wish.name, wish.arguments, options=wish.options, **wish.how)
        if wish.wait is None:
            return task_id, None
        return task_id, await stem.result(task_id, timeout=wish.wait.total_seconds())


def _check_against(registry: TaskRegistry, wish: _Wish) -> None:
    """Hold the call against the task, if the application has it; else say so.

    It may be a task of another application, so this is no reason to refuse it.

    Raises:
        InvalidArguments: they do not fit the signature.
    """
    task = registry.get(wish.name)
    if task is not None:
        task.binding.from_wire(wish.arguments)
        return
    hint = nearest(wish.name, registry.names())
    warn(f"the application has no task {wish.name!r}\n  {hint}".rstrip())
