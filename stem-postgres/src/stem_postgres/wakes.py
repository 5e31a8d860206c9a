"""Being woken by the server: one listening connection for all who wait in a handle.

The server tells only when somebody has left a note that he waits. Between his note and a look that
others make there is a moment in which a wake can be missed; so whoever falls asleep looks once
more soon after, and then again and again: told is fast, looking is sure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from hashlib import md5
from typing import Final

from stem_core.plugin import Fault, StoreError
from stem_postgres.connection import Listener, Server
from stem_postgres.waiting import Nap

__all__ = ["Wakes", "word_of"]

_LOOK_MS: Final = 5_000
"""How long nothing may be heard until it is seen whether the connection still lives."""

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0


def word_of(kind: str, name: str) -> str:
    """Return what is told of the queue (``q``) or the result (``r``) that is called *name*."""
    return kind + md5(name.encode(errors="replace"), usedforsecurity=False).hexdigest()


class Wakes:
    """The sleepers of one handle, and the connection that wakes them."""

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._naps: dict[Nap, frozenset[str]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()
        self._listener: Listener | None = None

    def note(self, nap: Nap, words: Iterable[str]) -> None:
        """Wake *nap* from now on when one of *words* is told."""
        self._naps[nap] = frozenset(words)

    async def leave(self, nap: Nap) -> None:
        """Wake *nap* no more. With the last one the listening ends, and its connection is kept."""
        self._naps.pop(nap, None)
        if not self._naps:
            await self.stop()

    async def follow(self, server: Server) -> None:
        """See to it that there is a connection that listens, or at least that one is tried."""
        if self._reader is None or self._reader.done():
            self._listening = asyncio.Event()
            self._reader = asyncio.create_task(self._read(server), name="stem-postgres-wakes")
        await self._listening.wait()

    async def stop(self) -> None:
        """End listening; the connection is closed with its server."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])

    async def _read(self, server: Server) -> None:
        """Listen until told to stop; after a loss all look again, for they may have missed one."""
        listening, pause_s = self._listening, _FIRST_PAUSE_S
        try:
            while True:
                try:
                    if self._listener is None or not self._listener.is_alive:
                        self._listener = await server.listen(self._channel)
                        self._wake_all()
                    listening.set()
                    self._wake(await self._listener.heard(_LOOK_MS))
                    pause_s = _FIRST_PAUSE_S
                except StoreError as error:
                    self._wake_all(error if error.fault is Fault.FATAL_CONFIG else None)
                    listening.set()
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        finally:
            listening.set()

    def _wake(self, words: Iterable[str]) -> None:
        heard = frozenset(words)
        for nap, wanted in self._naps.items():
            if heard & wanted:
                nap.wake()

    def _wake_all(self, error: StoreError | None = None) -> None:
        for nap in self._naps:
            nap.wake(error)
