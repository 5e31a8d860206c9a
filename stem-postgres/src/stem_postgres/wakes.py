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

from stem_core.plugin import Fault, Nap, StoreError
from stem_postgres.connection import Server
from stem_postgres.listening import Listener

__all__ = ["CONTROL_WORD", "Wakes", "word_of"]

CONTROL_WORD: Final = "c"
"""What is told of a row of the control channel."""

_LOOK_S: Final = 5.0
"""How long nothing may be heard until it is seen whether the connection still lives."""

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0


def word_of(kind: str, name: str) -> str:
    """Return what is told of the queue (``q``) or the result (``r``) that is called *name*."""
    return kind + md5(name.encode(errors="replace"), usedforsecurity=False).hexdigest()


class Wakes:
    """The sleepers of one handle, and the connection that wakes them.

    It is opened by the first who follows, and then kept. That it lives is seen to by whoever
    follows: nothing of this runs while nobody waits.
    """

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._naps: dict[Nap, frozenset[str]] = {}
        self._listener: Listener | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._due_s = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._is_stopped = False

    def note(self, nap: Nap, words: Iterable[str]) -> None:
        """Wake *nap* from now on when one of *words* is told."""
        self._naps[nap] = frozenset(words)

    def leave(self, nap: Nap) -> None:
        """Wake *nap* no more."""
        self._naps.pop(nap, None)

    async def follow(self, server: Server) -> int:
        """See to it that there is a connection that listens, or at least that one is tried.

        Returns how many milliseconds later it is to be called again.
        """
        clock = asyncio.get_running_loop().time
        if clock() >= self._due_s and not self._is_kept_up and not self._is_stopped:
            self._upkeep = asyncio.create_task(self._keep_up(server), name="stem-postgres-wakes")
            if self._listener is None:  # who comes first has nobody to rely on yet
                await asyncio.wait([self._upkeep])
        # Whatever comes of an upkeep wakes all for whom that matters.
        if self._is_kept_up or self._is_stopped:
            return int(1000 * _LOOK_S)
        return int(1000 * max(0.0, self._due_s - clock())) + 1

    @property
    def _is_kept_up(self) -> bool:
        return self._upkeep is not None and not self._upkeep.done()

    async def stop(self) -> None:
        """End what is on its way, and every sleep; the connection is closed with its server."""
        self._is_stopped = True
        self._wake_all()
        upkeep, self._upkeep = self._upkeep, None
        if upkeep is not None:
            upkeep.cancel()
            await asyncio.wait([upkeep])

    async def _keep_up(self, server: Server) -> None:
        """Open the connection, or see whether it lives."""
        try:
            if self._listener is not None and self._listener.is_alive:
                await self._listener.check()
            else:
                self._listener = await server.listen(self._channel, self._tell, self._lose)
                self._wake_all()  # they may have missed something
            self._pause_s = _FIRST_PAUSE_S
            self._due_s = asyncio.get_running_loop().time() + _LOOK_S
        except StoreError as error:
            self._lose(error if error.fault is Fault.FATAL_CONFIG else None)

    def _tell(self, word: str) -> None:
        self._due_s = asyncio.get_running_loop().time() + _LOOK_S  # it lives
        for nap, wanted in self._naps.items():
            if word in wanted:
                nap.wake()

    def _lose(self, error: StoreError | None = None) -> None:
        """Let all look for themselves, and again after a pause, when they follow anew."""
        loop, pause_s = asyncio.get_running_loop(), self._pause_s
        self._due_s = loop.time() + pause_s
        self._pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._wake_all(error)
        loop.call_later(pause_s, self._wake_all)

    def _wake_all(self, error: StoreError | None = None) -> None:
        for nap in self._naps:
            nap.wake(error)
