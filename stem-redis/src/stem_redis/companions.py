"""Heartbeats, schedule states and named locks of a Redis store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from stem_core.plugin import Heartbeat, HeartbeatStore, LockStore, ScheduleState, ScheduleStore

if TYPE_CHECKING:
    from stem_redis.backend import RedisResultBackend

__all__ = ["RedisHeartbeats", "RedisLocks", "RedisSchedules"]

_write: Final = msgspec.msgpack.Encoder().encode
_read: Final = msgspec.msgpack.Decoder(tuple[str, int, bytes, int]).decode


class RedisHeartbeats(HeartbeatStore):
    """The heartbeats of one handle's store."""

    def __init__(self, backend: RedisResultBackend) -> None:
        self._backend = backend

    async def beat(self, heartbeat: Heartbeat) -> None:
        data = _write((heartbeat.worker, heartbeat.at_ms, heartbeat.detail, heartbeat.ttl_ms))
        await self._backend.run("beat", heartbeat.worker, heartbeat.ttl_ms, data)
        await self._backend.air()

    async def alive(self) -> Sequence[Heartbeat]:
        found = []
        for data in await self._backend.run("alive"):
            worker, at_ms, detail, ttl_ms = _read(data)
            found.append(Heartbeat(worker=worker, at_ms=at_ms, detail=detail, ttl_ms=ttl_ms))
        return sorted(found, key=lambda heartbeat: heartbeat.worker)

    async def leave(self, worker: str) -> None:
        backend = self._backend
        await backend.command("HDEL", f"{backend.store.prefix}beats", worker)


class RedisSchedules(ScheduleStore):
    """The schedules of one handle's store."""

    def __init__(self, backend: RedisResultBackend) -> None:
        self._backend = backend

    async def load_schedules(self) -> Sequence[ScheduleState]:
        kept = await self._backend.command("HGETALL", self._key)
        found = [
            ScheduleState(
                name=name.decode(), version=int.from_bytes(data[:8], "little"), state=data[8:]
            )
            for name, data in zip(kept[::2], kept[1::2], strict=True)
        ]
        return sorted(found, key=lambda state: state.name)

    async def save_schedule(self, state: ScheduleState) -> bool:
        saved = await self._backend.run("save_schedule", state.name, state.version, state.state)
        return bool(saved)

    async def remove_schedule(self, name: str) -> bool:
        return bool(await self._backend.command("HDEL", self._key, name))

    @property
    def _key(self) -> str:
        return f"{self._backend.store.prefix}schedules"


class RedisLocks(LockStore):
    """The locks of one handle's store."""

    def __init__(self, backend: RedisResultBackend) -> None:
        self._backend = backend

    async def acquire(self, name: str, *, owner: str, ttl_ms: int) -> int | None:
        return int(await self._backend.run("lock", name, owner, max(1, ttl_ms))) or None

    async def release(self, name: str, *, owner: str) -> bool:
        return int(await self._backend.run("lock", name, owner, 0)) == 1
