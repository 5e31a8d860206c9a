"""Heartbeats, schedule states and named locks of a SQLite store."""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.contracts.backend import (
    Heartbeat,
    HeartbeatStore,
    LockStore,
    ScheduleState,
    ScheduleStore,
)
from stem_core.embedded.sqlite.handle import SqliteHandle
from stem_core.embedded.sqlite.transaction import Reading, Writing

__all__ = ["SqliteHeartbeats", "SqliteLocks", "SqliteSchedules"]


class SqliteHeartbeats(HeartbeatStore):
    """The heartbeats of one handle's store."""

    def __init__(self, handle: SqliteHandle) -> None:
        self._handle = handle

    async def beat(self, heartbeat: Heartbeat) -> None:
        await self._handle.enter().write(_beat, heartbeat)

    async def alive(self) -> Sequence[Heartbeat]:
        return await self._handle.enter().read(_alive)

    async def leave(self, worker: str) -> None:
        await self._handle.enter().write(_leave, worker)


class SqliteSchedules(ScheduleStore):
    """The schedules of one handle's store."""

    def __init__(self, handle: SqliteHandle) -> None:
        self._handle = handle

    async def load_schedules(self) -> Sequence[ScheduleState]:
        return await self._handle.enter().read(_load_schedules)

    async def save_schedule(self, state: ScheduleState) -> bool:
        return await self._handle.enter().write(_save_schedule, state)

    async def remove_schedule(self, name: str) -> bool:
        return await self._handle.enter().write(_remove_schedule, name)


class SqliteLocks(LockStore):
    """The locks of one handle's store."""

    def __init__(self, handle: SqliteHandle) -> None:
        self._handle = handle

    async def acquire(self, name: str, *, owner: str, ttl_ms: int) -> int | None:
        return await self._handle.enter().write(_acquire, name, owner, ttl_ms)

    async def release(self, name: str, *, owner: str) -> bool:
        return await self._handle.enter().write(_release, name, owner)


def _beat(txn: Writing, beat: Heartbeat) -> None:
    due_ms = txn.now_ms + beat.ttl_ms
    txn.do("companions.beat", beat.worker, beat.at_ms, beat.detail, beat.ttl_ms, due_ms)


def _alive(txn: Reading) -> Sequence[Heartbeat]:
    return [
        Heartbeat(worker=worker, at_ms=at_ms, detail=detail, ttl_ms=ttl_ms)
        for worker, at_ms, detail, ttl_ms in txn.all("companions.alive", txn.now_ms)
    ]


def _leave(txn: Writing, worker: str) -> None:
    txn.do("companions.leave", worker)


def _load_schedules(txn: Reading) -> Sequence[ScheduleState]:
    return [
        ScheduleState(name=n, version=v, state=s) for n, v, s in txn.all("companions.schedules")
    ]


def _save_schedule(txn: Writing, state: ScheduleState) -> bool:
    old = txn.one("companions.schedule_version", state.name)
    if state.version != (old[0] if old is not None else 0) + 1:
        return False
    txn.do("companions.save_schedule", state.name, state.version, state.state)
    return True


def _remove_schedule(txn: Writing, name: str) -> bool:
    return txn.do("companions.remove_schedule", name) > 0


def _acquire(txn: Writing, name: str, owner: str, ttl_ms: int) -> int | None:
    held = txn.one("companions.lock", name)
    fence = 0
    if held is not None:
        holder, fence, due_ms = held
        is_held = due_ms > txn.now_ms
        if is_held and holder != owner:
            return None
        fence -= is_held  # its own lock, renewed, keeps the fence
    txn.do("companions.take_lock", name, owner, fence + 1, txn.now_ms + ttl_ms)
    return int(fence) + 1


def _release(txn: Writing, name: str, owner: str) -> bool:
    return txn.do("companions.free_lock", name, owner, txn.now_ms) > 0
