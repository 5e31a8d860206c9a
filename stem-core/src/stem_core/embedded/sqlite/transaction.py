"""One transaction, as the verbs see it: statements by name, one instant, and what it changed.

Rule of this module: it knows SQL by name and nothing of what a verb means. What a write
means for those who wait is noted here and told when it is committed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from stem_core.embedded.sqlite.statements import Statements, pieces

__all__ = ["Effects", "Reading", "Writing"]

Row = tuple[Any, ...]


class Reading:
    """A look at the store.

    Attributes:
        now_ms: the instant of the whole transaction, in the store's time.
        wall_ms: the same instant on the wall clock.
    """

    def __init__(
        self, connection: sqlite3.Connection, sql: Statements, now_ms: int, wall_ms: int
    ) -> None:
        self._connection: Final = connection
        self._run: Final = connection.execute
        self._run_many: Final = connection.executemany
        self._sql: Final = sql
        self.now_ms: Final = now_ms
        self.wall_ms: Final = wall_ms

    def all(self, name: str, *values: Any) -> list[Row]:
        """Return the rows of the statement *name*."""
        return self._run(self._sql[name], values).fetchall()

    def one(self, name: str, *values: Any) -> Row | None:
        """Return the first row of the statement *name*."""
        row: Row | None = self._run(self._sql[name], values).fetchone()
        return row

    def among(self, name: str, keys: Sequence[Any], *before: Any) -> list[Row]:
        """Return the rows of *name* for each of *keys*; *before* are the values that come first."""
        found: list[Row] = []
        start = 0
        for size in pieces(len(keys)):
            sql = self._sql.repeated(name, size)
            found += self._run(sql, (*before, *keys[start : start + size])).fetchall()
            start += size
        return found


class Effects:
    """What a transaction changed for those who wait.

    Attributes:
        ready: queues with something to take.
        sooner_ms: something will happen by itself at this instant, or nothing new will.
        ended: tasks that have a terminal record.
        has_spoken: there is a control message.
    """

    __slots__ = ("ended", "has_spoken", "ready", "sooner_ms")

    def __init__(self) -> None:
        self.ready: set[str] = set()
        self.sooner_ms: int | None = None
        self.ended: list[str] = []
        self.has_spoken = False

    def due(self, at_ms: int) -> None:
        """Note that something will happen by itself at *at_ms*."""
        if self.sooner_ms is None or at_ms < self.sooner_ms:
            self.sooner_ms = at_ms


class Writing(Reading):
    """One atomic step, alone at the store: `BEGIN IMMEDIATE` to `COMMIT`.

    Attributes:
        effects: to be told when it is committed.
        has_advanced: time was let pass in it already.
        ticket: returns one that is above all that were given.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        sql: Statements,
        now_ms: int,
        wall_ms: int,
        ticket: Callable[[], int],
    ) -> None:
        super().__init__(connection, sql, now_ms, wall_ms)
        self.effects: Final = Effects()
        self.has_advanced = False
        self._before: Final = connection.total_changes
        self.ticket: Final = ticket
        self._fence_base: int | None = None

    def do(self, name: str, *values: Any) -> int:
        """Run the statement *name* and return how many rows it changed."""
        return self._run(self._sql[name], values).rowcount

    def do_all(self, name: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run the statement *name* once for each of *rows*."""
        self._run_many(self._sql[name], rows)

    def insert(self, name: str, rows: Sequence[Row]) -> int:
        """Insert *rows* and return how many there are now.

        Many in one statement: the interpreter's lock is let go once for each statement, and
        a busy program takes its time to give it back.
        """
        start = count = 0
        for size in pieces(len(rows)):
            values = [value for row in rows[start : start + size] for value in row]
            count += self._run(self._sql.repeated(name, size), values).rowcount
            start += size
        return count

    def change(self, name: str, rows: Sequence[Row], *after: Any) -> list[Row]:
        """Run the statement *name* for all of *rows*, *after* being its last values; return what
        it returns."""
        changed: list[Row] = []
        start = 0
        for size in pieces(len(rows)):
            values = [value for row in rows[start : start + size] for value in row]
            sql = self._sql.repeated(name, size)
            changed += self._run(sql, (*values, *after)).fetchall()
            start += size
        return changed

    def do_for(self, name: str, seqs: Sequence[int], *before: Any) -> None:
        """Run the statement *name* once for all of *seqs*."""
        if seqs:
            self._run(self._sql[name], (*before, json.dumps(seqs)))

    # ── the counter ──────────────────────────────────────────────────────────

    @property
    def fence_base(self) -> int:
        """Above every fence of an id that is forgotten."""
        if self._fence_base is None:
            row = self.one("publish.base")
            assert row is not None
            self._fence_base = int(row[0])
        return self._fence_base

    def raise_fence_base(self, fence: int) -> None:
        """Let the base be at least *fence*."""
        self.do("publish.raise_base", fence)
        self._fence_base = max(self.fence_base, fence)

    def pages(self) -> int:
        """Return about how many pages of the file this step has changed."""
        return 2 + (self._connection.total_changes - self._before) // 4
