"""Being told that a task has ended: one subscribed connection for all who wait in a handle.

The rule that no end is missed: a waiter looks once more after the server has confirmed the
subscription. What is saved after that look is pushed.
"""

from __future__ import annotations

import asyncio
from typing import Final

from stem_core.plugin import Nap, StoreError
from stem_redis.connection import Line, Server

__all__ = ["Pushes"]

_CONFIRM_S: Final = 5.0


class Pushes:
    """Who waits for which task, and the line on which the server tells."""

    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix}done:"
        self._naps: dict[str, dict[Nap, None]] = {}
        self._confirmed: dict[str, asyncio.Future[None]] = {}
        self._line: Line | None = None
        self._reader: asyncio.Task[None] | None = None

    async def follow(self, server: Server, nap: Nap, id: str) -> None:
        """Wake *nap* when the task *id* ends; return when the server knows of it.

        Raises:
            StoreError: the server cannot be asked.
        """
        self._naps.setdefault(id, {})[nap] = None
        if id not in self._confirmed:
            self._confirmed[id] = asyncio.get_running_loop().create_future()
            line = await self._listening(server)
            await line.send("SUBSCRIBE", self._prefix + id)
        try:
            async with asyncio.timeout(_CONFIRM_S):
                await asyncio.shield(self._confirmed[id])
        except TimeoutError:
            raise StoreError("the server does not confirm a subscription") from None

    async def leave(self, nap: Nap, id: str) -> None:
        """Wake *nap* no more. With the last one the reading ends, and the line is kept."""
        naps = self._naps.get(id, {})
        naps.pop(nap, None)
        if naps:
            return
        self._naps.pop(id, None)
        confirmed = self._confirmed.pop(id, None)
        if confirmed is not None:
            confirmed.cancel()
        if not self._naps:
            await self._stop_reading()
        if self._line is not None and self._line.is_alive:
            try:
                await self._line.send("UNSUBSCRIBE", self._prefix + id)
            except StoreError:
                self._line = None

    async def stop(self) -> None:
        """End all reading."""
        await self._stop_reading()
        self._line = None

    async def _stop_reading(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])

    async def _listening(self, server: Server) -> Line:
        if self._line is None or not self._line.is_alive:
            await self._stop_reading()
            self._line = await server.lend()
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read(self._line), name="stem-redis-pushes")
        return self._line

    async def _read(self, line: Line) -> None:
        try:
            while True:
                kind, channel, _ = await line.read()
                id = channel.decode()[len(self._prefix) :]
                if kind == b"subscribe":
                    self._confirm(id)
                elif kind == b"message":
                    for nap in self._naps.get(id, ()):
                        nap.wake()
        except StoreError:
            # Who waits looks by itself, and subscribes again if the server is there.
            for id in self._confirmed:
                self._confirm(id)
            self._confirmed.clear()
            for naps in self._naps.values():
                for nap in naps:
                    nap.wake()

    def _confirm(self, id: str) -> None:
        confirmed = self._confirmed.get(id)
        if confirmed is not None and not confirmed.done():
            confirmed.set_result(None)
