"""The result backend: records and progress in the stream that holds the messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from heapq import nlargest
from typing import TypeVar

import stem_core.plugin as stem
from nats_broker import records as rules
from nats_broker.draft import Draft, TooLarge
from nats_broker.handle import NatsHandle
from stem_core.plugin import Support

A = TypeVar("A")
R = TypeVar("R")


class NatsBackend(NatsHandle, stem.ResultBackend):
    """Results in NATS. With a `NatsBroker` of the same URL and namespace it is one store."""

    @property
    def capabilities(self) -> stem.BackendCapabilities:
        """What this backend can do."""
        return stem.BackendCapabilities(
            durability=stem.Durability.CACHED,
            push=Support.NATIVE,
            listing=Support.EMULATED,
            progress=Support.NATIVE,
            max_payload=self._max_payload,
        )

    async def save(self, records: Sequence[stem.Record]) -> Sequence[bool]:
        """Keep records; the higher fence wins."""
        return await self._each(rules.offer, records)

    async def load(self, ids: Sequence[str]) -> Sequence[stem.Record | None]:
        """Return records."""

        def load_one(draft: Draft, id: str) -> stem.Record | None:
            draft.doubt()
            return draft.record(id)

        return await self._each(load_one, ids)

    async def wait(self, id: str, *, timeout_ms: int) -> stem.Record | None:
        """Return the terminal record of *id* as soon as there is one."""
        room, clock = await self.room(), self._context.clock
        until_ms = clock.monotonic_ms() + timeout_ms
        await room.sync()
        while True:
            news = room.news
            record = Draft(room.view, room.clock.now_ms(), 0).record(id)
            if record is not None and record.state.is_terminal:
                return record
            left_ms = until_ms - clock.monotonic_ms()
            if left_ms <= 0:
                return None
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), left_ms / 1000)

    async def list(
        self,
        where: stem.RecordFilter | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
    ) -> stem.RecordPage:
        """List records, the latest id first; the cursor is the last id of the page before."""
        room = await self.room()
        await room.sync()
        kept = [k for k in room.view.records(room.clock.now_ms()) if not cursor or k.key < cursor]
        matching = (
            record
            for record in (stem.decode_record(each.data) for each in kept)
            if where is None or where.matches(record)
        )
        found = nlargest(limit + 1, matching, key=lambda record: record.id)
        page = tuple(found[:limit])
        more = page[-1].id if page and len(found) > limit else None
        return stem.RecordPage(records=page, cursor=more)

    async def progress(self, updates: Sequence[stem.Progress]) -> None:
        """Keep the last progress of running tasks."""
        await self._each(rules.note_progress, updates)

    async def progress_of(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Return the last progress of tasks."""

        def progress_of_one(draft: Draft, id: str) -> bytes | None:
            draft.doubt()
            note = draft.note(id)
            return None if note is None else note.data

        return await self._each(progress_of_one, ids)

    async def reopen(self, replayed: Sequence[tuple[str, int]]) -> Sequence[bool]:
        """Let records of replayed tasks go back to queued."""
        return await self._each(lambda draft, each: rules.reopen(draft, *each), replayed)

    async def expire(self, ids: Sequence[str], *, ttl_ms: int) -> Sequence[bool]:
        """Let records live *ttl_ms* from now."""
        return await self._each(lambda draft, id: rules.expire(draft, id, ttl_ms), ids)

    async def _each(self, rule: Callable[[Draft, A], R], batch: Sequence[A]) -> Sequence[R]:
        room = await self.room()
        if not batch:
            return []
        try:
            return await room.step(lambda draft: [rule(draft, each) for each in batch])
        except TooLarge as error:
            raise stem.StoreError(str(error), fault=stem.Fault.DATA) from error
