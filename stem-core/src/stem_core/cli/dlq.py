"""`stem dlq`: what lies in the dead letters, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeAlias

import click
from attrs import frozen

from stem_core.cli.completing import queues, tasks
from stem_core.cli.confirming import confirmed, refuse_unasked
from stem_core.cli.exits import ExitCode
from stem_core.cli.failures import nearest
from stem_core.cli.fates import Fates, fate_facts, fate_lines, telling, verdict
from stem_core.cli.graveyard import discard_all, find, page_of, replay_all, select
from stem_core.cli.letters import Letter, Selection, letter_facts, letter_lines, listed
from stem_core.cli.operations import Operations, open_operations, warn_of_unknown
from stem_core.cli.parameters import (
    app_option,
    argument,
    json_option,
    option,
    read_duration,
    whole_number,
)
from stem_core.cli.program import TeachingGroup
from stem_core.cli.terminal import Paint, count_of, visible
from stem_core.contracts.admin import ReplayStatus
from stem_core.contracts.clock import SYSTEM_CLOCK
from stem_core.contracts.messages import Located
from stem_core.model.ids import check_id, check_name
from stem_core.model.outcome import Reason

__all__ = ["dlq"]

_FEW: Final = 20
_MANY: Final = 1_000

_Deed: TypeAlias = Callable[[Operations, Sequence[str], Fates], Awaitable[None]]


def _read_reason(text: str) -> str:
    """Return a reason why messages lie in the dead letters."""
    known = [each.value for each in Reason]
    if text not in known:
        hint = nearest(text, known) or f"There are: {', '.join(known)}."
        raise click.BadParameter(f"{text!r} is no reason. {hint}")
    return text


def _reasons(_: click.Context, __: click.Parameter, typed: str) -> list[str]:
    return [each.value for each in Reason if each.value.startswith(typed)]


@click.group(cls=TeachingGroup, short_help="List, replay or discard dead letters.")
def dlq() -> None:
    """List, replay or discard dead letters: tasks that have failed for good.

    \b
    stem dlq list --queue billing
    stem dlq show order-1042
    stem dlq replay --all --task billing.charge
    """


# ── looking ──────────────────────────────────────────────────────────────────


@dlq.command("list", short_help="List dead letters, the latest first.")
@option(
    "-q",
    "--queue",
    metavar="NAME",
    variable="STEM_DLQ_LIST_QUEUE",
    shell_complete=queues,
    help="Those of this queue.",
)
@option(
    "--limit",
    metavar="N",
    variable="STEM_DLQ_LIST_LIMIT",
    type=whole_number(1, _MANY),
    help=f"How many to list, {_FEW} if not given.",
)
@option(
    "--cursor",
    metavar="CURSOR",
    variable="STEM_DLQ_LIST_CURSOR",
    help="Go on where the page before has ended.",
)
@option(
    "--all", "is_all", variable="STEM_DLQ_LIST_ALL", is_flag=True, help="List all that there are."
)
@app_option
@json_option("DLQ_LIST")
def list_(
    queue: str | None,
    limit: int | None,
    cursor: str | None,
    is_all: bool,
    app: str | None,
    as_json: bool,
) -> None:
    """List dead letters, the latest first.

    Times are in UTC. When there are more, the cursor for the next page is shown.

    \b
    stem dlq list
    stem dlq list --queue billing --limit 20 --json
    """
    if is_all and limit is not None:
        raise click.UsageError("--all and --limit exclude each other.")
    most = None if is_all else limit or _FEW
    letters, after = asyncio.run(_read(app, queue, most, cursor))
    if as_json:
        items = [each.to_json() for each in letters]
        click.echo(json.dumps({"dead_letters": items, "cursor": after}, indent=2))
    else:
        click.echo("\n".join(_page(letters, after, queue)))


async def _read(
    app: str | None, queue: str | None, most: int | None, cursor: str | None
) -> tuple[list[Letter], str | None]:
    async with open_operations(app) as operations:
        letters, after = await page_of(operations, _queue(queue), most=most, cursor=cursor)
        if queue is not None and not letters:
            await warn_of_unknown(operations, [queue])
        return letters, after


def _page(letters: Sequence[Letter], after: str | None, queue: str | None) -> Iterator[str]:
    paint, is_terminal = Paint.of(sys.stdout), sys.stdout.isatty()
    if not letters:
        yield "There are no dead letters" + (f" of queue {queue}." if queue else ".")
        return
    columns = shutil.get_terminal_size().columns if is_terminal else None
    yield from listed(letters, SYSTEM_CLOCK.wall_ms(), paint, columns)
    if after is not None:
        yield paint(
            f"There are more: --cursor {visible(after)} shows them, --all everything.", "dim"
        )


@dlq.command(short_help="Show one dead letter, whole.")
@argument("letter_id", metavar="ID")
@app_option
@json_option("DLQ_SHOW")
def show(letter_id: str, app: str | None, as_json: bool) -> None:
    """Show the dead letter ID: why it died, every error with its traceback, and its body.

    Nothing in it is verified: a stranger may have written it.

    \b
    stem dlq show order-1042
    """
    located = asyncio.run(_find(app, letter_id))
    if as_json:
        click.echo(json.dumps(letter_facts(located), indent=2))
    else:
        lines = letter_lines(located, SYSTEM_CLOCK.wall_ms(), Paint.of(sys.stdout))
        click.echo("\n".join(lines))


async def _find(app: str | None, letter_id: str) -> Located:
    async with open_operations(app) as operations:
        return await find(operations, check_id(letter_id))


# ── acting ───────────────────────────────────────────────────────────────────


@frozen
class _Wish:
    """Which dead letters a command is about: these, or those that are selected."""

    ids: tuple[str, ...]
    selection: Selection | None

    @classmethod
    def of(cls, ids: Sequence[str], is_all: bool, **conditions: Any) -> _Wish:
        """Take what the command line says, or say what is wrong with it."""
        given = {name: value for name, value in conditions.items() if value is not None}
        if ids and is_all:
            raise click.UsageError("An ID and --all exclude each other.")
        if not ids and not is_all:
            raise click.UsageError("Name dead letters by ID, or give --all.")
        if ids and given:
            name = next(iter(given)).removesuffix("_ms").replace("_", "-")
            raise click.UsageError(f"--{name} chooses among all dead letters: it needs --all.")
        once = tuple(dict.fromkeys(map(check_id, ids)))
        return cls(once, Selection(**given) if is_all else None)


@dlq.command(short_help="Put dead letters back into their queues.")
@argument("ids", metavar="[ID]...", nargs=-1)
@option(
    "--all",
    "is_all",
    variable="STEM_DLQ_REPLAY_ALL",
    is_flag=True,
    help="Replay all that there are, or those that the options choose.",
)
@option(
    "-q",
    "--queue",
    metavar="NAME",
    variable="STEM_DLQ_REPLAY_QUEUE",
    shell_complete=queues,
    help="Those of this queue.",
)
@option(
    "--reason",
    metavar="REASON",
    variable="STEM_DLQ_REPLAY_REASON",
    shell_complete=_reasons,
    type=_read_reason,
    help="Those that died of this reason, such as max-retries-exhausted.",
)
@option(
    "--task",
    metavar="NAME",
    variable="STEM_DLQ_REPLAY_TASK",
    shell_complete=tasks,
    help="Those of the task of this name.",
)
@app_option
@json_option("DLQ_REPLAY")
def replay(
    ids: tuple[str, ...],
    is_all: bool,
    queue: str | None,
    reason: str | None,
    task: str | None,
    app: str | None,
    as_json: bool,
) -> ExitCode:
    """Put dead letters back into their queues: by ID, or with --all.

    They keep their ids, bytes and signatures, and their attempts start anew.

    Exit code 0 if each one is replayed or live already, 3 if an ID is unknown, 1 if
    one has to stay where it is.

    \b
    stem dlq replay order-1042
    stem dlq replay --all --task billing.charge
    """
    wish = _Wish.of(ids, is_all, queue=_queue(queue), reason=reason, task=task)
    fates: Fates = {}
    with _telling(fates, "replayed", by_id=not is_all, as_json=as_json):
        chosen = wish.ids
        if wish.selection is not None:
            # The first to die goes back first: so they wait in their old order.
            chosen = tuple(reversed(asyncio.run(_select(app, wish.selection))))
        asyncio.run(_act(app, replay_all, chosen, fates))
    gone = set() if wish.ids else {ReplayStatus.UNKNOWN}
    return verdict(fates, {ReplayStatus.DONE, ReplayStatus.ALREADY, *gone})


@dlq.command(short_help="Discard dead letters for good.")
@argument("ids", metavar="[ID]...", nargs=-1)
@option(
    "--all",
    "is_all",
    variable="STEM_DLQ_PURGE_ALL",
    is_flag=True,
    help="Discard all that there are, or those that the options choose.",
)
@option(
    "-q",
    "--queue",
    metavar="NAME",
    variable="STEM_DLQ_PURGE_QUEUE",
    shell_complete=queues,
    help="Those of this queue.",
)
@option(
    "--reason",
    metavar="REASON",
    variable="STEM_DLQ_PURGE_REASON",
    shell_complete=_reasons,
    type=_read_reason,
    help="Those that died of this reason, such as max-retries-exhausted.",
)
@option(
    "--older-than",
    metavar="DURATION",
    variable="STEM_DLQ_PURGE_OLDER_THAN",
    type=read_duration,
    help="Those that have been dead for longer than this: 12h, 30d.",
)
@option(
    "--yes",
    "is_sure",
    variable="STEM_DLQ_PURGE_YES",
    is_flag=True,
    help="Do not ask; without a terminal --all needs it.",
)
@app_option
@json_option("DLQ_PURGE")
def purge(
    ids: tuple[str, ...],
    is_all: bool,
    queue: str | None,
    reason: str | None,
    older_than: timedelta | None,
    is_sure: bool,
    app: str | None,
    as_json: bool,
) -> ExitCode:
    """Discard dead letters for good: by ID, or with --all.

    How they ended stays known for as long as results are kept.

    Exit code 0 if each one is gone, 3 if an ID is unknown, 1 if one is live again
    or nothing was confirmed.

    \b
    stem dlq purge order-1042
    stem dlq purge --all --older-than 14d --yes
    """
    older_than_ms = None if older_than is None else older_than // timedelta(milliseconds=1)
    wish = _Wish.of(ids, is_all, queue=_queue(queue), reason=reason, older_than_ms=older_than_ms)
    if is_all and not is_sure:
        refuse_unasked("Discarding dead letters")
    chosen = wish.ids
    if wish.selection is not None:
        chosen = asyncio.run(_select(app, wish.selection))
        if not is_sure and not _may_discard(chosen):
            return ExitCode.FAILED
    fates: Fates = {}
    with _telling(fates, "discarded", by_id=not is_all, as_json=as_json):
        asyncio.run(_act(app, discard_all, chosen, fates))
    gone = set() if wish.ids else {ReplayStatus.UNKNOWN, ReplayStatus.ALREADY}
    return verdict(fates, {ReplayStatus.DONE, *gone})


def _may_discard(ids: Sequence[str]) -> bool:
    if not ids or confirmed(f"Discard {count_of(len(ids), 'dead letter')} for good?"):
        return True
    click.echo("Nothing was discarded.", err=True)
    return False


def _queue(name: str | None) -> str | None:
    return None if name is None else check_name(name, kind="queue")


async def _select(app: str | None, selection: Selection) -> tuple[str, ...]:
    """Return the ids of those that are selected, the latest first."""
    async with open_operations(app) as operations:
        chosen = await select(operations, selection)
        if selection.queue is not None and not chosen:
            await warn_of_unknown(operations, [selection.queue])
        return chosen


async def _act(app: str | None, deed: _Deed, ids: Sequence[str], fates: Fates) -> None:
    if ids:
        async with open_operations(app) as operations:
            await deed(operations, ids, fates)


def _telling(
    fates: Fates, done: str, *, by_id: bool, as_json: bool
) -> AbstractContextManager[None]:
    return telling(fates, partial(_tell, fates, done, by_id, as_json))


def _tell(fates: Fates, done: str, by_id: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(fate_facts(fates), indent=2))
    else:
        click.echo("\n".join(fate_lines(fates, done, Paint.of(sys.stdout), by_id=by_id)))
