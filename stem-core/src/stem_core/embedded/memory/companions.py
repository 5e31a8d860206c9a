"""Heartbeats, schedule states and named locks of a memory store.

Each is a plain part, used in a step of the store, and a thin class that fulfils
the contract with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stem_core.contracts.backend import (
    Heartbeat,
    HeartbeatStore,
    LockStore,
    ScheduleState,
    ScheduleStore,
)

if TYPE_CHECKING:
    from stem_core.embedded.memory.handle import MemoryHandle

__all__ = [
    "Heartbeats",
    "Locks",
    "MemoryHeartbeats",
    "MemoryLocks",
    "MemorySchedules",
    "Schedules",
]


class Heartbeats:
    """The last sign of life of each worker."""

    def __init__(self) -> None:
        self._beats: dict[str, tuple[Heartbeat, int]] = {}

    def beat(self, now_ms: int, heartbeat: Heartbeat) -> None:
        """`HeartbeatStore.beat`; forgets the dead meanwhile."""
        self._beats = {name: kept for name, kept in self._beats.items() if kept[1] > now_ms}
        self._beats[heartbeat.worker] = (heartbeat, now_ms + heartbeat.ttl_ms)

    def alive(self, now_ms: int) -> Sequence[Heartbeat]:
        """`HeartbeatStore.alive`."""
        return [kept[0] for _, kept in sorted(self._beats.items()) if kept[1] > now_ms]

    def leave(self, now_ms: int, worker: str) -> None:
        """`HeartbeatStore.leave`."""
        self._beats.pop(worker, None)


class Schedules:
    """The state of each schedule."""

    def __init__(self) -> None:
        self._states: dict[str, ScheduleState] = {}

    def load(self, now_ms: int) -> Sequence[ScheduleState]:
        """`ScheduleStore.load_schedules`."""
        return [self._states[name] for name in sorted(self._states)]

    def save(self, now_ms: int, state: ScheduleState) -> bool:
        """`ScheduleStore.save_schedule`."""
        old = self._states.get(state.name)
        if state.version != (old.version if old else 0) + 1:
            return False
        self._states[state.name] = state
        return True

    def remove(self, now_ms: int, name: str) -> bool:
        """`ScheduleStore.remove_schedule`."""
        return self._states.pop(name, None) is not None


class Locks:
    """Who holds which name, until when. One counter gives the fences of all names."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, int, int]] = {}
        self._fences = 0

    def acquire(self, now_ms: int, name: str, owner: str, ttl_ms: int) -> int | None:
        """`LockStore.acquire`; forgets the ended meanwhile."""
        self._held = {n: held for n, held in self._held.items() if held[1] > now_ms}
        held = self._held.get(name)
        if held is not None and held[0] != owner:
            return None
        if held is None:
            self._fences += 1
        fence = held[2] if held else self._fences
        self._held[name] = (owner, now_ms + ttl_ms, fence)
        return fence

    def release(self, now_ms: int, name: str, owner: str) -> bool:
        """`LockStore.release`."""
        held = self._held.get(name)
        if held is None or held[0] != owner or held[1] <= now_ms:
            return False
        del self._held[name]
        return True


class MemoryHeartbeats(HeartbeatStore):
    """The heartbeats of one handle's store."""

    def __init__(self, handle: MemoryHandle) -> None:
        self._handle = handle

    async def beat(self, heartbeat: Heartbeat) -> None:
        store = self._handle.enter()
        store.step(store.heartbeats.beat, heartbeat)

    async def alive(self) -> Sequence[Heartbeat]:
        store = self._handle.enter()
        return store.step(store.heartbeats.alive)

    async def leave(self, worker: str) -> None:
        store = self._handle.enter()
        store.step(store.heartbeats.leave, worker)


class MemorySchedules(ScheduleStore):
    """The schedules of one handle's store."""

    def __init__(self, handle: MemoryHandle) -> None:
        self._handle = handle

    async def load_schedules(self) -> Sequence[ScheduleState]:
        store = self._handle.enter()
        return store.step(store.schedules.load)

    async def save_schedule(self, state: ScheduleState) -> bool:
        store = self._handle.enter()
        return store.step(store.schedules.save, state)

    async def remove_schedule(self, name: str) -> bool:
        store = self._handle.enter()
        return store.step(store.schedules.remove, name)


class MemoryLocks(LockStore):
    """The locks of one handle's store."""

    def __init__(self, handle: MemoryHandle) -> None:
        self._handle = handle

    async def acquire(self, name: str, *, owner: str, ttl_ms: int) -> int | None:
        store = self._handle.enter()
        return store.step(store.locks.acquire, name, owner, ttl_ms)

    async def release(self, name: str, *, owner: str) -> bool:
        store = self._handle.enter()
        return store.step(store.locks.release, name, owner)
