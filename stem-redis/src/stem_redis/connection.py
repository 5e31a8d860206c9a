"""Calls to one server. Only this room and `line` know classes of the driver, which connects.

A `Server` keeps a few connections for calls, one call at a time on each, and opens others
for whoever listens. Nothing is sent a second time by itself, and every call has a
deadline of its own. Whatever goes wrong is raised as one of our errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from stem_core.plugin import (
    Host,
    StoreError,
    StoreMisconfigured,
    StoreUnavailable,
    TlsConfig,
    UsageError,
)
from stem_redis.errors import code_of, translated
from stem_redis.line import NOT_SENT, OWED, WAYS_TO_FAIL, Arg, Line, connected, pack
from stem_redis.location import Location
from stem_redis.replicas import confirmed
from stem_redis.scripts import Script
from stem_redis.tls import context_of

__all__ = ["Server"]

_OVER_TLS: Final = (
    " They are asked over TLS as the master is, unless the URL says sentinel_tls=false."
)


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
    _is_closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._room = asyncio.Semaphore(self.location.options.max_connections)

    # ── calls ────────────────────────────────────────────────────────────────

    async def run(self, script: Script, args: tuple[Arg, ...], command: bytes) -> Any:
        """Return what *script* returns; *args* are its prefix of keys and its arguments, and
        *command* is what `packed` has made of these."""
        try:
            return await self._exchange(command)
        except WAYS_TO_FAIL as error:
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
        except WAYS_TO_FAIL as error:
            raise self._failed(error) from None

    async def _confirmed(self, *args: Arg) -> tuple[Any, int]:
        async with self._room:
            line = await self._checked_out()
            self.calls += 1
            try:
                return await confirmed(line, self.location.options, *args)
            finally:
                self._put_back(line)

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
        except WAYS_TO_FAIL as error:
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
                self._put_back(line)
        except WAYS_TO_FAIL as error:
            raise self._failed(error) from None

    async def command(self, *args: Arg) -> Any:
        """Return the reply to one command."""
        try:
            return await self._exchange(pack(args))
        except WAYS_TO_FAIL as error:
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
                self._put_back(line)

    def _put_back(self, line: Line) -> None:
        if self._is_closed:
            line.close()
        elif line.is_alive:
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
        except WAYS_TO_FAIL as error:
            raise self._failed(error) from None
        self._lent = {lent for lent in self._lent if lent.is_alive}
        self._lent.add(line)
        return line

    async def _opened(self) -> Line:
        self._refuse_if_closed()
        async with asyncio.timeout(self.location.options.connect_timeout / 1000):
            line = await connected(await self._connection(), self.location)
        if self._is_closed:
            line.close()
        self._refuse_if_closed()
        return line

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise UsageError(f"the handle to {self.location.shown} is closed")

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
            except WAYS_TO_FAIL as error:
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
        line = await connected(connection, location)
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
        """Close everything, for good. Idempotent."""
        self._is_closed = True
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
