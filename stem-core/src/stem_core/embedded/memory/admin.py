"""What operators do with a memory store: look, hold, replay, remove.

Each verb is one function over the machine, run as one step. They may cost as much
as there is in the store: none of them is on the hot path.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nlargest, nsmallest
from typing import TYPE_CHECKING

from stem_core.contracts.admin import (
    BrokerAdmin,
    Health,
    LocatedPage,
    QueueStats,
    Replayed,
    ReplayStatus,
)
from stem_core.contracts.messages import Cancelled, CancelStatus, Place
from stem_core.embedded.memory.handout import locate
from stem_core.embedded.memory.queues import Entry, Queue
from stem_core.model.outcome import Record, State

if TYPE_CHECKING:
    from stem_core.embedded.memory.handle import MemoryHandle
    from stem_core.embedded.memory.store import MemoryStore

__all__ = ["MemoryAdmin"]

_PROBE = "stem.health"


class MemoryAdmin(BrokerAdmin):
    """The operators' view of one handle's store."""

    def __init__(self, handle: MemoryHandle) -> None:
        self._handle = handle

    async def stats(self, queues: Sequence[str] = ()) -> Sequence[QueueStats]:
        store = self._handle.enter()
        return store.step(_stats, store, queues)

    async def peek(self, queue: str, *, limit: int = 20, cursor: str | None = None) -> LocatedPage:
        store = self._handle.enter()
        return store.step(_peek, store, queue, limit, cursor)

    async def dead_letters(
        self, queue: str | None = None, *, limit: int = 20, cursor: str | None = None
    ) -> LocatedPage:
        store = self._handle.enter()
        return store.step(_dead_letters, store, queue, limit, cursor)

    async def replay(self, ids: Sequence[str]) -> Sequence[Replayed]:
        store = self._handle.enter()
        return store.step(_replay, store, ids)

    async def discard(self, ids: Sequence[str]) -> Sequence[Replayed]:
        store = self._handle.enter()
        return store.step(_discard, store, ids)

    async def purge(self, queue: str, *, limit: int = 500) -> Sequence[Cancelled]:
        store = self._handle.enter()
        return store.step(_purge, store, queue, limit)

    async def pause(self, queue: str) -> None:
        store = self._handle.enter()
        store.step(_pause, store, queue)

    async def resume(self, queue: str) -> None:
        store = self._handle.enter()
        store.step(_resume, store, queue)

    async def health(self) -> Health:
        store = self._handle.enter()
        before_ms = store.clock.monotonic_ms()
        fence = store.step(store.locks.acquire, _PROBE, _PROBE, 1000)
        given_back = store.step(store.locks.release, _PROBE, _PROBE)
        return Health(
            ok=fence is not None and given_back,
            round_trip_ms=float(store.clock.monotonic_ms() - before_ms),
            detail=f"memory store {store.name!r}",
            warnings=("nothing in it survives this process, and no other process sees it",),
        )


def _stats(now_ms: int, store: MemoryStore, names: Sequence[str]) -> list[QueueStats]:
    queues = store.machine.queues
    return [
        _stats_of(queues.get(name) or Queue(name), now_ms)
        for name in sorted(set(names) or set(queues))
    ]


def _stats_of(queue: Queue, now_ms: int) -> QueueStats:
    since_ms = queue.oldest_ready_ms()
    return QueueStats(
        queue=queue.name,
        ready=queue.ready,
        delayed=queue.delayed,
        parked=queue.parked,
        leased=queue.leased,
        dead=queue.dead,
        oldest_ms=0 if since_ms is None else now_ms - since_ms,
        paused=queue.paused,
    )


def _peek(
    now_ms: int, store: MemoryStore, queue: str, limit: int, cursor: str | None
) -> LocatedPage:
    found = nsmallest(
        limit + 1,
        (
            entry
            for id, entry in store.machine.entries.items()
            if entry.queue.name == queue
            and entry.place is not Place.DEAD
            and (cursor is None or id > cursor)
        ),
        key=lambda entry: entry.message.id,
    )
    page = found[:limit]
    return LocatedPage(
        items=tuple(locate(entry, now_ms, store.clock.wall_ms()) for entry in page),
        cursor=page[-1].message.id if page and len(found) > limit else None,
    )


def _dead_letters(
    now_ms: int, store: MemoryStore, queue: str | None, limit: int, cursor: str | None
) -> LocatedPage:
    found = nlargest(
        limit + 1,
        (
            entry
            for entry in store.machine.graves.values()
            if (queue is None or entry.queue.name == queue)
            and (cursor is None or entry.death < int(cursor))
            and entry.due_ms > now_ms
        ),
        key=lambda entry: entry.death,
    )
    page = found[:limit]
    return LocatedPage(
        items=tuple(locate(entry, now_ms, store.clock.wall_ms()) for entry in page),
        cursor=str(page[-1].death) if page and len(found) > limit else None,
    )


def _replay(now_ms: int, store: MemoryStore, ids: Sequence[str]) -> list[Replayed]:
    return [_replay_one(now_ms, store, id) for id in ids]


def _replay_one(now_ms: int, store: MemoryStore, id: str) -> Replayed:
    entry = store.machine.entries.get(id)
    if entry is None:
        return Replayed(ReplayStatus.UNKNOWN)
    if entry.place is not Place.DEAD:
        return Replayed(ReplayStatus.ALREADY)
    if store.machine.holder_of_key(entry, now_ms) is not None:
        return Replayed(ReplayStatus.UNIQUE)
    store.machine.revive(entry, now_ms)
    store.records.reopen(now_ms, [(id, entry.fence)])
    return Replayed(ReplayStatus.DONE, entry.fence)


def _discard(now_ms: int, store: MemoryStore, ids: Sequence[str]) -> list[Replayed]:
    return [_discard_one(now_ms, store, id) for id in ids]


def _discard_one(now_ms: int, store: MemoryStore, id: str) -> Replayed:
    entry = store.machine.entries.get(id)
    if entry is None:
        return Replayed(ReplayStatus.UNKNOWN)
    if entry.place is not Place.DEAD:
        return Replayed(ReplayStatus.ALREADY)
    store.machine.forget(entry, now_ms)
    return Replayed(ReplayStatus.DONE, entry.fence)


def _purge(now_ms: int, store: MemoryStore, name: str, limit: int) -> list[Cancelled]:
    queue = store.machine.queues.get(name)
    if queue is None:
        return []
    doomed = queue.waiting(limit)
    for entry in doomed:
        store.machine.end_waiting(entry, _purged(entry, store.clock.wall_ms()), now_ms)
    return [Cancelled(CancelStatus.CANCELLED, entry.message, entry.fence) for entry in doomed]


def _purged(entry: Entry, wall_ms: int) -> Record:
    return Record(
        id=entry.message.id,
        state=State.CANCELLED,
        attempt=entry.failed,
        task=entry.message.task,
        queue=entry.queue.name,
        reason="purged",
        finished_at_ms=wall_ms,
    )


def _pause(now_ms: int, store: MemoryStore, name: str) -> None:
    store.machine.queue(name).paused = True


def _resume(now_ms: int, store: MemoryStore, name: str) -> None:
    store.machine.queue(name).paused = False
    store.sleepers.ready(name)
