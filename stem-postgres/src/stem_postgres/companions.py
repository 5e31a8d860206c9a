"""Heartbeats, schedule states and named locks of a Postgres store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stem_core.plugin import Heartbeat, HeartbeatStore, LockStore, ScheduleState, ScheduleStore

if TYPE_CHECKING:
    from stem_postgres.backend import PostgresResultBackend

__all__ = ["PostgresHeartbeats", "PostgresLocks", "PostgresSchedules"]


class PostgresHeartbeats(HeartbeatStore):
    """The heartbeats of one handle's store."""

    def __init__(self, backend: PostgresResultBackend) -> None:
        self._backend = backend

    async def beat(self, heartbeat: Heartbeat) -> None:
        wanted = {
            "worker": heartbeat.worker,
            "at": heartbeat.at_ms,
            "ttl": heartbeat.ttl_ms,
            "detail": heartbeat.detail,
        }
        await self._backend.run("companions.beat", {**self._backend.here, **wanted})

    async def alive(self) -> Sequence[Heartbeat]:
        rows = await self._backend.call("companions.alive")
        return [
            Heartbeat(worker=worker, at_ms=at_ms, detail=detail, ttl_ms=ttl_ms)
            for worker, at_ms, detail, ttl_ms in rows
        ]

    async def leave(self, worker: str) -> None:
        await self._backend.run("companions.leave", (self._backend.store.ns, worker))


class PostgresSchedules(ScheduleStore):
    """The schedules of one handle's store."""

    def __init__(self, backend: PostgresResultBackend) -> None:
        self._backend = backend

    async def load_schedules(self) -> Sequence[ScheduleState]:
        rows = await self._backend.run("companions.schedules", (self._backend.store.ns,))
        return [
            ScheduleState(name=name, version=version, state=state) for name, version, state in rows
        ]

    async def save_schedule(self, state: ScheduleState) -> bool:
        wanted = {"name": state.name, "version": state.version, "state": state.state}
        here = {"ns": self._backend.store.ns}
        return bool(await self._backend.run("companions.save_schedule", {**here, **wanted}))

    async def remove_schedule(self, name: str) -> bool:
        where = (self._backend.store.ns, name)
        return bool(await self._backend.run("companions.remove_schedule", where))


class PostgresLocks(LockStore):
    """The locks of one handle's store."""

    def __init__(self, backend: PostgresResultBackend) -> None:
        self._backend = backend

    async def acquire(self, name: str, *, owner: str, ttl_ms: int) -> int | None:
        wanted = {"name": name, "owner": owner, "ttl": max(1, ttl_ms)}
        rows = await self._backend.run("companions.lock", {**self._backend.here, **wanted})
        return int(rows[0][0]) if rows else None

    async def release(self, name: str, *, owner: str) -> bool:
        wanted = {"name": name, "owner": owner}
        rows = await self._backend.run("companions.unlock", {**self._backend.here, **wanted})
        return bool(rows)
