"""Being woken when there may be work: one blocked read for all who wait in a handle.

The rule that no wake is missed: a sleeper is noted before it looks, and the read goes on
from where the wakes stood at that look or before. What comes later ends the sleep.

What tells publishers that somebody sleeps can be lost at the server. So a read that brought
nothing for two seconds wakes everybody: who looks again leaves a new note.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from stem_core.plugin import Nap, StoreError, UsageError
from stem_redis.connection import Server
from stem_redis.errors import translated
from stem_redis.line import Line

__all__ = ["Wakes"]

_BLOCK_MS: Final = 2_000
"""How long one blocked read lasts, and so how long a lost note can delay a wake."""


class Wakes:
    """The sleepers of one handle, and the read that wakes them."""

    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix}w:"
        self._naps: dict[Nap, frozenset[str]] = {}
        self._left_out: set[Nap] = set()
        self._cursors: dict[str, str] = {}
        self._reader: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._line: Line | None = None

    def note(self, nap: Nap, queues: Sequence[str]) -> None:
        """Wake *nap* from now on when there may be work in one of *queues*."""
        self._naps[nap] = frozenset(queues)

    def forget(self, nap: Nap) -> None:
        """Wake *nap* no more."""
        self._naps.pop(nap, None)
        self._left_out.discard(nap)

    def leave_out(self, nap: Nap) -> None:
        """Read nothing for the sake of *nap*; what is read for others wakes it all the same."""
        self._left_out.add(nap)

    def take_in(self, nap: Nap) -> None:
        """`leave_out` no more."""
        self._left_out.discard(nap)

    async def follow(self, server: Server, cursors: Mapping[str, str]) -> None:
        """See to it that the wakes of these queues are read from *cursors* on, or from before."""
        if not self._reads(cursors):
            async with self._changing:  # two readers would share one line
                await self._follow(server, cursors)

    async def _follow(self, server: Server, cursors: Mapping[str, str]) -> None:
        if self._reads(cursors):
            return
        still = {queue for queues in self._naps.values() for queue in queues}
        kept = {queue: at for queue, at in self._cursors.items() if queue in still}
        await self.stop()
        self._cursors = {**cursors, **kept}
        self._reader = asyncio.create_task(self._read(server), name="stem-redis-wakes")

    @property
    def _is_reading(self) -> bool:
        return self._reader is not None and not self._reader.done()

    def _reads(self, cursors: Mapping[str, str]) -> bool:
        return self._is_reading and cursors.keys() <= self._cursors.keys()

    async def stop(self) -> None:
        """End the read that goes on."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])
        self._cursors = {}

    async def _read(self, server: Server) -> None:
        """Read wakes until nobody sleeps who needs them."""
        try:
            while self._naps.keys() - self._left_out:
                if self._line is None or not self._line.is_alive:
                    self._line = await server.lend()
                await self._next(self._line)
        except (StoreError, UsageError) as error:
            self._cursors = {}
            for nap in self._naps.keys() - self._left_out:
                nap.wake(error)
        else:
            self._cursors = {}

    async def _next(self, line: Line) -> None:
        """Wait for the next wakes. Who is woken goes on before this does."""
        cursors = self._cursors
        keys = [self._prefix + queue for queue in cursors]
        try:
            await line.call(
                "XREAD", "BLOCK", _BLOCK_MS, "STREAMS", *keys, *cursors.values(),
                within_ms=_BLOCK_MS + 3_000, heard=self._heard,
            )  # fmt: skip
        except StoreError:
            raise
        except Exception as error:
            raise translated(error, line.shown) from None

    def _heard(self, reply: Sequence[tuple[bytes, Sequence[tuple[bytes, object]]]] | None) -> None:
        """Wake who waits for one of these queues; everybody if there was nothing for a while."""
        woken = set()
        for key, entries in reply or ():
            queue = key.decode()[len(self._prefix) :]
            self._cursors[queue] = entries[-1][0].decode()
            woken.add(queue)
        for nap, wanted in self._naps.items():
            if not woken or woken & wanted:
                nap.wake()
