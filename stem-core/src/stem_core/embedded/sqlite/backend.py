"""`SqliteResultBackend`: the result backend contract over a file that processes share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stem_core.contracts.backend import (
    HeartbeatStore,
    LockStore,
    Progress,
    RecordFilter,
    RecordPage,
    ResultBackend,
    ScheduleStore,
)
from stem_core.contracts.capabilities import BackendCapabilities, Durability, Support
from stem_core.embedded.sqlite import records as book
from stem_core.embedded.sqlite.companions import SqliteHeartbeats, SqliteLocks, SqliteSchedules
from stem_core.embedded.sqlite.handle import SqliteHandle
from stem_core.embedded.sqlite.records import MAX_VALUE, Written
from stem_core.embedded.waiting import Nap
from stem_core.model.errors import Fault, StoreError
from stem_core.model.outcome import Record
from stem_core.model.value import replace

__all__ = ["BACKEND_CAPABILITIES", "SqliteResultBackend"]

BACKEND_CAPABILITIES: Final = BackendCapabilities(
    durability=Durability.SYNCED,
    push=Support.EMULATED,
    listing=Support.NATIVE,
    progress=Support.NATIVE,
    multiprocess=True,
    max_payload=MAX_VALUE,
)
_NORMAL: Final = replace(BACKEND_CAPABILITIES, durability=Durability.CACHED)
_MEMORY: Final = replace(
    BACKEND_CAPABILITIES, durability=Durability.MEMORY, multiprocess=False, push=Support.NATIVE
)


class SqliteResultBackend(SqliteHandle, ResultBackend):
    """Results of one machine. With a `SqliteBroker` of the same file it is one store."""

    @property
    def capabilities(self) -> BackendCapabilities:
        """What this backend can do."""
        if self.store.location.is_memory:
            return _MEMORY
        return BACKEND_CAPABILITIES if self.store.durability == "full" else _NORMAL

    async def save(self, records: Sequence[Record]) -> Sequence[bool]:
        store = self.enter()
        kept = [_written(record) for record in records]
        return await store.write(book.save, kept) if kept else []

    async def load(self, ids: Sequence[str]) -> Sequence[Record | None]:
        store = self.enter()
        return await store.read(book.load, ids) if ids else []

    async def wait(self, id: str, *, timeout_ms: int) -> Record | None:
        store = self.enter()
        clock, nap = store.clock, Nap()
        until_ms = clock.monotonic_ms() + timeout_ms
        try:
            while not self.is_closed:
                # Noted before the look: what is saved after the look ends the nap.
                store.waiters.wait_for_result(nap, id)
                (record,) = await store.read(book.load, [id])
                if record is not None and record.state.is_terminal:
                    return record
                if clock.monotonic_ms() >= until_ms:
                    return None
                await nap.sleep(clock, until_ms)  # the watcher looks for all who wait
        finally:
            store.waiters.dismiss(nap, result_of=id)
        return None

    async def list(
        self,
        where: RecordFilter | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RecordPage:
        store = self.enter()
        return await store.read(book.list_records, where, limit, cursor)

    async def progress(self, updates: Sequence[Progress]) -> None:
        store = self.enter()
        if updates:
            await store.write(book.note_progress, updates)

    async def progress_of(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        store = self.enter()
        return await store.read(book.progress_of, ids) if ids else []

    async def reopen(self, replayed: Sequence[tuple[str, int]]) -> Sequence[bool]:
        store = self.enter()
        return await store.write(book.reopen, replayed) if replayed else []

    async def expire(self, ids: Sequence[str], *, ttl_ms: int) -> Sequence[bool]:
        store = self.enter()
        return await store.write(book.expire, ids, ttl_ms) if ids else []

    @property
    def heartbeats(self) -> HeartbeatStore:
        """Where live workers are listed."""
        return SqliteHeartbeats(self)

    @property
    def schedules(self) -> ScheduleStore:
        """Where schedules keep their state."""
        return SqliteSchedules(self)

    @property
    def locks(self) -> LockStore:
        """Named locks with fences."""
        return SqliteLocks(self)


def _written(record: Record) -> Written:
    written, objection = book.write(record, record.id)
    if written is None:
        raise StoreError(f"record {record.id}: {objection}", fault=Fault.DATA)
    return written
