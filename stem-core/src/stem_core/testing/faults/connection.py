"""One client of a proxy, the connection to the server behind it, and what passes between."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Awaitable
from typing import Final

from stem_core.testing.faults.conditions import Fate, Network, Path, Trap, pieces
from stem_core.testing.faults.splitting import Dialect, Piece

__all__ = ["Connection", "Stream"]

_CHUNK: Final = 64 * 1024
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Stream:
    """One end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """Return what has come, empty at the end."""
        return await self._reader.read(_CHUNK)

    async def write(self, data: bytes) -> None:
        """Send *data*, and wait while too much is on the way."""
        self._writer.write(data)
        await self._writer.drain()

    def finish(self) -> None:
        """Say that nothing more comes."""
        with contextlib.suppress(OSError, RuntimeError):
            if self._writer.can_write_eof() and not self._writer.is_closing():
                self._writer.write_eof()

    def drop(self) -> None:
        """End it at once, in order, without what is not sent yet."""
        self._writer.transport.abort()

    def reset(self) -> None:
        """End it at once. A TCP peer sees a reset, as from a machine that lost its memory."""
        own = self._writer.get_extra_info("socket")
        if own is not None and own.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.drop()

    async def aclose(self) -> None:
        """Send what is left and end it."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class Connection:
    """Carries bytes both ways until both ends have ended, or somebody cuts it.

    Attributes:
        has_hole: bytes of it were swallowed, so it can never be whole again.
    """

    def __init__(
        self, client: Stream, server: Stream | None, network: Network, dialect: Dialect
    ) -> None:
        self._client = client
        self._server = server
        self._network = network
        self._requests = dialect.requests()
        self._replies = dialect.replies()
        self._due: deque[Trap] = deque()
        self._is_silent = False
        self.has_hole = server is None

    async def run(self) -> None:
        """Return when there is nothing more to carry."""
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._until_reset(self._carry_up()))
                both.create_task(self._until_reset(self._carry_down()))
        finally:
            for end in self._ends:
                await end.aclose()

    async def _until_reset(self, carrying: Awaitable[None]) -> None:
        """Tell the other end, too, when one end resets; through a black hole nothing is heard."""
        try:
            await carrying
        except OSError:
            if self._network.up.is_black or self._network.down.is_black:
                self.has_hole = True
            else:
                self.cut()

    def cut(self) -> None:
        """Reset both ends, now."""
        for end in self._ends:
            end.reset()

    def drop(self) -> None:
        """End it at both ends, now, and in order."""
        for end in self._ends:
            end.drop()

    @property
    def _ends(self) -> list[Stream]:
        return [end for end in (self._client, self._server) if end is not None]

    # ── to the server ──

    async def _carry_up(self) -> None:
        while data := await self._client.read():
            await self._delay(self._network.up)
            if self._is_lost(self._network.up):
                continue
            for request in self._requests.feed(data):
                await self._ask(request)
        await self._end_of(self._server, self._network.up, self._requests.rest())

    async def _ask(self, request: Piece) -> None:
        trap = self._meet(request) if request.counts else None
        if trap is None or trap.fate is not Fate.REFUSE:
            await self._send(self._server, request.data, self._network.up)
        await self._answer_what_was_refused()

    def _meet(self, request: Piece) -> Trap:
        self._network.requests += 1
        trap = self._network.traps.meet(request.data)
        self._due.append(trap)
        return trap

    # ── to the client ──

    async def _carry_down(self) -> None:
        if self._server is None:
            return
        while data := await self._server.read():
            await self._delay(self._network.down)
            if self._is_lost(self._network.down):
                continue
            for reply in self._replies.feed(data):
                await self._answer(reply)
        await self._end_of(self._client, self._network.down, self._replies.rest())

    async def _answer(self, reply: Piece) -> None:
        trap = self._due.popleft() if reply.counts and self._due else None
        match trap.fate if trap is not None else Fate.PASS:
            case Fate.CUT:
                self.cut()
            case Fate.SWALLOW:
                self._is_silent = self.has_hole = True
            case Fate.REPLACE:
                assert trap is not None
                await self._tell(trap.reply)
            case Fate.PASS | Fate.REFUSE:
                await self._tell(reply.data)
        await self._answer_what_was_refused()

    async def _answer_what_was_refused(self) -> None:
        # In its turn: behind the replies of what was asked before.
        while self._due and self._due[0].fate is Fate.REFUSE:
            await self._tell(self._due.popleft().reply)

    async def _tell(self, data: bytes) -> None:
        if not self._is_silent:
            await self._send(self._client, data, self._network.down)

    # ── both ──

    async def _delay(self, path: Path) -> None:
        if path.latency_ms:
            await self._network.clock.sleep(path.latency_ms)

    def _is_lost(self, path: Path) -> bool:
        is_lost = path.is_black or self._server is None
        self.has_hole = self.has_hole or is_lost
        return is_lost

    async def _send(self, end: Stream | None, data: bytes, path: Path) -> None:
        if end is None:
            return
        for piece, pause_ms in pieces(data, path):
            await end.write(piece)
            if pause_ms:
                await self._network.clock.sleep(pause_ms)

    async def _end_of(self, end: Stream | None, path: Path, rest: bytes) -> None:
        """Pass on that nothing more comes, unless nobody can hear of it."""
        if end is None or self._is_lost(path) or (end is self._client and self._is_silent):
            return
        await self._send(end, rest, path)
        end.finish()
