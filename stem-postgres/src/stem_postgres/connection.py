"""Calls to one database, over the driver.

A `Server` keeps a few connections for calls, one call at a time on each, and opens others for
whoever listens. Every call is one statement, in READ COMMITTED whatever the role's default is, and
has a deadline. Whatever goes wrong is raised as one of our errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import psycopg
from attrs import define, field
from psycopg.pq import ConnStatus

from stem_core.plugin import Fault, StoreError, StoreUnavailable
from stem_postgres.errors import is_lost_race, translated
from stem_postgres.listening import Listener
from stem_postgres.location import Location
from stem_postgres.nearby import Begin, Nearby, give_way
from stem_postgres.opening import opened
from stem_postgres.wire import WAYS_TO_FAIL, Deadline, Parameters, Row, Wire

__all__ = ["Run", "Server"]

Run = Callable[..., Awaitable[list[Row]]]
"""Runs a statement with its parameters, and returns its rows."""

_RACES: Final = 8
"""How often a call is made that lost a race against another transaction."""


@define(eq=False)
class Server:
    """Calls to the database at *location*, in one event loop.

    Attributes:
        calls: how many were made; round trips are counted by it.
    """

    location: Location
    calls: int = field(default=0, init=False)
    _idle: list[Wire] = field(factory=list, init=False)
    _lent: list[Listener] = field(factory=list, init=False)
    _room: asyncio.Semaphore = field(init=False)
    _near: Nearby = field(init=False, factory=Nearby)
    _is_closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._room = asyncio.Semaphore(self.location.options.max_connections)

    # ── calls ────────────────────────────────────────────────────────────────

    async def run(
        self,
        sql: bytes,
        parameters: Parameters = (),
        *,
        is_alone: bool = False,
        is_urgent: bool = False,
    ) -> list[Row]:
        """Return the rows that one statement gives, in a transaction of its own.

        With *is_alone* its caller has nothing to do meanwhile, so a server that is near is waited
        for in place; nobody else of the loop has a turn. With *is_urgent* the server comes first
        if it is on the processor that we are on.

        Raises:
            StoreError: see `translated`.
        """
        exchange = self._exchange_alone if is_alone else self._exchange
        begin = give_way if is_alone or is_urgent else None
        for race in range(_RACES):
            try:
                return await exchange(sql, parameters, begin)
            except WAYS_TO_FAIL as error:
                if not is_lost_race(error) or race == _RACES - 1:
                    raise self._failed(error) from None
            await asyncio.sleep(random.uniform(0, 0.01 * 2**race))
        raise AssertionError("unreachable")

    async def _exchange_alone(
        self, sql: bytes, parameters: Parameters, begin: Begin | None
    ) -> list[Row]:
        near = self._near
        if near.is_near:
            return await self._exchange(sql, parameters, near.begin)
        began = time.monotonic()
        rows = await self._exchange(sql, parameters, begin)
        near.answered_in(time.monotonic() - began)
        return rows

    def _failed(self, error: BaseException) -> StoreError:
        mine = translated(error, self.location.shown, self.location.schema)
        if isinstance(mine, StoreUnavailable) or mine.fault is Fault.RELOAD:
            self.drop_idle()  # who answered so is not to be asked again, whoever is there now
        return mine

    async def _exchange(
        self, sql: bytes, parameters: Parameters, begin: Begin | None = None
    ) -> list[Row]:
        async with self._room:
            wire = await self._checked_out()
            self.calls += 1
            wire.begin = begin
            try:
                with Deadline(wire, self.location.options.timeout):
                    return await self._answer(wire, sql, parameters)
            finally:
                wire.begin = None
                # Whether it lives is seen when it is asked for again.
                if wire.is_whole and not self._is_closed:
                    self._idle.append(wire)
                else:
                    wire.finish()

    async def _answer(self, wire: Wire, sql: bytes, parameters: Parameters) -> list[Row]:
        try:
            rows = await wire.rows(sql, parameters)
        except psycopg.Error:
            if not wire.autocommit and wire.pgconn.status == ConnStatus.OK:
                await wire.rollback()
            raise
        if not wire.autocommit:
            await wire.commit()
        return rows

    async def _checked_out(self) -> Wire:
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
            with Deadline(wire, timeout_ms):
                async with wire.transaction():
                    yield wire.rows
        finally:
            wire.finish()

    # ── connections ──────────────────────────────────────────────────────────

    async def listen(
        self, channel: str, told: Callable[[str], None], lost: Callable[[], None]
    ) -> Listener:
        """Return a connection of its own that is told what happens on *channel*; see `Listener`."""
        try:
            wire = await self._opened()
            listener = Listener(wire, self.location, told, lost)
            try:
                await listener.begin(channel)
            except BaseException:
                listener.close()
                raise
        except WAYS_TO_FAIL as error:
            raise self._failed(error) from None
        self._lent = [*(lent for lent in self._lent if lent.is_alive), listener]
        if self._is_closed:  # meanwhile, in another loop
            listener.close()
        return listener

    async def _opened(self) -> Wire:
        try:
            return await opened(self.location)
        except StoreError as error:
            raise self._failed(error) from None

    def drop_idle(self) -> None:
        """Close the connections that wait for calls."""
        while self._idle:
            self._idle.pop().finish()

    async def aclose(self) -> None:
        """Close everything. Idempotent."""
        self._is_closed = True
        self.drop_idle()
        for listener in self._lent:
            listener.close()
        self._lent.clear()
