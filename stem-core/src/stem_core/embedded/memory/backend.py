"""`InMemoryResultBackend`: the result backend contract over a store in this process."""

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
from stem_core.embedded.memory.companions import (
    MemoryHeartbeats,
    MemoryLocks,
    MemorySchedules,
)
from stem_core.embedded.memory.handle import MemoryHandle
from stem_core.embedded.memory.records import MAX_VALUE
from stem_core.embedded.waiting import Nap
from stem_core.model.outcome import Record

__all__ = ["BACKEND_CAPABILITIES", "InMemoryResultBackend"]

BACKEND_CAPABILITIES: Final = BackendCapabilities(
    durability=Durability.MEMORY,
    push=Support.NATIVE,
    listing=Support.NATIVE,
    progress=Support.NATIVE,
    multiprocess=False,
    max_payload=MAX_VALUE,
)


class InMemoryResultBackend(MemoryHandle, ResultBackend):
    """Results of one process. With an `InMemoryBroker` of the same name it is one store."""

    @property
    def capabilities(self) -> BackendCapabilities:
        """What this backend can do."""
        return BACKEND_CAPABILITIES

    async def save(self, records: Sequence[Record]) -> Sequence[bool]:
        store = self.enter()
        return store.step(store.records.save, records)

    async def load(self, ids: Sequence[str]) -> Sequence[Record | None]:
        store = self.enter()
        return store.step(store.records.load, ids)

    async def wait(self, id: str, *, timeout_ms: int) -> Record | None:
        store = self.enter()
        clock, nap = store.clock, Nap()
        until_ms = clock.monotonic_ms() + timeout_ms
        try:
            while not self.is_closed:
                record = store.ended_or_sleep(id, nap)
                if record is not None or clock.monotonic_ms() >= until_ms:
                    return record
                await nap.sleep(clock, until_ms)
        finally:
            store.dismiss(nap, result_of=id)
        return None

    async def list(
        self,
        where: RecordFilter | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RecordPage:
        store = self.enter()
        return store.step(store.records.list, where, limit, cursor)

    async def progress(self, updates: Sequence[Progress]) -> None:
        store = self.enter()
        store.step(store.records.note_progress, updates)

    async def progress_of(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        store = self.enter()
        return store.step(store.records.progress_of, ids)

    async def reopen(self, replayed: Sequence[tuple[str, int]]) -> Sequence[bool]:
        store = self.enter()
        return store.step(store.records.reopen, replayed)

    async def expire(self, ids: Sequence[str], *, ttl_ms: int) -> Sequence[bool]:
        store = self.enter()
        return store.step(store.records.expire, ids, ttl_ms)

    @property
    def heartbeats(self) -> HeartbeatStore:
        """Where live workers are listed."""
        return MemoryHeartbeats(self)

    @property
    def schedules(self) -> ScheduleStore:
        """Where schedules keep their state."""
        return MemorySchedules(self)

    @property
    def locks(self) -> LockStore:
        """Named locks with fences."""
        return MemoryLocks(self)
