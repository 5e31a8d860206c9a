"""The tables of one namespace: made, brought up to date, or refused.

Steps are numbered SQL files, applied once each and in order. A store that a newer release
has changed is refused: this one could only guess what its columns mean.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Sequence
from typing import Final

from stem_core.embedded.sqlite.statements import SCHEMA, Statements, for_namespace
from stem_core.model.errors import StoreMisconfigured

__all__ = ["bring_up_to_date", "steps"]

_OLDEST_SQLITE: Final = (3, 35, 0)


def steps() -> list[str]:
    """Return the SQL of every step, the first one first."""
    return [path.read_text("utf-8") for path in sorted(SCHEMA.glob("*.sql"))]


def bring_up_to_date(
    connection: sqlite3.Connection, sql: Statements, namespace: str, todo: Sequence[str], path: str
) -> None:
    """Apply what of *todo* was not applied yet. To be called inside a write transaction.

    Raises:
        StoreMisconfigured: the store is newer than *todo*.
    """
    version = _version(connection, sql)
    if version > len(todo):
        raise StoreMisconfigured(
            f"{path}: namespace {namespace!r} has version {version} of the tables, "
            f"this release knows versions up to {len(todo)}",
            way_out="Upgrade stem-core in this process, or give it another file.",
        )
    for number in range(version, len(todo)):
        for statement in _split(for_namespace(todo[number], namespace)):
            connection.execute(statement)
        if number == 0:
            connection.execute(sql["meta.create"], (uuid.uuid4().hex,))
        connection.execute(sql["meta.set_version"], (number + 1,))


def _version(connection: sqlite3.Connection, sql: Statements) -> int:
    found = connection.execute(sql["meta.exists"]).fetchone()
    if found is None:
        return 0
    if found[0] != found[1]:
        raise StoreMisconfigured(
            f"the file has a namespace that differs in case alone: {found[0]} beside {found[1]}",
            way_out="SQLite does not tell them apart: choose another STEM_NAMESPACE.",
        )
    row = connection.execute(sql["meta.version"]).fetchone()
    return int(row[0]) if row is not None else 0


def _split(script: str) -> list[str]:
    """Cut *script* into statements: `executescript` would commit the transaction around it."""
    statements, piece = [], ""
    for line in script.splitlines(keepends=True):
        piece += line
        if sqlite3.complete_statement(piece):
            statements.append(piece)
            piece = ""
    return statements


def refuse_old_sqlite(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Raise unless this Python's SQLite knows what the statements need."""
    if version < _OLDEST_SQLITE:
        shown = ".".join(map(str, version))
        raise StoreMisconfigured(
            f"this Python was built with SQLite {shown}; sqlite:// needs 3.35 or newer",
            way_out="Use a Python that brings a newer one.",
        )
