"""Calls to one database, over the driver. The only module that opens its connections.

A `Server` keeps a few connections for calls, one call at a time on each, and opens others for
whoever listens. Every call is one statement, in READ COMMITTED whatever the role's default is, and
has a deadline. Whatever goes wrong is raised as one of our errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import select
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import psycopg
from attrs import define, field
from psycopg.pq import ConnStatus, TransactionStatus
from psycopg.rows import tuple_row

from stem_core.plugin import Fault, StoreError, StoreUnavailable
from stem_postgres.arrays import register
from stem_postgres.errors import is_lost_race, translated
from stem_postgres.location import Location
from stem_postgres.nearby import Done, Nearby

__all__ = ["Listener", "Parameters", "Row", "Run", "Server"]

Parameters = Sequence[Any] | Mapping[str, Any]
"""What a statement is about, by position or by name."""

Row = tuple[Any, ...]

Run = Callable[..., Awaitable[list[Row]]]
"""Runs a statement with its parameters, and returns its rows."""

_RACES: Final = 8
"""How often a call is made that lost a race against another transaction."""

_SPARE_MS: Final = 1_000
"""How much later than the server this side gives a call up."""

_WAYS_TO_FAIL: Final = (psycopg.Error, OSError, EOFError, TimeoutError)

_SESSION: Final = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "lock_timeout": "0",
}
"""What a role may set otherwise, for its people, and a program must not meet."""


class _Wire(psycopg.AsyncConnection[Row]):
    """A connection that may be dropped with its loop, or in a forked child, without a word."""

    near: Nearby | None = None
    """Who waits in place, while a statement may be waited for so."""

    async def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Do what the driver is about to, in place as far as that is allowed."""
        if self.near is not None:
            gen = self.near.begin(gen, self.pgconn.socket)
            if isinstance(gen, Done):
                return gen.value
        return await super().wait(gen, *args, **kwargs)

    def __del__(self, *_: object) -> None:
        """Leave it to libpq, which closes what belongs to this process and nothing else."""

    @property
    def is_alive(self) -> bool:
        """False once it failed, was closed by either side, or was left in the middle."""
        pgconn = self.pgconn
        if pgconn.status != ConnStatus.OK or pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        waiting = select.poll()
        waiting.register(pgconn.socket, select.POLLIN)
        return not waiting.poll(0)  # nobody asked, so what there is to read is a farewell

    def cut(self) -> None:
        """End it now, in any state: a call that waits for an answer fails at once."""
        if self.pgconn.status == ConnStatus.OK:
            with contextlib.suppress(OSError):
                end = socket.socket(fileno=os.dup(self.pgconn.socket))
                with end:
                    end.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        """Free it; in any loop."""
        self.pgconn.finish()


class Listener:
    """A connection that is told what happens on one channel."""

    def __init__(self, wire: _Wire, location: Location) -> None:
        self._wire = wire
        self._location = location

    async def heard(self, within_ms: int) -> list[str]:
        """Return what was told, after at most *within_ms*; empty when that was nothing.

        Raises:
            StoreUnavailable: the connection is lost, even if nobody has closed it.
        """
        try:
            found = [
                told.payload
                async for told in self._wire.notifies(timeout=within_ms / 1000, stop_after=1)
            ]
            if not found:
                async with _deadline(self._wire, self._location.options.timeout):
                    await self._wire.execute("SELECT 1")
        except _WAYS_TO_FAIL as error:
            self.close()
            raise translated(error, self._location.shown, self._location.schema) from None
        return found

    @property
    def is_alive(self) -> bool:
        """False once it is closed."""
        return self._wire.pgconn.status == ConnStatus.OK

    def close(self) -> None:
        """Close it, in any loop."""
        self._wire.cut()
        self._wire.finish()


@define(eq=False)
class Server:
    """Calls to the database at *location*, in one event loop.

    Attributes:
        calls: how many were made; round trips are counted by it.
    """

    location: Location
    calls: int = field(default=0, init=False)
    _idle: list[_Wire] = field(factory=list, init=False)
    _lent: list[Listener] = field(factory=list, init=False)
    _room: asyncio.Semaphore = field(init=False)
    _near: Nearby = field(init=False, factory=Nearby)

    def __attrs_post_init__(self) -> None:
        self._room = asyncio.Semaphore(self.location.options.max_connections)

    # ── calls ────────────────────────────────────────────────────────────────

    async def run(
        self, sql: bytes, parameters: Parameters = (), *, is_alone: bool = False
    ) -> list[Row]:
        """Return the rows that one statement gives, in a transaction of its own.

        With *is_alone* its caller has nothing to do meanwhile, so a server that is near is waited
        for in place; nobody else of the loop has a turn.

        Raises:
            StoreError: see `translated`.
        """
        for race in range(_RACES):
            try:
                if is_alone:
                    return await self._exchange_alone(sql, parameters)
                return await self._exchange(sql, parameters)
            except _WAYS_TO_FAIL as error:
                if not is_lost_race(error) or race == _RACES - 1:
                    raise self._failed(error) from None
            await asyncio.sleep(random.uniform(0, 0.01 * 2**race))
        raise AssertionError("unreachable")

    async def _exchange_alone(self, sql: bytes, parameters: Parameters) -> list[Row]:
        near = self._near
        if near.is_near:
            return await self._exchange(sql, parameters, near)
        began = time.monotonic()
        rows = await self._exchange(sql, parameters)
        near.answered_in(time.monotonic() - began)
        return rows

    def _failed(self, error: BaseException) -> StoreError:
        mine = translated(error, self.location.shown, self.location.schema)
        if isinstance(mine, StoreUnavailable) or mine.fault is Fault.RELOAD:
            self.drop_idle()  # who answered so is not to be asked again, whoever is there now
        return mine

    async def _exchange(
        self, sql: bytes, parameters: Parameters, near: Nearby | None = None
    ) -> list[Row]:
        async with self._room:
            wire = await self._checked_out()
            self.calls += 1
            wire.near = near
            try:
                async with _deadline(wire, self.location.options.timeout):
                    return await self._answer(wire, sql, parameters)
            finally:
                wire.near = None
                if wire.is_alive:
                    self._idle.append(wire)
                else:
                    wire.finish()

    async def _answer(self, wire: _Wire, sql: bytes, parameters: Parameters) -> list[Row]:
        try:
            rows = await _rows(wire, sql, parameters)
        except psycopg.Error:
            if not wire.autocommit and wire.pgconn.status == ConnStatus.OK:
                await wire.rollback()
            raise
        if not wire.autocommit:
            await wire.commit()
        return rows

    async def _checked_out(self) -> _Wire:
        while self._idle:
            wire = self._idle.pop()
            if wire.is_alive:
                return wire
            wire.finish()
        return await self._opened()

    @contextlib.asynccontextmanager
    async def alone(self, timeout_ms: int) -> AsyncIterator[Run]:
        """Give what runs statements in one transaction, which the end of the block commits."""
        wire = await self._opened()
        try:
            if wire.autocommit:
                await wire.execute(f"SET statement_timeout = {timeout_ms}".encode())
            async with _deadline(wire, timeout_ms), wire.transaction():
                yield partial(_rows, wire)
        finally:
            wire.finish()

    # ── connections ──────────────────────────────────────────────────────────

    async def listen(self, channel: str) -> Listener:
        """Return a connection of its own that is told what happens on *channel*."""
        try:
            wire = await self._opened()
            listener = Listener(wire, self.location)
            async with _deadline(wire, self.location.options.timeout):
                await wire.execute(f'LISTEN "{channel}"'.encode())
        except _WAYS_TO_FAIL as error:
            raise self._failed(error) from None
        self._lent = [*(lent for lent in self._lent if lent.is_alive), listener]
        return listener

    async def _opened(self) -> _Wire:
        options = self.location.options
        # Each host has that long: one that is silent must not take the time of the next.
        hosts = max(1, len(self.location.hosts))
        async with asyncio.timeout(hosts * options.connect_timeout / 1000):
            wire = await _Wire.connect(
                autocommit=not options.pooler,
                row_factory=tuple_row,
                prepare_threshold=None if options.pooler else 3,
                **_settings(self.location),
            )
        register(wire)
        if options.pooler:
            # Nothing of a session is kept: it is said at the beginning of each transaction.
            await wire.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)
            await wire.set_read_only(False)
        return wire

    def drop_idle(self) -> None:
        """Close the connections that wait for calls."""
        while self._idle:
            self._idle.pop().finish()

    async def aclose(self) -> None:
        """Close everything. Idempotent."""
        self.drop_idle()
        for listener in self._lent:
            listener.close()
        self._lent.clear()


async def _rows(wire: _Wire, sql: bytes, parameters: Parameters = ()) -> list[Row]:
    # Several statements at once, without parameters, go as text.
    cursor = wire.cursor(binary=bool(parameters))
    await cursor.execute(sql, parameters or None)
    return await cursor.fetchall() if cursor.description else []


@contextlib.asynccontextmanager
async def _deadline(wire: _Wire, timeout_ms: int) -> AsyncIterator[None]:
    """Let the block end in time, even if the server is silent: then its connection is cut."""
    is_late = False

    def cut() -> None:
        nonlocal is_late
        is_late = True
        wire.cut()

    timer = asyncio.get_running_loop().call_later((timeout_ms + _SPARE_MS) / 1000, cut)
    try:
        yield
    except _WAYS_TO_FAIL:
        if is_late:
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()


def _settings(location: Location) -> dict[str, Any]:
    options = location.options
    patience_s = max(2, options.timeout // 1000)
    found: dict[str, Any] = {
        "host": ",".join(host.name for host in location.hosts),
        "port": ",".join(str(host.port or 5432) for host in location.hosts),
        "dbname": location.database,
        "user": location.username,
        "password": location.password.reveal() if location.password else "",
        "passfile": options.passfile,
        "target_session_attrs": options.target_session_attrs,
        "application_name": "stem",
        "client_encoding": "UTF8",
        "connect_timeout": max(2, options.connect_timeout // 1000),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": 1000 * patience_s + 10_000,
        **location.tls,
    }
    if not options.pooler:
        found["options"] = _session(options.timeout)
    return {name: value for name, value in found.items() if value != ""}


def _session(timeout_ms: int) -> str:
    wanted = {**_SESSION, "statement_timeout": str(timeout_ms)}
    return " ".join(
        f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in wanted.items()
    )
