"""Calls to one server. The only module that knows the driver's classes, which it lets connect.

A `Server` keeps a few connections for calls, one call at a time on each, and opens others
for whoever listens. Nothing is sent a second time by itself, and every call has a
deadline of its own. Whatever goes wrong is raised as one of our errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import hiredis
from attrs import define, field
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from stem_core.plugin import Host, StoreError, StoreMisconfigured, StoreUnavailable, TlsConfig
from stem_redis.errors import code_of, translated
from stem_redis.location import Location
from stem_redis.replicas import confirmed
from stem_redis.scripts import Script
from stem_redis.tls import context_of
from stem_redis.wire import NOT_SENT, OWED, Wire

__all__ = ["NOT_SENT", "Arg", "Line", "Server", "packed", "read_until_told"]

Arg = str | bytes | int
"""What a command is made of."""

_pack: Final = cast("Callable[[tuple[Arg, ...]], bytes]", hiredis.pack_command)
"""Many times as fast as the driver's own way."""

_KEEPALIVE: Final[Mapping[str, int]] = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
_OVER_TLS: Final = (
    " They are asked over TLS as the master is, unless the URL says sentinel_tls=false."
)
_WAYS_TO_FAIL: Final = (RedisError, OSError, EOFError)


def packed(script: Script, args: tuple[Arg, ...]) -> bytes:
    """Return the command that runs *script*, as it travels; see `Server.run`."""
    return _pack(("EVALSHA", script.sha, 1, *args))


def read_until_told(cursors: Mapping[str, str], within_ms: int) -> bytes:
    """Return the command that reads the next entries of streams, as it travels; *cursors* say
    behind which, by key."""
    return _pack(("XREAD", "BLOCK", within_ms, "STREAMS", *cursors, *cursors.values()))


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
        return await self.ask(_pack(args), within_ms=within_ms, heard=heard)

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
            return self._wire.ask_here(_pack(args), is_idle=is_idle)
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
        self.tell(_pack(args))

    def tell(self, commands: bytes) -> None:
        """Send what is packed already, one command or more; each reply is read or answered."""
        try:
            self._wire.send(commands)
        except _WAYS_TO_FAIL as error:
            self.close()
            raise translated(error, self._location.shown) from None

    async def read(self) -> Any:
        """Return the next reply or pushed message. A cancelled read loses none."""
        try:
            return await self._wire.read()
        except _WAYS_TO_FAIL as error:
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
        except _WAYS_TO_FAIL as error:
            self.close()
            raise translated(error, self._location.shown) from None

    def close(self) -> None:
        """Close, at once and without a word; in any state, in any loop."""
        with contextlib.suppress(RuntimeError, OSError):  # its loop may be closed
            self._wire.abort()


async def _connected(connection: AbstractConnection, location: Location) -> Line:
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


@define(eq=False)
class Server:
    """Calls to the server at *location*, in one event loop.

    Attributes:
        calls: how many were made; round trips are counted by it.
    """

    location: Location
    calls: int = field(default=0, init=False)
    _idle: list[Line] = field(factory=list, init=False)
    _lent: set[Line] = field(factory=set, init=False)
    _room: asyncio.Semaphore = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._room = asyncio.Semaphore(self.location.options.max_connections)

    # ── calls ────────────────────────────────────────────────────────────────

    async def run(self, script: Script, *args: Arg) -> Any:
        """Return what *script* returns; *args* are its prefix of keys and its arguments."""
        return await self.run_packed(script, args, packed(script, args))

    async def run_packed(self, script: Script, args: tuple[Arg, ...], command: bytes) -> Any:
        """`run`, with what `packed` has made of these."""
        try:
            return await self._exchange(command)
        except _WAYS_TO_FAIL as error:
            if code_of(error) != "NOSCRIPT":
                raise self._failed(error) from None
        # The server was restarted or has flushed its scripts: with the text it keeps it anew.
        return await self.command("EVAL", script.text, 1, *args)

    async def run_confirmed(self, script: Script, *args: Arg) -> tuple[Any, int]:
        """`run`, and how many replicas have confirmed it in the time that they have."""
        try:
            try:
                return await self._confirmed("EVALSHA", script.sha, 1, *args)
            except ResponseError as error:
                if code_of(error) != "NOSCRIPT":
                    raise
            return await self._confirmed("EVAL", script.text, 1, *args)
        except _WAYS_TO_FAIL as error:
            raise self._failed(error) from None

    async def _confirmed(self, *args: Arg) -> tuple[Any, int]:
        async with self._room:
            line = await self._checked_out()
            self.calls += 1
            try:
                return await confirmed(line, self.location.options, *args)
            finally:
                if line.is_alive:
                    self._idle.append(line)

    def run_here(self, script: Script, args: tuple[Arg, ...], *, is_idle: bool = False) -> Any:
        """Return what *script* returns, if the server is so near that its reply is waited for
        here; else `NOT_SENT`, or the `Line` that owes the reply, for `rest_of`.

        For one who has nothing to do meanwhile; nobody else of the loop has a turn. With
        *is_idle* mostly nobody wants one.
        """
        idle = self._idle
        if not idle:
            return NOT_SENT
        try:
            try:
                reply = idle[-1].call_here(("EVALSHA", script.sha, 1, *args), is_idle=is_idle)
            except ResponseError as error:
                if code_of(error) != "NOSCRIPT":
                    raise
                reply = idle[-1].call_here(("EVAL", script.text, 1, *args), is_idle=is_idle)
        except _WAYS_TO_FAIL as error:
            raise self._failed(error) from None
        if reply is NOT_SENT:
            return reply
        self.calls += 1
        return idle.pop() if reply is OWED else reply

    async def rest_of(self, line: Line) -> Any:
        """Return the reply that *line* owes after `run_here`."""
        try:
            await self._room.acquire()
        except BaseException:
            line.close()  # nobody will read what it owes
            raise
        try:
            try:
                return await line.rest(within_ms=self.location.options.timeout)
            finally:
                self._room.release()
                if line.is_alive:
                    self._idle.append(line)
        except _WAYS_TO_FAIL as error:
            raise self._failed(error) from None

    async def command(self, *args: Arg) -> Any:
        """Return the reply to one command."""
        try:
            return await self._exchange(_pack(args))
        except _WAYS_TO_FAIL as error:
            raise self._failed(error) from None

    def _failed(self, error: BaseException) -> StoreError:
        mine = translated(error, self.location.shown)
        if isinstance(mine, StoreUnavailable | StoreMisconfigured):
            self.drop_idle()  # who answered so is not to be asked again, whoever is there now
        return mine

    async def _exchange(self, command: bytes) -> Any:
        async with self._room:
            idle = self._idle
            # Mostly a connection waits and is well: not worth another coroutine.
            line = idle.pop() if idle and idle[-1].is_alive else await self._checked_out()
            self.calls += 1
            try:
                return await line.ask(command, within_ms=self.location.options.timeout)
            finally:
                if line.is_alive:
                    self._idle.append(line)

    async def _checked_out(self) -> Line:
        while self._idle:
            line = self._idle.pop()
            if line.is_alive:
                return line
            line.close()
        return await self._opened()

    # ── connections ──────────────────────────────────────────────────────────

    async def lend(self) -> Line:
        """Return a line of its own to whoever listens; closed with the server at the latest."""
        try:
            line = await self._opened()
        except _WAYS_TO_FAIL as error:
            raise self._failed(error) from None
        self._lent = {lent for lent in self._lent if lent.is_alive}
        self._lent.add(line)
        return line

    async def _opened(self) -> Line:
        async with asyncio.timeout(self.location.options.connect_timeout / 1000):
            return await _connected(await self._connection(), self.location)

    async def _connection(self) -> AbstractConnection:
        location = self.location
        settings = _settings(location)
        if location.socket:
            return UnixDomainSocketConnection(path=location.socket, **settings)
        host = location.hosts[0] if not location.service else await self._master()
        return _connection_to(host, location.tls, settings)

    async def _master(self) -> Host:
        """Ask the sentinels, one after the other, where the master is now."""
        refusal: StoreError | None = None
        for host in self.location.hosts:
            try:
                found = await self._asked(host)
            except _WAYS_TO_FAIL as error:
                mine = translated(error, f"{self.location.shown}, sentinel {host.name}")
                refusal = mine if isinstance(mine, StoreMisconfigured) else refusal
                continue
            if found:
                return Host(found[0].decode(), int(found[1]))
        if refusal is not None:
            raise refusal
        raise StoreUnavailable(
            f"{self.location.shown}: no sentinel knows a master {self.location.service!r}",
            way_out="Are they running, and is the name right?"
            + (_OVER_TLS if self.location.sentinel_tls else ""),
        )

    async def _asked(self, host: Host) -> Any:
        """Return what the sentinel at *host* knows of the master."""
        location = self.location
        connection = _connection_to(host, location.sentinel_tls, _sentinel_settings(location))
        line = await _connected(connection, location)
        try:
            return await line.call(
                "SENTINEL", "get-master-addr-by-name", location.service, within_ms=1000
            )
        finally:
            line.close()

    def drop_idle(self) -> None:
        """Close the connections that wait for calls."""
        while self._idle:
            self._idle.pop().close()

    async def aclose(self) -> None:
        """Close everything. Idempotent."""
        lines = [*self._idle, *self._lent]
        self._idle.clear()
        self._lent.clear()
        for line in lines:
            line.close()
        await asyncio.sleep(0)  # let the transports end


def _settings(location: Location) -> dict[str, Any]:
    return {
        "db": location.db,
        "username": location.username or None,
        "password": location.password.reveal() if location.password else None,
        "socket_timeout": None,  # each call has a deadline of its own
        "socket_connect_timeout": location.options.connect_timeout / 1000,
        "retry": Retry(NoBackoff(), 0),  # the driver would run a script a second time
        "protocol": 2,  # one shape of replies in every release of the driver
        "client_name": "stem",
        "health_check_interval": 0,
    }


def _sentinel_settings(location: Location) -> dict[str, Any]:
    password = location.options.sentinel_password
    return {
        **_settings(location),
        "db": 0,
        "username": location.options.sentinel_username or None,
        "password": password.reveal() if password else None,
        "socket_connect_timeout": 1.0,
    }


def _connection_to(
    host: Host, tls: TlsConfig | None, settings: Mapping[str, Any]
) -> AbstractConnection:
    if tls is None:
        return Connection(host=host.name, port=host.port or 0, **settings)
    connection = SSLConnection(host=host.name, port=host.port or 0, **settings)
    # What the driver would make trusts the system's certificates beside those that are named,
    # and asks at the terminal for the password of a key.
    connection.ssl_context.context = context_of(tls)
    return connection


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
