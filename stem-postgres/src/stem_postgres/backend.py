"""`PostgresResultBackend`: the result backend contract over PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from typing import Any, Final

from stem_core.plugin import (
    BackendCapabilities,
    Durability,
    Fault,
    HeartbeatStore,
    LockStore,
    Nap,
    Progress,
    Record,
    RecordFilter,
    RecordPage,
    ResultBackend,
    ScheduleStore,
    StoreError,
    Support,
    replace,
    storable,
)
from stem_postgres.arrays import Texts, columns
from stem_postgres.companions import PostgresHeartbeats, PostgresLocks, PostgresSchedules
from stem_postgres.handle import PostgresHandle, Store
from stem_postgres.objections import MAX_PAYLOAD, is_text, record_bytes
from stem_postgres.rows import RECORD_COLUMNS, read_record, record_columns
from stem_postgres.wakes import Wakes, word_of

__all__ = ["BACKEND_CAPABILITIES", "PostgresResultBackend"]

BACKEND_CAPABILITIES: Final = BackendCapabilities(
    durability=Durability.SYNCED,
    push=Support.NATIVE,
    listing=Support.NATIVE,
    progress=Support.NATIVE,
    multiprocess=True,
    max_payload=MAX_PAYLOAD,
)
_FIRST_LOOK_MS: Final = 50
_STRETCH: Final = 200
_NOTED_FOR_MS: Final = 10_000
"""How long a note that somebody waits is believed, unless it is renewed."""


class PostgresResultBackend(PostgresHandle, ResultBackend):
    """Results for many machines. With a `PostgresBroker` of the same schema and namespace it is
    one store."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._wakes = Wakes(store.channel)

    @property
    def capabilities(self) -> BackendCapabilities:
        """What this backend can do, and how durable its server is."""
        found = replace(BACKEND_CAPABILITIES, durability=self.store.facts.durability)
        if not self.store.listens:
            found = replace(found, push=Support.EMULATED)
        return found

    # ── keeping ──────────────────────────────────────────────────────────────

    async def save(self, records: Sequence[Record]) -> Sequence[bool]:
        self.enter()
        rows = [_row(record) for record in records]
        if not rows:
            return []
        await self.sweep()
        if len({record.id for record in records}) == len(records):
            return await self._offer(rows)
        # One id comes twice: the later must see the earlier.
        return [kept for row in rows for kept in await self._offer([row])]

    async def _offer(self, rows: Sequence[tuple[Any, ...]]) -> list[bool]:
        kept = columns(rows, (Texts, *RECORD_COLUMNS))
        ((refused,),) = await self.call("calls.offer", *kept, self.store.told)
        return [row[0] not in refused for row in rows]

    async def reopen(self, replayed: Sequence[tuple[str, int]]) -> Sequence[bool]:
        self.enter()
        if not replayed:
            return []
        ids, fences = [storable(id) for id, _ in replayed], [fence for _, fence in replayed]
        return [existed for (existed,) in await self.call("calls.reopen", ids, fences)]

    async def expire(self, ids: Sequence[str], *, ttl_ms: int) -> Sequence[bool]:
        self.enter()
        if not ids:
            return []
        wanted = {"ids": [id for id in ids if is_text(id)], "ttl": ttl_ms}
        rows = await self.run("records.expire", {**self.here, **wanted})
        existed = {id for (id,) in rows}
        return [id in existed for id in ids]

    # ── reading ──────────────────────────────────────────────────────────────

    async def load(self, ids: Sequence[str]) -> Sequence[Record | None]:
        self.enter()
        if not ids:
            return []
        rows = await self.call("records.load", [id for id in ids if is_text(id)])
        found = {row[0]: read_record(row) for row in rows}
        return [found.get(id) for id in ids]

    async def wait(self, id: str, *, timeout_ms: int) -> Record | None:
        server, clock = self.enter(), self.store.clock
        options = self.store.location.options
        until_ms = clock.monotonic_ms() + timeout_ms
        record = await self._ended(id)
        if record is not None or timeout_ms <= 0 or not is_text(id):
            return record
        nap = Nap()
        self._wakes.note(nap, [word_of("r", id)])
        pause_ms = _FIRST_LOOK_MS
        try:
            while not self.is_closed:
                if self.store.listens:
                    await self._wakes.follow(server)
                    await self._note(id)
                record = await self._ended(id)
                now_ms = clock.monotonic_ms()
                if record is not None or now_ms >= until_ms:
                    return record
                with contextlib.suppress(StoreError):  # nobody tells: looking is enough
                    await nap.sleep(clock, min(until_ms, now_ms + pause_ms))
                pause_ms = min(2 * pause_ms, options.poll)
        finally:
            self._wakes.leave(nap)
        return None

    async def _note(self, id: str) -> None:
        """Leave a note that somebody waits for *id*: without one its end is not told."""
        now_ms = self.store.clock.wall_ms()
        await self.run("records.note_waiter", (self.store.ns, now_ms + _NOTED_FOR_MS, id))

    async def _ended(self, id: str) -> Record | None:
        if not is_text(id):
            return None
        rows = await self.call("records.ended", id)
        return read_record(rows[0]) if rows else None

    async def list(
        self,
        where: RecordFilter | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RecordPage:
        self.enter()
        where = where or RecordFilter()
        stretch = max(_STRETCH, limit + 1)
        wanted: dict[str, Any] = {
            "states": _any_of([state.value for state in where.states]),
            "tasks": _any_of(where.tasks),
            "queues": _any_of(where.queues),
            "limit": stretch,
        }
        found: list[Record] = []
        below = cursor
        while len(found) <= limit:
            rows = await self.run("records.list", {**self.here, **wanted, "below": below})
            found += [each for each in map(read_record, rows) if where.matches(each)]
            if len(rows) < stretch:
                break
            below = rows[-1][0]
        page = tuple(found[:limit])
        return RecordPage(records=page, cursor=page[-1].id if page and len(found) > limit else None)

    # ── progress ─────────────────────────────────────────────────────────────

    async def progress(self, updates: Sequence[Progress]) -> None:
        self.enter()
        newest = {(each.id, each.fence): each for each in updates if is_text(each.id)}
        last = {id: newest[id, fence] for id, fence in sorted(newest)}
        if not last:
            return
        await self.run(
            "records.note_progress",
            (
                self.store.instant(),
                self.store.ns,
                list(last),
                [each.fence for each in last.values()],
                [each.ttl_ms for each in last.values()],
                [each.value for each in last.values()],
            ),
        )

    async def progress_of(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        self.enter()
        if not ids:
            return []
        rows = await self.call("records.progress_of", [id for id in ids if is_text(id)])
        values = {row[0]: row[1] for row in rows}
        return [values.get(id) for id in ids]

    # ── companions ───────────────────────────────────────────────────────────

    @property
    def heartbeats(self) -> HeartbeatStore:
        """Where live workers are listed."""
        return PostgresHeartbeats(self)

    @property
    def schedules(self) -> ScheduleStore:
        """Where schedules keep their state."""
        return PostgresSchedules(self)

    @property
    def locks(self) -> LockStore:
        """Named locks with fences."""
        return PostgresLocks(self)

    async def aclose(self) -> None:
        """Free the connections. Idempotent."""
        if self._server is not None and self._loop is asyncio.get_running_loop():
            self.is_closed = True
            await self._wakes.stop()
        await super().aclose()


def _row(record: Record) -> tuple[Any, ...]:
    data, objection = record_bytes(record)
    if objection:
        raise StoreError(f"record {record.id}: {objection}", fault=Fault.DATA)
    return (record.id, *record_columns(record, data))


def _any_of(names: Collection[str]) -> list[str] | None:
    return sorted(names) or None
