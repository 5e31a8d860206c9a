"""A connection that is told what happens, and tells it on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import psycopg
from psycopg.pq import ConnStatus

from stem_postgres.errors import translated
from stem_postgres.location import Location
from stem_postgres.wire import WAYS_TO_FAIL, Deadline, Wire

__all__ = ["Listener"]

_NAME: Final = "stem listen"


class Listener:
    """A connection that is told what happens on one channel.

    Whatever comes in is told on where it is read, in the turn of the loop in which it comes in.

    Args:
        told: called with each word.
        lost: called when the connection is.
    """

    def __init__(
        self, wire: Wire, location: Location, told: Callable[[str], None], lost: Callable[[], None]
    ) -> None:
        self._wire = wire
        self._location = location
        self._told = told
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._socket = -1  # which the loop attends to, while it does

    async def begin(self, channel: str) -> None:
        """Listen, and attend from now on.

        Raises:
            psycopg.Error: it cannot be.
        """
        # What comes in beside the reply to another statement goes this way.
        self._wire.add_notify_handler(lambda told: self._told(told.payload))
        # In one go; by its name people tell it from a connection that is merely idle.
        await self._ask(f"LISTEN \"{channel}\"; SET application_name = '{_NAME}'")

    async def check(self) -> None:
        """See whether the connection lives: one that nobody has closed may be lost all the same.

        Raises:
            StoreUnavailable: it does not, and is closed now.
        """
        self._rest()  # the driver reads meanwhile
        try:
            await self._ask("SELECT 1")
        except WAYS_TO_FAIL as error:
            self.close()
            raise translated(error, self._location.shown, self._location.schema) from None

    async def _ask(self, sql: str) -> None:
        with Deadline(self._wire, self._location.options.timeout):
            await self._wire.execute(sql.encode())
        self._socket = self._wire.pgconn.socket
        self._loop.add_reader(self._socket, self._take_in)

    def _take_in(self) -> None:
        pgconn = self._wire.pgconn
        try:
            pgconn.consume_input()
            while word := pgconn.notifies():
                self._told(word.extra.decode())
        except psycopg.Error:
            self.close()
            self._lost()

    def _rest(self) -> None:
        # By its number: of a connection that was lost the driver has closed the socket already.
        if self._socket >= 0 and self._loop is asyncio.get_running_loop():
            self._loop.remove_reader(self._socket)
            self._socket = -1

    @property
    def is_alive(self) -> bool:
        """False once it is closed."""
        return self._wire.pgconn.status == ConnStatus.OK

    def close(self) -> None:
        """Close it, in any loop. Idempotent."""
        is_elsewhere = self._loop is not asyncio.get_running_loop() and not self._loop.is_closed()
        self._rest()
        self._wire.cut()
        if not is_elsewhere:
            self._wire.finish()  # else its own loop hears of the cut, and does that
