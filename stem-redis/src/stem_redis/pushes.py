"""Being told that a task has ended: one subscribed connection for all who wait in a handle.

The rule that no end is missed: a waiter is woken once the server has confirmed the
subscription, and looks once more. What is saved after that look is pushed.

Pushes only save time. Whoever waits looks by himself all the same, more often while he is not
told: a subscription that fails fails nobody's wait. One task opens the connection, reads it, and
opens another one where that ends; it runs while somebody waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Final

from stem_core.plugin import Nap, StoreError, StoreMisconfigured
from stem_redis.connection import Server
from stem_redis.line import Line

__all__ = ["Pushes"]

_LOOK_EVERY_MS: Final = 5_000
"""How often to look where the server tells: the safety net, for a push can be lost."""

_UNTOLD_MS: Final = 1_000
"""How often to look where it does not."""

_CONFIRM_S: Final = 5.0
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 5.0

_log: Final = logging.getLogger("stem.redis")


class Pushes:
    """Who waits for which task, and the line on which the server tells."""

    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix}done:"
        self._naps: dict[str, dict[Nap, None]] = {}
        self._channels: _Channels | None = None  # of the task that reads
        self._kept: Line | None = None  # without a subscription, for the next who waits
        self._reader: asyncio.Task[None] | None = None
        self._pause_s = _FIRST_PAUSE_S
        self._due_s = 0.0
        self._is_stopped = False

    def follow(self, server: Server, nap: Nap, id: str) -> int:
        """Wake *nap* when the task *id* ends, and once when the server has confirmed that it
        will tell. Return in how many milliseconds to look, and to call this, again."""
        if self._is_stopped:
            return _UNTOLD_MS
        naps, channels = self._naps.setdefault(id, {}), self._channels
        is_new, naps[nap] = nap not in naps, None
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._tell(server), name="stem-redis-pushes")
        elif channels is not None:
            channels.want([id])
        if channels is None or id not in channels.told:
            return _UNTOLD_MS
        if is_new:
            nap.wake()  # others were told before, perhaps of the end
        return _LOOK_EVERY_MS

    def leave(self, nap: Nap, id: str) -> None:
        """Wake *nap* no more. With the last one the reading ends, and the line is kept."""
        naps = self._naps.get(id, {})
        naps.pop(nap, None)
        if naps:
            return
        self._naps.pop(id, None)
        if self._channels is not None:
            self._channels.drop(id)
        if not self._naps and self._reader is not None:
            self._reader.cancel()
            self._reader = self._channels = None

    async def stop(self) -> None:
        """End all reading, and every sleep."""
        self._is_stopped = True
        self._wake_all()
        reader, self._reader, self._channels = self._reader, None, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])

    # ── the task that reads ──────────────────────────────────────────────────

    async def _tell(self, server: Server) -> None:
        """Listen until cancelled, on one line after the other."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(self._due_s - clock())
            try:
                await self._listen(server)
            except StoreError as error:
                self._failed(error)
                self._due_s = clock() + self._pause_s
                self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _failed(self, error: StoreError) -> None:
        if self._pause_s > _FIRST_PAUSE_S:
            self._wake_all()  # this may last: they are to look more often
        elif isinstance(error, StoreMisconfigured):
            _log.warning("nobody is told of results, and looks for them instead: %s", error)

    async def _listen(self, server: Server) -> None:
        """Wake who is told of, until the line ends or this is cancelled.

        A line is never read by two: the next who reads takes the kept one, or opens its own.
        """
        line, self._kept = self._kept, None
        if line is None or not line.is_alive:
            line = await server.lend()
        channels = self._channels = _Channels(line, self._prefix)
        try:
            channels.want(self._naps)
            while True:
                self._hear(channels, await channels.next())
        finally:
            if self._channels is channels:
                self._channels = None
            self._keep(channels)

    def _hear(self, channels: _Channels, news: tuple[bytes, str]) -> None:
        kind, id = news
        if kind == b"subscribe":
            self._pause_s = _FIRST_PAUSE_S
            if id not in self._naps:
                channels.drop(id)  # whoever wanted it has left meanwhile
        if kind in (b"subscribe", b"message"):
            for nap in self._naps.get(id, ()):
                nap.wake()

    def _keep(self, channels: _Channels) -> None:
        """Keep the line if nothing on it is open, and there is none yet."""
        is_wanted = self._kept is None and not self._is_stopped
        if is_wanted and channels.is_over:
            self._kept = channels.line
        else:
            channels.close()

    def _wake_all(self) -> None:
        for naps in self._naps.values():
            for nap in naps:
                nap.wake()


class _Channels:
    """What one line was asked to tell of.

    Attributes:
        told: the ids whose subscription is confirmed.
    """

    def __init__(self, line: Line, prefix: str) -> None:
        self.line = line
        self.told: set[str] = set()
        self._prefix = prefix
        self._asked: set[str] = set()
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing is subscribed or about to be, on a line that lives."""
        return self.line.is_alive and not self.told and not self._asked

    def want(self, ids: Iterable[str]) -> None:
        """Ask to be told of *ids*; `next` says when that is so."""
        new = [id for id in ids if id not in self._asked and id not in self.told]
        if new:
            self._asked.update(new)
            self._send("SUBSCRIBE", *new)
            if self._alarm is None:  # who asks often does not make a dead line live
                self._watch()

    def drop(self, id: str) -> None:
        """Be told no more of *id*. Before the confirmation is there it is too early for that:
        the one could not be told from that of the next who asks."""
        if id in self.told:
            self.told.remove(id)
            self._send("UNSUBSCRIBE", id)

    async def next(self) -> tuple[bytes, str]:
        """Return what is told next: its kind, and the id.

        Raises:
            StoreError: the line has ended.
        """
        kind, channel, _ = await self.line.read()
        id = channel.decode()[len(self._prefix) :]
        if kind == b"subscribe":
            self._asked.discard(id)
            self.told.add(id)
            self._watch()
        return kind, id

    def close(self) -> None:
        """Close the line."""
        self._asked.clear()
        self._watch()
        self.line.close()

    def _send(self, word: str, *ids: str) -> None:
        with contextlib.suppress(StoreError):  # whoever reads hears of it
            self.line.send(word, *(self._prefix + id for id in ids))

    def _watch(self) -> None:
        """Give the line up when a confirmation does not come."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._asked:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(_CONFIRM_S, self.line.close)
