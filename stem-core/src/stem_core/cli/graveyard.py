"""Reading, replaying and discarding dead letters, page by page and batch by batch.

Rule of this module: it moves; which ones, and what is said about it, is decided
elsewhere. What has become of each is written down before anything else can fail.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

import click

from stem_core.cli.batching import batches, progress_on_terminal
from stem_core.cli.fates import Fates
from stem_core.cli.letters import Letter, Selection
from stem_core.cli.operations import Operations
from stem_core.contracts.admin import LocatedPage, Replayed, ReplayStatus
from stem_core.contracts.messages import Located, Place
from stem_core.model.errors import ResultExpired

__all__ = ["discard_all", "find", "page_of", "replay_all", "select"]

_PAGE: Final = 100  # a page holds bodies, and a body may be large


async def page_of(
    operations: Operations, queue: str | None, *, most: int | None, cursor: str | None
) -> tuple[list[Letter], str | None]:
    """Return dead letters after *cursor*, at most *most*, and the cursor of those that follow."""
    letters: list[Letter] = []
    async for page in _pages(operations, queue, most=most, cursor=cursor):
        letters += map(Letter.of, page.items)
        cursor = page.cursor
    return letters, cursor


async def select(operations: Operations, selection: Selection) -> tuple[str, ...]:
    """Return the ids of the dead letters that are meant, the latest first."""
    chosen: list[str] = []
    now_ms = operations.now_ms()
    async for page in _pages(operations, selection.queue, most=None, cursor=None):
        letters = map(Letter.of, page.items)
        chosen += (each.id for each in letters if selection.holds(each, now_ms))
    return tuple(chosen)


async def _pages(
    operations: Operations, queue: str | None, *, most: int | None, cursor: str | None
) -> AsyncIterator[LocatedPage]:
    admin, given = operations.need("dead_letters"), cursor
    seen = 0
    while most is None or seen < most:
        limit = _PAGE if most is None else min(_PAGE, most - seen)
        read = partial(admin.dead_letters, limit=limit, cursor=cursor)
        try:
            page = await operations.ask(read, queue)
        except ValueError:
            if cursor is None or cursor != given:
                raise
            hint = "--cursor"
            raise click.BadParameter(f"{given!r} is none of this broker", param_hint=hint) from None
        yield page
        seen += len(page.items)
        cursor = page.cursor
        if cursor is None:
            return


async def find(operations: Operations, id: str) -> Located:
    """Return the dead letter *id*.

    Raises:
        ResultExpired: there is none.
    """
    [located] = await operations.lane.lookup([id])
    if located is None:
        raise ResultExpired(
            f"there is no dead letter {id!r}",
            way_out="It was discarded, its retention is over, or it has not died: "
            f"ask `stem jobs why {id}`.",
        )
    if located.place is not Place.DEAD:
        raise ResultExpired(
            f"{id!r} is no dead letter: it is live, and {located.place.value}",
            way_out=f"Ask `stem jobs show {id}`.",
        )
    return located


async def replay_all(operations: Operations, ids: Sequence[str], fates: Fates) -> None:
    """Replay *ids* in order, and note in *fates* what became of each."""
    admin = operations.need("dead_letters")
    with progress_on_terminal(len(ids), operations.most) as progress:
        for batch in batches(ids, operations.most):
            replies = await operations.tell(admin.replay, batch)
            fates.update((id, r.status) for id, r in zip(batch, replies, strict=True))
            await _reopen(operations, batch, replies)
            progress.show(len(fates))


async def _reopen(operations: Operations, ids: Sequence[str], replies: Sequence[Replayed]) -> None:
    """Tell a backend that is another store which of its records live again."""
    lane = operations.lane
    answers = zip(ids, replies, strict=True)
    back = [(id, reply.fence) for id, reply in answers if reply.status is ReplayStatus.DONE]
    if back and lane.backend is not None and not lane.atomic:
        await lane.from_backend(lane.backend.reopen, back)


async def discard_all(operations: Operations, ids: Sequence[str], fates: Fates) -> None:
    """Discard *ids*, and note in *fates* what became of each."""
    admin = operations.need("dead_letters")
    with progress_on_terminal(len(ids), operations.most) as progress:
        for batch in batches(ids, operations.most):
            replies = await operations.tell(admin.discard, batch)
            fates.update((id, r.status) for id, r in zip(batch, replies, strict=True))
            progress.show(len(fates))
