"""What operators do with a SQLite store: look, hold, replay, remove."""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.contracts.admin import BrokerAdmin, Health, LocatedPage, QueueStats, Replayed
from stem_core.contracts.messages import Cancelled
from stem_core.embedded.sqlite import moving
from stem_core.embedded.sqlite.handle import SqliteHandle
from stem_core.embedded.sqlite.transaction import Writing
from stem_core.model.errors import StoreError

__all__ = ["SqliteAdmin"]


class SqliteAdmin(BrokerAdmin):
    """The operators' view of one handle's store."""

    def __init__(self, handle: SqliteHandle) -> None:
        self._handle = handle

    async def stats(self, queues: Sequence[str] = ()) -> Sequence[QueueStats]:
        return await self._handle.enter().read(moving.stats, queues)

    async def peek(self, queue: str, *, limit: int = 20, cursor: str | None = None) -> LocatedPage:
        return await self._handle.enter().read(moving.peek, queue, limit, cursor)

    async def dead_letters(
        self, queue: str | None = None, *, limit: int = 20, cursor: str | None = None
    ) -> LocatedPage:
        return await self._handle.enter().read(moving.dead_letters, queue, limit, cursor)

    async def replay(self, ids: Sequence[str]) -> Sequence[Replayed]:
        store = self._handle.enter()
        return await store.write(moving.replay, ids) if ids else []

    async def discard(self, ids: Sequence[str]) -> Sequence[Replayed]:
        store = self._handle.enter()
        return await store.write(moving.discard, ids) if ids else []

    async def purge(self, queue: str, *, limit: int = 500) -> Sequence[Cancelled]:
        return await self._handle.enter().write(moving.purge, queue, limit)

    async def pause(self, queue: str) -> None:
        await self._handle.enter().write(moving.pause, queue)

    async def resume(self, queue: str) -> None:
        await self._handle.enter().write(moving.resume, queue)

    async def health(self) -> Health:
        store = self._handle.enter()
        before_ms = store.clock.monotonic_ms()
        ok, detail = True, f"SQLite store {store.location.path}, durability {store.durability}"
        try:
            await store.write(_fill)
            await store.write(_empty)
        except StoreError as error:
            ok, detail = False, error.message
        return Health(
            ok=ok,
            round_trip_ms=float(store.clock.monotonic_ms() - before_ms),
            detail=detail,
            warnings=_IN_MEMORY if store.location.is_memory else (),
        )


_IN_MEMORY = ("nothing in it survives this process, and no other process sees it",)


def _fill(txn: Writing) -> None:
    txn.do("admin.fill")


def _empty(txn: Writing) -> None:
    txn.do("admin.empty")
