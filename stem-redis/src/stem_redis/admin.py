"""What operators do with a Redis store: look, hold, replay, remove."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from heapq import nsmallest
from typing import TYPE_CHECKING, Final

from stem_core.plugin import (
    BrokerAdmin,
    Cancellation,
    Cancelled,
    CancelStatus,
    Health,
    Located,
    LocatedPage,
    Message,
    Place,
    QueueStats,
    Record,
    Replayed,
    ReplayStatus,
    State,
    StoreError,
)
from stem_redis import settling
from stem_redis.packing import locate, read_row, readable

if TYPE_CHECKING:
    from stem_redis.broker import RedisStreamsBroker

__all__ = ["RedisAdmin"]

_STEP: Final = 1000
"""Ids in one round trip when all of a queue must be looked at: a call stays short."""

_REPLAYED: Final = (
    ReplayStatus.DONE,
    ReplayStatus.ALREADY,
    ReplayStatus.UNKNOWN,
    ReplayStatus.UNIQUE,
)
_DAY_MS: Final = 86_400_000


class RedisAdmin(BrokerAdmin):
    """The operators' view of one handle's store."""

    def __init__(self, broker: RedisStreamsBroker) -> None:
        self._broker = broker

    async def stats(self, queues: Sequence[str] = ()) -> Sequence[QueueStats]:
        reply = await self._broker.run("stats", *dict.fromkeys(queues))
        rows = [reply[at : at + 8] for at in range(0, len(reply), 8)]
        found = [
            QueueStats(
                queue=name.decode(),
                ready=ready,
                delayed=delayed,
                parked=parked,
                leased=leased,
                dead=dead,
                oldest_ms=oldest_ms,
                paused=bool(paused),
            )
            for name, ready, delayed, parked, leased, dead, oldest_ms, paused in rows
        ]
        return sorted(found, key=lambda stats: stats.queue)

    async def peek(self, queue: str, *, limit: int = 20, cursor: str | None = None) -> LocatedPage:
        # No order by id is kept: all ids of the queue pass by, and the first ones stay.
        ids = [id async for id in self._live_ids(queue) if cursor is None or id > cursor]
        first = nsmallest(limit + 1, set(ids))
        page = await self._broker.lookup(first[:limit])
        return LocatedPage(
            items=tuple(found for found in page if found and found.place is not Place.DEAD),
            cursor=first[limit - 1] if len(first) > limit > 0 else None,
        )

    async def _live_ids(self, queue: str) -> AsyncIterator[str]:
        prefix = self._broker.store.prefix
        for set_ in ("q:", "d:", "l:"):
            at: bytes | int = 0
            while True:
                at, pairs = await self._broker.command(
                    "ZSCAN", f"{prefix}{set_}{queue}", at, "COUNT", _STEP
                )
                for id in pairs[::2]:
                    yield id.decode()
                if int(at) == 0:
                    break

    async def dead_letters(
        self, queue: str | None = None, *, limit: int = 20, cursor: str | None = None
    ) -> LocatedPage:
        items: list[Located] = []
        below = cursor or ""
        while True:
            wanted = limit - len(items)
            now_ms, *reply = await self._broker.run("dead_letters", queue or "", below, wanted + 1)
            found = list(zip(reply[::3], reply[1::3], reply[2::3], strict=True))
            items += [
                locate(now_ms, id.decode(errors="replace"), kept)
                for _, id, kept in found[:wanted]
                if kept is not None
            ]
            has_more = len(found) > wanted
            if has_more and wanted > 0:
                below = found[wanted - 1][0].decode()
            if not has_more or len(items) >= limit:
                break
        return LocatedPage(items=tuple(items), cursor=below if has_more and items else None)

    async def replay(self, ids: Sequence[str]) -> Sequence[Replayed]:
        reply = await self._broker.run("replay", *self._broker.homes, *ids) if ids else []
        return _replayed(reply)

    async def discard(self, ids: Sequence[str]) -> Sequence[Replayed]:
        return _replayed(await self._broker.run("discard", *ids) if ids else [])

    async def purge(self, queue: str, *, limit: int = 500) -> Sequence[Cancelled]:
        """Look what waits, then end each of it, but for what was leased meanwhile."""
        reply = await self._broker.run("waiting", queue, limit) if limit > 0 else []
        wishes = [
            _purge(
                readable(id.decode(errors="replace"), queue, data),
                read_row(row).failed,
                self._broker.store.clock.wall_ms(),
            )
            for id, row, data in zip(reply[::3], reply[1::3], reply[2::3], strict=True)
        ]
        if not wishes:
            return []
        args = settling.cancel_arguments(wishes)
        ended = settling.read_cancelled(
            wishes, await self._broker.run("cancel", *self._broker.homes, 1, *args)
        )
        return [each for each in ended if each.status is CancelStatus.CANCELLED]

    async def pause(self, queue: str) -> None:
        await self._broker.run("pause", queue, 1)

    async def resume(self, queue: str) -> None:
        await self._broker.run("pause", queue, 0)

    async def health(self) -> Health:
        server, store = self._broker.enter(), self._broker.store
        key, began = f"{store.prefix}health", time.monotonic()
        try:
            await server.command("SET", key, "here", "PX", 5_000)
            ok = await server.command("GET", key) == b"here"
            detail = store.facts.name
        except StoreError as error:
            ok, detail = False, error.message
        return Health(
            ok=ok,
            round_trip_ms=(time.monotonic() - began) * 500,  # two calls
            detail=detail,
            warnings=tuple(store.facts.worth_saying(store.location.shown)),
        )


def _replayed(reply: Sequence[bytes]) -> list[Replayed]:
    return [
        Replayed(_REPLAYED[int(status)], int(fence))
        for status, fence in zip(reply[::2], reply[1::2], strict=True)
    ]


def _purge(message: Message, attempt: int, wall_ms: int) -> Cancellation:
    record = Record(
        id=message.id,
        state=State.CANCELLED,
        attempt=attempt,
        task=message.task,
        queue=message.queue,
        reason="purged",
        finished_at_ms=wall_ms,
        ttl_ms=_DAY_MS,
    )
    return Cancellation(id=message.id, reason="purged", record=record)
