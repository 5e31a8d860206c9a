"""What operators do with a Postgres store: look, hold, replay, remove."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from stem_core.plugin import (
    BrokerAdmin,
    Cancellation,
    Cancelled,
    CancelStatus,
    Health,
    LocatedPage,
    QueueStats,
    Record,
    Replayed,
    ReplayStatus,
    State,
    StoreError,
)
from stem_postgres import settling
from stem_postgres.objections import is_text
from stem_postgres.rows import locate

if TYPE_CHECKING:
    from stem_postgres.broker import PostgresBroker

__all__ = ["PostgresAdmin"]

_REPLAYED: Final = (
    ReplayStatus.DONE,
    ReplayStatus.ALREADY,
    ReplayStatus.UNKNOWN,
    ReplayStatus.UNIQUE,
)
_TICKET: Final = 22
_LAST: Final = (1 << 63) - 1


class PostgresAdmin(BrokerAdmin):
    """The operators' view of one handle's store."""

    def __init__(self, broker: PostgresBroker) -> None:
        self._broker = broker

    async def stats(self, queues: Sequence[str] = ()) -> Sequence[QueueStats]:
        rows = await self._broker.run("lookup.stats", self._broker.here)
        found = {row[0]: _stats(row) for row in rows}
        names = sorted(set(queues) or found)
        return [found.get(name) or QueueStats(queue=name) for name in names]

    async def peek(self, queue: str, *, limit: int = 20, cursor: str | None = None) -> LocatedPage:
        wanted = {"queue": queue, "after": cursor or "", "limit": limit + 1}
        rows = await self._broker.run("lookup.peek", {**self._broker.here, **wanted})
        return _page(rows, limit, 2)

    async def dead_letters(
        self, queue: str | None = None, *, limit: int = 20, cursor: str | None = None
    ) -> LocatedPage:
        below = _LAST if cursor is None else int(cursor)
        wanted = {"queue": queue, "below": below, "limit": limit + 1}
        rows = await self._broker.run("lookup.dead", {**self._broker.here, **wanted})
        return _page(rows, limit, _TICKET)

    async def replay(self, ids: Sequence[str]) -> Sequence[Replayed]:
        return await self._of_dead("calls.replay", ids)

    async def discard(self, ids: Sequence[str]) -> Sequence[Replayed]:
        return await self._of_dead("calls.discard", ids)

    async def _of_dead(self, name: str, ids: Sequence[str]) -> Sequence[Replayed]:
        # An id that is no text cannot be here, and still has its place in the reply.
        asked = [id if is_text(id) else "" for id in ids]
        rows = await self._broker.call(name, asked) if asked else []
        return [Replayed(_REPLAYED[status], fence) for status, fence in rows]

    async def purge(self, queue: str, *, limit: int = 500) -> Sequence[Cancelled]:
        """Look what waits, then end each of it, but for what was leased meanwhile."""
        broker = self._broker
        wanted = {"queue": queue, "limit": max(0, limit), "ns": broker.store.ns}
        wall_ms = broker.store.clock.wall_ms()
        wishes = [
            _purge(id, task, queue, failed, wall_ms)
            for id, task, failed in await broker.run("lookup.waiting", wanted)
        ]
        if not wishes:
            return []
        rows = await broker.call("calls.cancel", True, *settling.cancel_arguments(wishes))
        ended = [settling.read_cancelled(row) for row in rows]
        return [each for each in ended if each.status is CancelStatus.CANCELLED]

    async def pause(self, queue: str) -> None:
        await self._broker.run("lookup.pause", {"ns": self._broker.store.ns, "queue": queue})

    async def resume(self, queue: str) -> None:
        await self._broker.run("lookup.resume", {"ns": self._broker.store.ns, "queue": queue})

    async def health(self) -> Health:
        store, began = self._broker.store, time.monotonic()
        try:
            await self._broker.run("meta.write_and_read", (store.ns,))
            ok, detail = True, store.facts.name
        except StoreError as error:
            ok, detail = False, error.message
        return Health(
            ok=ok,
            round_trip_ms=(time.monotonic() - began) * 1000,
            detail=detail,
            warnings=tuple(store.facts.worth_saying(store.location.shown)),
        )


def _stats(row: Sequence[Any]) -> QueueStats:
    queue, ready, delayed, parked, leased, dead, oldest_ms, paused = row
    return QueueStats(
        queue=queue,
        ready=ready,
        delayed=delayed,
        parked=parked,
        leased=leased,
        dead=dead,
        oldest_ms=max(0, oldest_ms),
        paused=paused,
    )


def _page(rows: Sequence[Sequence[Any]], limit: int, key: int) -> LocatedPage:
    """Return the first *limit* of *rows*; the column *key* of the last of them asks for more."""
    has_more = len(rows) > limit > 0
    return LocatedPage(
        items=tuple(locate(row) for row in rows[:limit]),
        cursor=str(rows[limit - 1][key]) if has_more else None,
    )


def _purge(id: str, task: str, queue: str, failed: int, wall_ms: int) -> Cancellation:
    record = Record(
        id=id,
        state=State.CANCELLED,
        attempt=failed,
        task=task,
        queue=queue,
        reason="purged",
        finished_at_ms=wall_ms,
    )
    return Cancellation(id=id, reason="purged", record=record)
