"""Calls on the caller's own connection: in his transaction, which he commits or rolls back.

What SQLAlchemy wraps is found by what it can do, so that nobody needs SQLAlchemy for this.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import psycopg
from attrs import frozen
from psycopg.pq import Format, TransactionStatus
from psycopg.rows import tuple_row

from stem_core.plugin import UsageError
from stem_postgres.errors import translated
from stem_postgres.handle import Store
from stem_postgres.wire import Row

__all__ = ["Call", "accepts"]

_WHAT: Final = "a connection of psycopg 3, or a session or connection of SQLAlchemy over psycopg 3"
_TELLS_ALWAYS: Final = True
"""The commit comes later, when somebody may wait who does not wait now, and it tells."""

_ELSEWHERE: Final = ("STM01", "3F000", "42P01", "42883")
"""What a database says that is not the one of the store: see `ns_here`, and where that is not."""


def accepts(connection: object) -> bool:
    """Return whether *connection* is one that a `Call` can run on."""
    if isinstance(connection, psycopg.Connection | psycopg.AsyncConnection):
        return True
    return _is_sqlalchemy(connection) and _dialect(connection) == "psycopg"


@frozen
class Call:
    """A statement of *store* on a connection that somebody else has opened."""

    store: Store
    name: str
    arguments: Sequence[Any]

    async def run(self, connection: object) -> list[Row]:
        """Return its rows; on an asynchronous connection.

        Raises:
            UsageError: the connection is of another kind, commits each statement, or leads to
                another store.
            StoreError: see `translated`.
        """
        try:
            if _is_of(connection, "sqlalchemy.ext.asyncio."):
                return await self._run_in_sqlalchemy(connection)
            if not isinstance(connection, psycopg.AsyncConnection):
                raise _wrong(connection, "asynchronous")
            _check(connection)
            # Never of the caller's own kind, which may know other placeholders and other rows.
            async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
                cursor.format = Format.BINARY
                await cursor.execute(*self._statement)
                return await cursor.fetchall()
        except Exception as error:
            mine = self._translated(error)
            if mine is error:
                raise
            raise mine from error

    async def _run_in_sqlalchemy(self, connection: Any) -> list[Row]:
        if _is_session(connection):
            connection = await connection.connection()
        raw = await connection.get_raw_connection()
        _check(raw.driver_connection, begins=True)
        statement, parameters = self._statement
        result = await connection.exec_driver_sql(statement.decode(), parameters)
        return [tuple(row) for row in result.all()]

    def run_sync(self, connection: object) -> list[Row]:
        """Return its rows; on a blocking connection, in the caller's thread."""
        try:
            if _is_sqlalchemy(connection) and not _is_of(connection, "sqlalchemy.ext.asyncio."):
                return self._run_in_sqlalchemy_sync(connection)
            if not isinstance(connection, psycopg.Connection):
                raise _wrong(connection, "blocking")
            _check(connection)
            with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
                cursor.format = Format.BINARY
                cursor.execute(*self._statement)
                return cursor.fetchall()
        except Exception as error:
            mine = self._translated(error)
            if mine is error:
                raise
            raise mine from error

    def _run_in_sqlalchemy_sync(self, connection: Any) -> list[Row]:
        if _is_session(connection):
            connection = connection.connection()
        _check(connection.connection.driver_connection, begins=True)
        statement, parameters = self._statement
        result = connection.exec_driver_sql(statement.decode(), parameters)
        return [tuple(row) for row in result.all()]

    @property
    def _statement(self) -> tuple[bytes, tuple[Any, ...]]:
        store = self.store
        told = None if store.told is None else _TELLS_ALWAYS
        parameters = (store.ns, store.channel, store.instant(), told, *self.arguments)
        return _only_here(store.sql(self.name), store.location.schema), parameters

    def _translated(self, error: Exception) -> Exception:
        """Return *error* as one of ours, if it is the driver's; SQLAlchemy wraps those."""
        theirs = getattr(error, "orig", error)
        if not isinstance(theirs, psycopg.Error):
            return error
        location = self.store.location
        if theirs.sqlstate in _ELSEWHERE:
            return UsageError(
                f"connection= does not lead to the store of this broker, {location.shown}",
                way_out="Give a connection to that database, or write the one of your own rows "
                "into the broker's URL. If they are one already, run: stem migrate up",
            )
        return translated(theirs, location.shown, location.schema)


@cache
def _only_here(sql: bytes, schema: str) -> bytes:
    """Return *sql* with its first place, the namespace, bound to the store that it is of."""
    return sql.replace(b"%s::int", f'"{schema}".ns_here(%s::int, %s::text)'.encode(), 1)


def _check(driver: Any, *, begins: bool = False) -> None:
    """Refuse a connection on which every statement would be committed at once.

    *begins* means that whoever wraps it begins a transaction with the first statement.
    """
    is_idle = driver.info.transaction_status == TransactionStatus.IDLE
    if driver.autocommit and (is_idle or begins):
        raise UsageError(
            "the connection is in autocommit mode and in no transaction",
            way_out="Begin one: async with connection.transaction(): …",
        )


def _wrong(connection: object, wanted: str) -> UsageError:
    kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
    return UsageError(f"connection= is a {kind}", way_out=f"Give {_WHAT}, an {wanted} one.")


# ── SQLAlchemy ───────────────────────────────────────────────────────────────


def _is_of(connection: object, package: str) -> bool:
    return any(kind.__module__.startswith(package) for kind in type(connection).__mro__)


def _is_sqlalchemy(connection: object) -> bool:
    return _is_of(connection, "sqlalchemy.")


def _dialect(connection: Any) -> str:
    """Return the driver that a session or connection uses; empty if it does not tell."""
    bind = connection.get_bind() if _is_session(connection) else connection
    return str(getattr(getattr(bind, "dialect", None), "driver", ""))


def _is_session(connection: object) -> bool:
    return hasattr(connection, "get_bind")
