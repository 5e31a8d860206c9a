"""The result backend: each verb is one step of the folder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from heapq import nlargest
from pathlib import Path
from typing import Self, TypeVar

import stem_core.plugin as stem

from stem_frozen_backend.drawer import Drawer
from stem_frozen_backend.folder import Folder
from stem_frozen_backend.options import FrozenBackendOptions

A = TypeVar("A")
R = TypeVar("R")

_SWEEP_EVERY_MS = 60_000


class FrozenBackendBackend(stem.ResultBackend):
    """``frozen-backend:///folder``: for all processes of one machine that share the folder."""

    def __init__(
        self, path: Path, options: FrozenBackendOptions, clock: stem.Clock, store_id: str = ""
    ) -> None:
        self._path, self._options, self._clock = path, options, clock
        self._folder = Folder(path)
        self._owner: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._swept_ms = clock.monotonic_ms()
        self._store_id = store_id or self._identity()

    @classmethod
    async def open(
        cls, url: stem.StemURL, options: FrozenBackendOptions, context: stem.PluginContext
    ) -> Self:
        """Open the folder that *url* names; it need not exist yet."""
        if url.hosts or not url.path.strip("/"):
            raise stem.InvalidURL(f"{url} names no folder", way_out="Write frozen-backend:///a/folder.")
        if context.tls.is_enabled:
            raise stem.ConfigError("frozen-backend:// has no connection that STEM_TLS_* could protect")
        if not options.poll or options.max_payload < 1:
            raise stem.InvalidOption(f"{url}: poll and max_payload must be more than 0")
        return cls(Path(url.path) / context.namespace, options, context.clock)

    def sibling(self) -> Self:
        """Return a second handle, for another event loop or thread."""
        return type(self)(self._path, self._options, self._clock, self._store_id)

    async def aclose(self) -> None:
        """Nothing is open between two steps."""

    @property
    def capabilities(self) -> stem.BackendCapabilities:
        """Declare what the kit is to prove, and nothing else. There is no `push`: waiters look."""
        return stem.BackendCapabilities(
            durability=stem.Durability.SYNCED,
            listing=stem.Support.NATIVE,
            progress=stem.Support.NATIVE,
            max_payload=self._options.max_payload,
        )

    @property
    def store_id(self) -> str:
        """The identity of the folder and its namespace."""
        return self._store_id

    # ── the verbs ────────────────────────────────────────────────────────────

    async def save(self, records: Sequence[stem.Record]) -> Sequence[bool]:
        """Save each record iff its fence allows it."""
        for record in records:
            self._check_size(record)
        self._sweep_now_and_then()
        return [self._changed(record.id, Drawer.offer, record) for record in records]

    async def load(self, ids: Sequence[str]) -> Sequence[stem.Record | None]:
        """Return records."""
        return self._read(ids, Drawer.record)

    async def wait(self, id: str, *, timeout_ms: int) -> stem.Record | None:
        """Return the record of *id* once the task has ended."""
        until_ms = self._clock.monotonic_ms() + timeout_ms
        while True:
            (record,) = self._read([id], Drawer.record)
            if record is not None and record.state.is_terminal:
                return record
            left_ms = until_ms - self._clock.monotonic_ms()
            if left_ms <= 0:
                return None
            await asyncio.sleep(min(self._options.poll, left_ms) / 1000)

    async def list(
        self,
        where: stem.RecordFilter | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
    ) -> stem.RecordPage:
        """List records, the latest id first; the cursor is the last id of the page before."""
        self._enter()
        with self._folder.step():
            now = self._clock.wall_ms()
            kept = [drawer.record(now) for drawer in self._folder.every()]
        found = nlargest(
            limit + 1,
            (
                record
                for record in kept
                if record is not None
                and (cursor is None or record.id < cursor)
                and (where is None or where.matches(record))
            ),
            key=lambda record: record.id,
        )
        page = tuple(found[:limit])
        more = page[-1].id if page and len(found) > limit else None
        return stem.RecordPage(records=page, cursor=more)

    async def progress(self, updates: Sequence[stem.Progress]) -> None:
        """Keep the last progress of running tasks."""
        for update in updates:
            self._changed(update.id, Drawer.note, update)

    async def progress_of(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Return the last progress of tasks."""
        return self._read(ids, Drawer.progress_now)

    async def reopen(self, replayed: Sequence[tuple[str, int]]) -> Sequence[bool]:
        """Let the records of replayed tasks go back to queued."""
        return [self._changed(id, Drawer.reopen, fence) for id, fence in replayed]

    async def expire(self, ids: Sequence[str], *, ttl_ms: int) -> Sequence[bool]:
        """Let records live *ttl_ms* from now."""
        return [self._changed(id, Drawer.expire, ttl_ms) for id in ids]

    # ── pieces ───────────────────────────────────────────────────────────────

    def _enter(self) -> None:
        """Refuse a second event loop or process: your store will have a connection."""
        here = (asyncio.get_running_loop(), os.getpid())
        self._owner = self._owner or here
        if self._owner != here:
            raise stem.WrongLoop(
                "this FrozenBackendBackend belongs to another event loop or process",
                way_out="Take a sibling() for each loop.",
            )

    def _check_size(self, record: stem.Record) -> None:
        size, most = len(record.value or b""), self._options.max_payload
        if size > most:
            raise stem.StoreError(
                f"record {record.id}: the value has {size} bytes, more than {most}",
                fault=stem.Fault.DATA,
            )

    def _read(self, ids: Sequence[str], look: Callable[[Drawer, int], R]) -> Sequence[R]:
        self._enter()
        with self._folder.step():
            now = self._clock.wall_ms()
            return [look(self._folder.get(id), now) for id in ids]

    def _changed(self, id: str, change: Callable[[Drawer, A, int], R], how: A) -> R:
        """Change what is kept for *id* in one step of its own."""
        self._enter()
        with self._folder.step():
            now, drawer = self._clock.wall_ms(), self._folder.get(id)
            reply = change(drawer, how, now)
            if drawer.is_empty(now):
                self._folder.drop(id)
            else:
                self._folder.put(drawer)
            return reply

    def _sweep_now_and_then(self) -> None:
        """Remove what has had its time, or a folder that is only written to would grow."""
        if self._clock.monotonic_ms() - self._swept_ms < _SWEEP_EVERY_MS:
            return
        self._swept_ms = self._clock.monotonic_ms()
        with self._folder.step():
            now = self._clock.wall_ms()
            for drawer in self._folder.every():
                if drawer.is_empty(now):
                    self._folder.drop(drawer.id)

    def _identity(self) -> str:
        with self._folder.step():
            return self._folder.store_id()
