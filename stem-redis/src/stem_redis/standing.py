"""The look that stands at the server: work that comes is leased to whoever sleeps, in one trip.

Behind a blocked read, in the same write, goes the look for work. The server answers the read with
the next wake and then does what stands behind it, so that nobody has to be told first and ask then.
A sleeper whose time is over ends the read from another connection, and has his look with that.

What it may cost is kept small. The server drops what stands behind the read of a connection that
has ended; from one that is cut off, or whose process stands still, it may lease one task, which
comes back when its lease lapses. So only one who has nothing else to do lets a look stand, and it
takes one task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from redis.exceptions import ResponseError

from stem_core.plugin import (
    SYSTEM_CLOCK,
    Delivery,
    Extended,
    Extension,
    Settled,
    Settlement,
    SettleStatus,
    StoreError,
    UsageError,
)
from stem_redis.connection import Server
from stem_redis.errors import code_of, translated
from stem_redis.line import NOT_SENT, Line, read_until_told

__all__ = ["FAREWELL_S", "Held", "Standing"]

_BLOCK_MS: Final = 2_500
"""How long one blocked read lasts, and so how long a lost note can delay a wake."""

_CLEAR_MS: Final = 1_500
"""So far the end of a read by itself keeps from its end by us: a server that both met in the same
moment, while a `CLIENT PAUSE` puts the look off, could crash (valkey 2117, redis 14164)."""

_PATIENCE_MS: Final = _BLOCK_MS + 2 * _CLEAR_MS + 3_000
_AGAIN_S: Final = 0.01
FAREWELL_S: Final = 2.0
"""How long a cancelled look may take to hand back. A lease that is left behind lapses."""

_HARMLESS: Final = frozenset({"NOSCRIPT", "WRONGTYPE"})
"""What an answer may be without any doubt about who gave it."""


def _block_ms(sleep_ms: int) -> int:
    """Return how long the read of one lasts who sleeps so long."""
    return _BLOCK_MS if sleep_ms > _BLOCK_MS + _CLEAR_MS else sleep_ms + _CLEAR_MS


class Held:
    """What a handle and its siblings have leased and not settled, as far as they know: whoever
    holds nothing has nothing else to do."""

    def __init__(self) -> None:
        self._until_ms: dict[str, int] = {}  # several threads write to it, one step at a time

    def note(self, deliveries: Sequence[Delivery], now_ms: int) -> None:
        """Note what was leased."""
        for each in deliveries:
            self._until_ms[each.message.id] = now_ms + each.lease_ms

    def extended(
        self, extensions: Sequence[Extension], replies: Sequence[Extended], now_ms: int
    ) -> None:
        """Note what has become of leases."""
        for each, reply in zip(extensions, replies, strict=True):
            if each.receipt.id in self._until_ms:
                self._until_ms[each.receipt.id] = now_ms + reply.remaining_ms

    def forget(self, settlements: Sequence[Settlement], replies: Sequence[Settled]) -> None:
        """Note what was settled, or could not be any more."""
        for each, reply in zip(settlements, replies, strict=True):
            if reply.status is not SettleStatus.INVALID:  # that one is still to be settled
                self._until_ms.pop(each.receipt.id, None)

    def anything(self, now_ms: int) -> bool:
        """Say whether there is a lease that has not lapsed."""
        over = [id for id, end in self._until_ms.copy().items() if end <= now_ms]
        for id in over:
            self._until_ms.pop(id, None)
        return bool(self._until_ms)


class Standing:
    """One look at a time, on a connection of its own.

    Attributes:
        is_free: nobody's look stands, and the server lets one.
    """

    def __init__(self, prefix: str) -> None:
        self.is_free = True
        self._prefix = f"{prefix}w:"
        self._line: Line | None = None
        self._client = 0
        self._owed = 0  # replies
        self._number = self._ended = 0  # of the look, and of the last whose read we ended
        self._ending: asyncio.Task[None] | None = None

    @property
    def is_asleep(self) -> bool:
        """True while the server has not answered the read."""
        return self._owed > 1

    async def look(
        self,
        server: Server,
        cursors: Mapping[str, str],
        command: bytes,
        *,
        until_ms: int,
        back: Callable[[Any], Awaitable[None]],
    ) -> Any:
        """Return what *command* finds after the next wake of these queues, or at *until_ms* of
        the system's monotonic time.

        `NOT_SENT` if it could not look, and the caller is to look in another way. What it found
        for a caller who has gone is given to *back*.

        Raises:
            StoreError: as `Server.run`.
        """
        self.is_free = False
        line: Line | None = None
        try:
            line = await self._own(server)
            if line is None:
                return NOT_SENT
            keys = {self._prefix + queue: at for queue, at in cursors.items()}
            sleep_ms = max(0, until_ms - SYSTEM_CLOCK.monotonic_ms())
            line.tell(read_until_told(keys, _block_ms(sleep_ms)) + command)
            self._owed, self._number = 2, self._number + 1
            alarm = asyncio.get_running_loop().call_later(sleep_ms / 1000, self._ring, server)
            try:
                return self._judged(*await self._answers(line))
            except asyncio.CancelledError:
                with suppress(StoreError, TimeoutError):
                    async with asyncio.timeout(FAREWELL_S):
                        ending = self._ring(server)
                        await back((await self._answers(line))[1])
                        await asyncio.wait([ending])  # what it asked is answered as well
                raise
            finally:
                alarm.cancel()
        finally:
            if line is not None:
                self.is_free = True
                if self._owed:
                    line.close()
                    self._owed = 0

    async def _own(self, server: Server) -> Line | None:
        """Return the connection; None if the server does not let one user of it end its read."""
        if self._line is not None and self._line.is_alive:
            return self._line
        line: Line | None = None
        try:
            line = await server.lend()
            self._client = await line.command("CLIENT", "ID")
            await line.command("CLIENT", "UNBLOCK", self._client)
        except BaseException as error:
            if line is not None:
                line.close()
            if isinstance(error, ResponseError) and code_of(error) in ("NOPERM", ""):
                return None  # and is_free stays False
            self.is_free = True
            if line is not None and isinstance(error, ResponseError):
                raise translated(error, line.shown) from None
            raise
        self._line = line
        return line

    async def _answers(self, line: Line) -> tuple[Any, Any]:
        """Return the replies to the read and to the look; either may be an error."""
        told: Any = None
        if self._owed == 2:
            told = await line.answer(within_ms=_PATIENCE_MS)
            self._owed = 1
        found = await line.answer(within_ms=_PATIENCE_MS)
        self._owed = 0
        return told, found

    def _judged(self, told: Any, found: Any) -> Any:
        line = self._line
        assert line is not None  # it has answered
        if isinstance(found, ResponseError):
            if code_of(found) not in _HARMLESS:
                line.close()
            if code_of(found) == "NOSCRIPT":
                return NOT_SENT  # whoever looks in another way sends the text with it
            raise translated(found, line.shown) from None
        if isinstance(told, ResponseError) and not found[0]:
            raise translated(told, line.shown) from None
        return found

    # ── its end ──────────────────────────────────────────────────────────────

    async def stop(self) -> None:
        """Leave nothing behind that still asks the server for something."""
        ending, self._ending = self._ending, None
        if ending is not None and not ending.done():
            ending.cancel()
            await asyncio.wait([ending])

    def _ring(self, server: Server) -> asyncio.Task[None]:
        """End the read, if nobody is at that already."""
        if self._ending is None or self._ending.done() or self._ended != self._number:
            self._ended = self._number
            self._ending = asyncio.create_task(self._end(server, self._number))
        return self._ending

    async def _end(self, server: Server, number: int) -> None:
        """End the read of this look; the server may only be about to begin with it."""
        with suppress(StoreError, UsageError):  # then it ends by itself, if later
            while self.is_asleep and number == self._number:
                if await server.command("CLIENT", "UNBLOCK", self._client):
                    break
                await asyncio.sleep(_AGAIN_S)
