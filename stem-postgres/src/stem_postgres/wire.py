"""One connection: how a statement is sent over it, how long it may take, how it is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg.pq import ConnStatus, TransactionStatus

from stem_postgres.nearby import Begin, Done
from stem_postgres.prepared import Prepared, packed

__all__ = ["WAYS_TO_FAIL", "Deadline", "Parameters", "Row", "Wire"]

Parameters = Sequence[Any] | Mapping[str, Any]
"""What a statement is about, by position or by name."""

Row = tuple[Any, ...]

WAYS_TO_FAIL: Final = (psycopg.Error, OSError, EOFError, TimeoutError)

_SPARE_MS: Final = 1_000
"""How much later than the server this side gives a call up."""


class Wire(psycopg.AsyncConnection[Row]):
    """A connection that may be dropped with its loop, or in a forked child, without a word."""

    prepared: Prepared | None = None
    """What is prepared here; none where a session is not ours alone."""

    begin: Begin | None = None
    """Does the first steps of a statement, while one is asked for that is not just awaited."""

    async def rows(self, sql: bytes, parameters: Parameters = ()) -> list[Row]:
        """Return the rows that *sql* gives; several statements at once take no parameters.

        Raises:
            psycopg.Error: the server refused it, or is gone.
        """
        if self.prepared is not None and parameters and not isinstance(parameters, Mapping):
            given = packed(parameters)
            if given is not None and self.prepared.is_worth_it(sql):
                found: list[Row] = await self.wait(self.prepared.rows(self, sql, given))
                return found
        cursor = self.cursor(binary=bool(parameters))
        await cursor.execute(sql, parameters or None)
        result = cursor.pgresult  # its `description` would be made of every column
        return await cursor.fetchall() if result is not None and result.nfields else []

    async def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Do what the driver is about to, as far as that goes in place."""
        if self.begin is not None:
            gen = self.begin(gen, self.pgconn.socket)
            if isinstance(gen, Done):
                return gen.value
        return await super().wait(gen, *args, **kwargs)

    def __del__(self, *_: object) -> None:
        """Leave it to libpq, which closes what belongs to this process and nothing else."""

    @property
    def is_whole(self) -> bool:
        """False once it failed, or was left in the middle."""
        pgconn = self.pgconn
        return (
            pgconn.status == ConnStatus.OK and pgconn.transaction_status == TransactionStatus.IDLE
        )

    @property
    def is_alive(self) -> bool:
        """False once it failed, was closed by either side, or was left in the middle."""
        if not self.is_whole:
            return False
        waiting = select.poll()
        waiting.register(self.pgconn.socket, select.POLLIN)
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


class Deadline:
    """Lets a block end in time, even if the server is silent: then its connection is cut."""

    __slots__ = ("_is_late", "_timer", "_wire")

    def __init__(self, wire: Wire, timeout_ms: int) -> None:
        self._wire = wire
        self._is_late = False
        late_s = (timeout_ms + _SPARE_MS) / 1000
        self._timer = asyncio.get_running_loop().call_later(late_s, self._cut)

    def _cut(self) -> None:
        self._is_late = True
        self._wire.cut()

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._timer.cancel()
        if self._is_late and isinstance(error, WAYS_TO_FAIL):
            raise TimeoutError from None
