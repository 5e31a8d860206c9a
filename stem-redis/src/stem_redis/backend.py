"""`RedisResultBackend`: the result backend contract over Redis or Valkey."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, ClassVar, Final

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
)
from stem_redis.companions import RedisHeartbeats, RedisLocks, RedisSchedules
from stem_redis.handle import RedisHandle, Store
from stem_redis.line import Arg
from stem_redis.objections import MAX_PAYLOAD
from stem_redis.packing import read_record
from stem_redis.pushes import Pushes
from stem_redis.settling import record_arguments

__all__ = ["BACKEND_CAPABILITIES", "RedisResultBackend"]

BACKEND_CAPABILITIES: Final = BackendCapabilities(
    durability=Durability.CACHED,
    push=Support.NATIVE,
    listing=Support.NATIVE,
    progress=Support.NATIVE,
    multiprocess=True,
    max_payload=MAX_PAYLOAD,
)

_STRETCH: Final = 200
_AIR_EVERY_MS: Final = 1_000

_log: Final = logging.getLogger("stem.redis")


class RedisResultBackend(RedisHandle, ResultBackend):
    """Results for many machines. With a `RedisStreamsBroker` of the same server and
    namespace it is one store, if that knows its logical database (``results_db``)."""

    keeps_messages: ClassVar[bool] = False

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._pushes = Pushes(store.prefix)
        self._air_at_ms = 0

    @property
    def capabilities(self) -> BackendCapabilities:
        """What this backend can do, and how durable its server is."""
        return replace(BACKEND_CAPABILITIES, durability=self.store.facts.durability)

    async def air(self) -> None:
        """Clear away a little of what is left of records that have expired, if it is time to.

        A broker beside this backend does so itself; for records of a server of their own
        nobody else does.
        """
        now_ms = self.store.clock.monotonic_ms()
        if now_ms >= self._air_at_ms:
            self._air_at_ms = now_ms + _AIR_EVERY_MS
            if await self.run("air", *self.homes, 0):
                await self.clear_away()

    async def save(self, records: Sequence[Record]) -> Sequence[bool]:
        self.enter()
        args: list[Arg] = []
        for record in records:
            more, objection = record_arguments(record)
            if objection:
                raise StoreError(f"record {record.id}: {objection}", fault=Fault.DATA)
            args += (record.id, *more)
        if not args:
            return []
        await self.air()
        return list(map(bool, await self.run("save", *args)))

    async def load(self, ids: Sequence[str]) -> Sequence[Record | None]:
        self.enter()
        return [_read(data) for data in await self.run("load", *ids)] if ids else []

    async def wait(self, id: str, *, timeout_ms: int) -> Record | None:
        server, clock = self.enter(), self.store.clock
        until_ms = clock.monotonic_ms() + timeout_ms
        record = await self._ended(id)
        if record is not None or timeout_ms <= 0:
            return record
        nap = Nap()
        try:
            while not self.is_closed:
                now_ms = clock.monotonic_ms()
                look_ms = self._pushes.follow(server, nap, id)
                await nap.sleep(clock, min(until_ms, now_ms + look_ms))
                if self.is_closed:
                    break
                record = await self._ended(id)
                if record is not None or clock.monotonic_ms() >= until_ms:
                    return record
        finally:
            self._pushes.leave(nap, id)
        return None

    async def _ended(self, id: str) -> Record | None:
        (record,) = await self.load([id])
        return record if record is not None and record.state.is_terminal else None

    async def list(
        self,
        where: RecordFilter | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RecordPage:
        found: list[Record] = []
        below = cursor or ""
        await self.air()
        while len(found) <= limit:
            reply = await self.run("list", below, max(_STRETCH, limit + 1))
            records = [_legible(*pair) for pair in zip(reply[::2], reply[1::2], strict=True)]
            found += [each for each in records if each and (where is None or where.matches(each))]
            if len(reply) < 2 * max(_STRETCH, limit + 1):
                break
            below = reply[-2].decode()
        page = tuple(found[:limit])
        return RecordPage(records=page, cursor=page[-1].id if page and len(found) > limit else None)

    async def progress(self, updates: Sequence[Progress]) -> None:
        self.enter()
        args: list[Arg] = []
        for update in updates:
            if len(update.value) > MAX_PAYLOAD:
                size = f"{len(update.value)} bytes, more than {MAX_PAYLOAD}"
                raise StoreError(f"the progress of {update.id} has {size}", fault=Fault.DATA)
            args += (update.id, update.fence, update.ttl_ms, update.value)
        if args:
            await self.run("progress", *args)

    async def progress_of(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        self.enter()
        kept: Sequence[bytes | None] = await self.run("progress_of", *ids) if ids else []
        return kept

    async def reopen(self, replayed: Sequence[tuple[str, int]]) -> Sequence[bool]:
        self.enter()
        args: list[Arg] = [part for pair in replayed for part in pair]
        return list(map(bool, await self.run("reopen", *args))) if args else []

    async def expire(self, ids: Sequence[str], *, ttl_ms: int) -> Sequence[bool]:
        self.enter()
        return list(map(bool, await self.run("expire", ttl_ms, *ids))) if ids else []

    @property
    def heartbeats(self) -> HeartbeatStore:
        """Where live workers are listed."""
        return RedisHeartbeats(self)

    @property
    def schedules(self) -> ScheduleStore:
        """Where schedules keep their state."""
        return RedisSchedules(self)

    @property
    def locks(self) -> LockStore:
        """Named locks with fences."""
        return RedisLocks(self)

    async def aclose(self) -> None:
        """Free the connections. Idempotent."""
        self.is_closed = True  # who is woken now goes home
        if self._server is not None and self._loop is asyncio.get_running_loop():
            await self._pushes.stop()
        await super().aclose()


def _read(data: Any) -> Record | None:
    return None if data is None else read_record(data)


def _legible(id: bytes, data: Any) -> Record | None:
    """Return a listed record; one that cannot be read hides none of the others."""
    try:
        return _read(data)
    except StoreError as error:
        _log.warning("the record of %s is left out: %s", id.decode(errors="replace"), error)
        return None
