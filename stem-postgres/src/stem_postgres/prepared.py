"""Statements with few kinds of parameters, prepared and sent without the driver's cursor.

A cursor finds out anew at every call what each parameter and column is, which costs more than half
of what this side does for a call. Whose statements are always the same knows. What this does not
know goes through a cursor: `packed` says so. Rule of this module: steps for `AsyncConnection.wait`,
on the driver's own wrapper of libpq; it awaits nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from itertools import count
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from stem_postgres.arrays import ARRAYS

__all__ = ["Packed", "Prepared", "numbered", "packed"]

Packed = tuple[list[bytes | None], list[Format]]
"""Parameters as the server takes them, and which of them are binary."""

Steps = Generator[int, int, list[tuple[Any, ...]]]

_PLACEHOLDER: Final = re.compile(rb"%[sbt%]")
_READ, _READ_OR_WRITE = 1, 3
_GOOD: Final = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)

# Texts are binary, for one in words would end at its first NUL without a complaint. Numbers are
# in words: their width is known to the statement alone.
_KINDS: Final[dict[type, tuple[Callable[[Any], bytes], Format]]] = {
    bool: (lambda value: b"t" if value else b"f", Format.TEXT),
    int: (lambda value: b"%d" % value, Format.TEXT),
    str: (str.encode, Format.BINARY),
    bytes: (bytes, Format.BINARY),
    **{kind: (kind.dumped, Format.BINARY) for kind in ARRAYS},
}


def packed(parameters: Sequence[Any]) -> Packed | None:
    """Return *parameters* as the server takes them; None if one is of a kind not known here."""
    values: list[bytes | None] = []
    formats = []
    for parameter in parameters:
        if parameter is None:
            values.append(None)
            formats.append(Format.TEXT)
        elif known := _KINDS.get(type(parameter)):
            pack, format = known
            values.append(pack(parameter))
            formats.append(format)
        else:
            return None
    return values, formats


class Prepared:
    """What is prepared on one connection."""

    def __init__(self) -> None:
        self._names: dict[bytes, bytes] = {}  # by statement; empty until it is prepared
        self._numbers = count()

    def is_worth_it(self, sql: bytes) -> bool:
        """Say whether *sql* is asked for again: to prepare it takes a round trip more."""
        if sql in self._names:
            return True
        self._names[sql] = b""
        return False

    def rows(self, connection: AsyncConnection[Any], sql: bytes, given: Packed) -> Steps:
        """Run *sql*, whose places say of what type they are, and return its rows.

        Raises:
            psycopg.Error: the server refused it, or is gone.
        """
        pgconn = connection.pgconn
        name = self._names.get(sql)
        if not name:
            name = b"stem_%d" % next(self._numbers)
            pgconn.send_prepare(name, numbered(sql))
            yield from _result(pgconn)
            self._names[sql] = name
        values, formats = given
        pgconn.send_query_prepared(name, values, formats, Format.BINARY)
        result = yield from _result(pgconn)
        if not result.nfields:
            return []
        found = Transformer(connection)
        found.set_pgresult(result)
        return found.load_rows(0, result.ntuples, tuple)


def _result(pgconn: PGconn) -> Generator[int, int, PGresult]:
    while pgconn.flush():
        ready = yield _READ_OR_WRITE  # nothing, from a driver that has just cancelled
        if ready and ready & _READ:  # a server that is not read may not read either
            pgconn.consume_input()
    results = yield from _results(pgconn)
    if not results:
        raise psycopg.OperationalError("the connection was closed before the reply")
    # A statement that was done may still fail to be committed, and that is said after its rows.
    for result in results:
        if result.status not in _GOOD:
            raise error_from_result(result)
    return results[0]


def _results(pgconn: PGconn) -> Generator[int, int, list[PGresult]]:
    found: list[PGresult] = []
    try:
        while True:
            while pgconn.is_busy():
                yield _READ
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                return found
            found.append(result)
    except psycopg.DatabaseError:
        if found and found[-1].status == ExecStatus.FATAL_ERROR:
            return found  # it says why the server hung up
        raise


def numbered(sql: bytes) -> bytes:
    """Write the places of *sql* as the server knows them."""
    numbers = count(1)

    def place(found: re.Match[bytes]) -> bytes:
        return b"%" if found[0] == b"%%" else b"$%d" % next(numbers)

    return _PLACEHOLDER.sub(place, sql)
