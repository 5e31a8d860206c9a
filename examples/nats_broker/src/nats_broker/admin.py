"""What operators do: look, hold, replay, remove. Each looks through the whole view."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from heapq import nlargest, nsmallest
from secrets import token_hex
from typing import Final, TypeVar

import stem_core.plugin as stem
from nats_broker.draft import Draft
from nats_broker.handle import NatsHandle
from nats_broker.ledger import Ledger, located
from nats_broker.room import Room
from nats_broker.values import Entry, Probe, Switch, name_of
from stem_core.plugin import Place

R = TypeVar("R")

_MOST_PURGED: Final = 400
"""Each is a message and a record, and one batch of the server holds 1,000 of both."""

_WAITING: Final = (Place.READY, Place.DELAYED, Place.PARKED)


class NatsAdmin(stem.BrokerAdmin):
    """The operators' view of one namespace."""

    def __init__(self, handle: NatsHandle, max_payload: int) -> None:
        self._handle, self._max_payload = handle, max_payload

    async def stats(self, queues: Sequence[str] = ()) -> Sequence[stem.QueueStats]:
        """Count the messages of queues."""
        room, now_ms, entries = await self._look()
        names = set(queues) or {entry.message.queue for entry in entries}
        by_queue: dict[str, list[Entry]] = {name: [] for name in names}
        for entry in entries:
            if entry.message.queue in by_queue:
                by_queue[entry.message.queue].append(entry)
        draft = Draft(room.view, now_ms, 0)
        return [_stats(name, by_queue[name], now_ms, draft) for name in sorted(names)]

    async def peek(
        self, queue: str, *, limit: int = 20, cursor: str | None = None
    ) -> stem.LocatedPage:
        """Show live messages by id; the cursor is the last id of the page before."""
        _, now_ms, entries = await self._look()
        live = (
            entry
            for entry in entries
            if entry.message.queue == queue
            and entry.place is not Place.DEAD
            and (cursor is None or entry.key > cursor)
        )
        found = nsmallest(limit + 1, live, key=lambda entry: entry.key)
        return _page(found, limit, now_ms, lambda entry: entry.key)

    async def dead_letters(
        self, queue: str | None = None, *, limit: int = 20, cursor: str | None = None
    ) -> stem.LocatedPage:
        """List dead letters, the latest first; the cursor is the last death of the page before."""
        _, now_ms, entries = await self._look()
        dead = (
            entry
            for entry in entries
            if entry.place is Place.DEAD
            and queue in (None, entry.message.queue)
            and (cursor is None or _death(entry) < cursor)
        )
        return _page(nlargest(limit + 1, dead, key=_death), limit, now_ms, _death)

    async def replay(self, ids: Sequence[str]) -> Sequence[stem.Replayed]:
        """Put dead letters back to ready."""
        return await self._step(lambda ledger: [ledger.replay(id) for id in ids])

    async def discard(self, ids: Sequence[str]) -> Sequence[stem.Replayed]:
        """Remove dead letters for good."""
        return await self._step(lambda ledger: [ledger.discard(id) for id in ids])

    async def purge(self, queue: str, *, limit: int = 500) -> Sequence[stem.Cancelled]:
        """Cancel what waits in *queue*, the oldest ids first."""
        room, _, entries = await self._look()
        waiting = (e for e in entries if e.message.queue == queue and e.place in _WAITING)
        most = min(limit, _MOST_PURGED)
        ids = [entry.key for entry in nsmallest(most, waiting, key=lambda entry: entry.key)]

        def purge_them(draft: Draft) -> Sequence[stem.Cancelled]:
            ledger = Ledger(draft, self._max_payload)
            still = [entry for id in ids if (entry := draft.entry(id)) and entry.place in _WAITING]
            return [ledger.end_waiting(entry, _purged(entry, draft.now_ms)) for entry in still]

        return await room.step(purge_them)

    async def pause(self, queue: str) -> None:
        """Hold *queue*."""
        await self._turn(Switch(queue, is_paused=True))

    async def resume(self, queue: str) -> None:
        """Let *queue* go on."""
        await self._turn(Switch(queue, is_paused=False))

    async def health(self) -> stem.Health:
        """Write and read back."""
        began = time.monotonic()
        probe = Probe(token_hex(8))
        try:
            room = await self._handle.room()
            await room.step(lambda draft: draft.put(probe))
            await room.sync()
        except stem.StoreError as error:
            return stem.Health(ok=False, round_trip_ms=_since_ms(began), detail=str(error))
        is_back = room.view.get(name_of(Probe, probe.key)) is not None
        return stem.Health(ok=is_back, round_trip_ms=_since_ms(began), detail="NATS JetStream")

    # ── pieces ───────────────────────────────────────────────────────────────

    async def _look(self) -> tuple[Room, int, list[Entry]]:
        room = await self._handle.room()
        await room.sync()
        now_ms = room.clock.now_ms()
        return room, now_ms, list(room.view.entries(now_ms))

    async def _step(self, work: Callable[[Ledger], R]) -> R:
        room = await self._handle.room()
        return await room.step(lambda draft: work(Ledger(draft, self._max_payload)))

    async def _turn(self, switch: Switch) -> None:
        room = await self._handle.room()
        await room.step(lambda draft: draft.put(switch))


def _stats(name: str, entries: Iterable[Entry], now_ms: int, draft: Draft) -> stem.QueueStats:
    entries = list(entries)
    counts = Counter(entry.place for entry in entries)
    ready = [entry.due_ms for entry in entries if entry.place is Place.READY]
    return stem.QueueStats(
        queue=name,
        ready=counts[Place.READY],
        delayed=counts[Place.DELAYED],
        parked=counts[Place.PARKED],
        leased=counts[Place.LEASED],
        dead=counts[Place.DEAD],
        oldest_ms=max(0, now_ms - min(ready)) if ready else 0,
        paused=draft.is_paused(name),
    )


def _page(
    found: Sequence[Entry], limit: int, now_ms: int, cursor_of: Callable[[Entry], str]
) -> stem.LocatedPage:
    page = found[:limit]
    items = [located(entry, now_ms) for entry in page]
    return stem.LocatedPage(
        items=tuple(item for item in items if item is not None),
        cursor=cursor_of(page[-1]) if page and len(found) > limit else None,
    )


def _death(entry: Entry) -> str:
    """Return what orders deaths: the instant, and the id where several share it."""
    return f"{entry.died_at_ms:015} {entry.key}"


def _purged(entry: Entry, now_ms: int) -> stem.Record:
    return stem.Record(
        id=entry.key,
        state=stem.State.CANCELLED,
        attempt=entry.failed,
        task=entry.message.task,
        queue=entry.message.queue,
        reason="purged",
        finished_at_ms=now_ms,
    )


def _since_ms(began_s: float) -> float:
    return (time.monotonic() - began_s) * 1000
