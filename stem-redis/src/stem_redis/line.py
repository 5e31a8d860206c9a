"""One connection, made and logged in by the driver, for one user at a time.

Rule of this module: commands travel packed, and whoever leaves one in the middle has closed the
connection, unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from stem_redis.errors import translated
from stem_redis.location import Location
from stem_redis.scripts import Script
from stem_redis.wire import NOT_SENT, OWED, Wire

__all__ = [
    "NOT_SENT",
    "OWED",
    "WAYS_TO_FAIL",
    "Arg",
    "Line",
    "connected",
    "pack",
    "packed",
    "read_until_told",
]

Arg = str | bytes | int
"""What a command is made of."""

pack: Final = cast("Callable[[tuple[Arg, ...]], bytes]", hiredis.pack_command)
"""Many times as fast as the driver's own way."""

_KEEPALIVE: Final[Mapping[str, int]] = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
WAYS_TO_FAIL: Final = (RedisError, OSError, EOFError)
"""What a call can raise before it is translated."""


def packed(script: Script, args: tuple[Arg, ...]) -> bytes:
    """Return the command that runs *script*, as it travels; see `Server.run`."""
    return pack(("EVALSHA", script.sha, 1, *args))


def read_until_told(cursors: Mapping[str, str], within_ms: int) -> bytes:
    """Return the command that reads the next entries of streams, as it travels; *cursors* say
    behind which, by key."""
    return pack(("XREAD", "BLOCK", within_ms, "STREAMS", *cursors, *cursors.values()))


class Line:
    """One connection that is made and logged in, for one user at a time."""

    def __init__(self, connection: AbstractConnection, location: Location) -> None:
        self._location = location
        self._wire = _taken_over(connection)

    @property
    def shown(self) -> str:
        """Where it leads, without secrets."""
        return self._location.shown

    @property
    def is_alive(self) -> bool:
        """False once it failed, was closed by either side, or was left in the middle."""
        return self._wire.is_alive

    async def call(
        self, *args: Arg, within_ms: int, heard: Callable[[Any], None] | None = None
    ) -> Any:
        """Return the reply to one command; *heard* is told of it first, see `Wire.ask`.

        Raises:
            StoreError: see `translated`. An error of the server leaves the line alive.
        """
        return await self.ask(pack(args), within_ms=within_ms, heard=heard)

    async def ask(
        self, command: bytes, *, within_ms: int, heard: Callable[[Any], None] | None = None
    ) -> Any:
        """`call`, of a command that is packed already."""
        try:
            return await self._wire.ask(command, within_ms / 1000, heard)
        except ResponseError:
            raise
        except BaseException:
            self.close()
            raise

    def call_here(self, args: tuple[Arg, ...], *, is_idle: bool) -> Any:
        """`Wire.ask_here`. A reply that is `OWED` is read by `rest`."""
        try:
            return self._wire.ask_here(pack(args), is_idle=is_idle)
        except ResponseError:
            raise
        except BaseException:
            self.close()
            raise

    async def rest(self, *, within_ms: int) -> Any:
        """Return the reply that is owed; raises as `call` does."""
        try:
            return await self._wire.rest(within_ms / 1000)
        except ResponseError:
            raise
        except BaseException:
            self.close()
            raise

    async def command(self, *args: Arg) -> Any:
        """Return the reply to one command that is asked for once.

        Raises:
            ResponseError: the server's answer is an error.
            StoreError: there was none.
        """
        self.send(*args)
        reply = await self.answer(within_ms=self._location.options.timeout)
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    def send(self, *args: Arg) -> None:
        """Send a command whose reply `read` returns some time; raises as `read` does."""
        self.tell(pack(args))

    def tell(self, commands: bytes) -> None:
        """Send what is packed already, one command or more; each reply is read or answered."""
        try:
            self._wire.send(commands)
        except WAYS_TO_FAIL as error:
            self.close()
            raise translated(error, self._location.shown) from None

    async def read(self) -> Any:
        """Return the next reply or pushed message. A cancelled read loses none."""
        try:
            return await self._wire.read()
        except WAYS_TO_FAIL as error:
            self.close()
            raise translated(error, self._location.shown) from None

    async def answer(self, *, within_ms: int) -> Any:
        """Return the next reply, which may be an error of the server. A cancelled one is not lost.

        Raises:
            StoreError: there was none in time, or the connection is gone.
        """
        try:
            return await self._wire.read(within_ms / 1000)
        except ResponseError as error:
            return error
        except WAYS_TO_FAIL as error:
            self.close()
            raise translated(error, self._location.shown) from None

    def close(self) -> None:
        """Close, at once and without a word; in any state, in any loop."""
        with contextlib.suppress(RuntimeError, OSError):  # its loop may be closed
            self._wire.abort()


async def connected(connection: AbstractConnection, location: Location) -> Line:
    """Let the driver connect and log in, and take the connection over from it."""
    try:
        await _logged_in(connection)
        return Line(connection, location)
    except BaseException:
        writer: asyncio.StreamWriter | None = getattr(connection, "_writer", None)
        connection._reader = connection._writer = None
        if writer is not None:
            writer.transport.abort()
        raise


async def _logged_in(connection: Any) -> None:
    # The driver has not typed this method.
    await connection.connect()


def _taken_over(connection: AbstractConnection) -> Wire:
    writer: asyncio.StreamWriter | None = getattr(connection, "_writer", None)
    if writer is None:
        raise ConnectionError("the driver has no connection")
    connection._reader = connection._writer = None
    _keep_alive(writer)
    return Wire(writer)


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Let the operating system notice that the other side is gone."""
    sock = writer.get_extra_info("socket")
    if sock is None or sock.family == getattr(socket, "AF_UNIX", None):
        return
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
