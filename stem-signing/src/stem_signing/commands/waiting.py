"""How much of what waits was signed with which key.

Rule of this module: it counts what messages claim; nothing is verified here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from attrs import frozen

from stem_core.cli.operations import Operations, open_operations
from stem_core.plugin import LocatedPage, Message
from stem_signing.keyring import Entry, Keyring

__all__ = ["Row", "Waiting", "columns_of", "rows_of", "waiting_of"]

_PAGE: Final = 500
_UNSIGNED: Final = ""

_PageAt: TypeAlias = Callable[[str | None], Coroutine[Any, Any, LocatedPage]]


@frozen(kw_only=True)
class Waiting:
    """Messages by the id of the key that they name; the empty id counts unsigned ones."""

    live: Counter[str]
    dead: Counter[str]


@frozen(kw_only=True)
class Row:
    """One key, in the ring or only in messages.

    Attributes:
        key_id: empty for what nobody signed.
        state: of the key, or why there is none.
        waiting, dead: how many live messages and dead letters name it.
        is_accepted: a worker with this ring would verify with it now.
    """

    key_id: str
    state: str
    fingerprint: str
    waiting: int
    dead: int
    is_accepted: bool


async def waiting_of(app: str | None) -> Waiting:
    """Look through every queue of the broker of *app*, or else of the environment."""
    async with open_operations(app) as operations:
        live: Counter[str] = Counter()
        for stats in await operations.ask(operations.admin.stats, ()):
            live += await _counted(operations, partial(_peeked, operations, stats.queue))
        dead: Counter[str] = Counter()
        if operations.lane.capabilities.dead_letters:
            dead = await _counted(operations, partial(_listed, operations))
        return Waiting(live=live, dead=dead)


async def _counted(operations: Operations, page_at: _PageAt) -> Counter[str]:
    found: Counter[str] = Counter()
    cursor = None
    while True:
        page = await operations.ask(page_at, cursor)
        found.update(_key_of(each.message) for each in page.items)
        cursor = page.cursor
        if cursor is None:
            return found


async def _peeked(operations: Operations, queue: str, cursor: str | None) -> LocatedPage:
    return await operations.admin.peek(queue, limit=_PAGE, cursor=cursor)


async def _listed(operations: Operations, cursor: str | None) -> LocatedPage:
    return await operations.admin.dead_letters(None, limit=_PAGE, cursor=cursor)


def _key_of(message: Message) -> str:
    return message.key_id if message.signature else _UNSIGNED


# ── pure ─────────────────────────────────────────────────────────────────────


def rows_of(ring: Keyring, found: Waiting, now_ms: int) -> Sequence[Row]:
    """Return a row for each key of *ring*, then one for each other id in *found*."""
    strangers = sorted({*found.live, *found.dead} - ring.entries.keys())
    return [
        *(_known(entry, found, now_ms) for entry in ring.entries.values()),
        *(_strange(key_id, found) for key_id in strangers),
    ]


def _known(entry: Entry, found: Waiting, now_ms: int) -> Row:
    why = entry.why_not(now_ms)
    return Row(
        key_id=entry.id,
        state=entry.state.value if why is None else why.value,
        fingerprint=entry.key.fingerprint,
        waiting=found.live[entry.id],
        dead=found.dead[entry.id],
        is_accepted=why is None,
    )


def _strange(key_id: str, found: Waiting) -> Row:
    return Row(
        key_id=key_id,
        state="unsigned" if key_id == _UNSIGNED else "unknown",
        fingerprint="",
        waiting=found.live[key_id],
        dead=found.dead[key_id],
        is_accepted=False,
    )


def columns_of(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the header and the cells of a table for people."""
    header = ("key", "state", "fingerprint", "waiting", "dead", "")
    return header, [
        (
            row.key_id or "(none)",
            row.state,
            row.fingerprint or "-",
            f"{row.waiting:,}",
            f"{row.dead:,}",
            _advice(row),
        )
        for row in rows
    ]


def _advice(row: Row) -> str:
    if row.waiting and not row.is_accepted:
        return "would be refused"
    if row.state == "active":
        return "signs"
    if row.state == "verify-only":
        return "nothing waits for it" if not row.waiting else "still needed"
    return ""
