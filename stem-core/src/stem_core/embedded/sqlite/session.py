"""A file that is open: its connections, who it is, and its time.

Rule of this module: a connection is opened on first use, closed when something is wrong
with it, and opened again by the next use; what is known of the file stays.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from attrs import frozen

from stem_core.contracts.clock import Clock
from stem_core.embedded.sqlite.connection import NotNow, Place, begin, connect, refuse_another_file
from stem_core.embedded.sqlite.errors import LOCKED, code_of
from stem_core.embedded.sqlite.location import Location
from stem_core.embedded.sqlite.schema import bring_up_to_date, refuse_old_sqlite, steps
from stem_core.embedded.sqlite.statements import Statements
from stem_core.embedded.sqlite.store_time import BOOT, StoreTime, Tickets, anchored
from stem_core.embedded.sqlite.transaction import Reading, Row, Writing
from stem_core.embedded.sqlite.turns import NoTurn, Turn
from stem_core.model.errors import StoreMisconfigured, StoreUnavailable

__all__ = ["LOOK_AGAIN_S", "Facts", "NotNow", "Session"]


LOOK_AGAIN_S: Final = 0.005
"""How often lone writes look whether the path still names the file. Whoever takes the file away
loses what was written to it up to that moment; a few milliseconds more are no other loss."""


@frozen
class Facts:
    """What is known of an open store.

    Attributes:
        identity: made once at random, with the tables.
        place: which file it is; None in memory.
        time: its clock.
        tickets: its order.
    """

    identity: str
    place: Place | None
    time: StoreTime
    tickets: Tickets


class Session:
    """Opens connections to one place. Thread-safe."""

    def __init__(
        self,
        location: Location,
        namespace: str,
        durability: Literal["full", "normal"],
        clock: Clock,
    ) -> None:
        self.location: Final = location
        self.namespace: Final = namespace
        self.sql: Final = Statements(namespace)
        self._durability: Final = durability
        self._clock: Final = clock
        self._lock = threading.RLock()
        self._facts: Facts | None = None
        self._looked_at = float("-inf")
        self._open: Final[dict[str, tuple[sqlite3.Connection, Place | None]]] = {}
        # A store in memory ends unannounced. Not at exit, where threads may still be in use of
        # what would be closed: whoever lets them end calls `end`.
        weakref.finalize(self, _close_all, self._open).atexit = False
        self._turn: Final = Turn(location.path) if not location.is_memory else NoTurn()

    @property
    def facts(self) -> Facts:
        """What is known of the store; opens it if nobody has."""
        facts = self._facts
        if facts is None:
            self.connection("write")
            facts = self._facts
            assert facts is not None
        return facts

    def connection(self, purpose: str) -> sqlite3.Connection:
        """Return the connection for *purpose*, each of which is used by one thread.

        Raises:
            sqlite3.Error: to be translated.
            StoreError: the file is not what it should be.
        """
        found = self._open.get(purpose)
        if found is not None:
            connection, place = found
            if self._facts is None or place == self._facts.place:
                return connection
            self.close(purpose)  # another thread has found that the file has changed places
        return self._connect(purpose)

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """Give one atomic step: it is committed at the end, or it has not happened.

        Raises:
            sqlite3.Error, StoreError: as `connection`.
        """
        self._check("write")
        connection = self.connection("write")
        time, tickets = self.facts.time, self.facts.tickets
        self._turn.take()
        try:
            self._begin(connection)
            txn = Writing(connection, self.sql, time.now_ms(), time.wall_ms(), tickets.next)
            yield txn
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        finally:
            self._turn.give_back()

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Begin, and keep nobody from trying while one waits for a lock of another program."""
        try:
            begin(connection, wait=False)
        except NotNow:
            self._turn.give_back()
            begin(connection)

    def is_open(self, purpose: str) -> bool:
        """True when using the connection for *purpose* opens nothing."""
        return purpose in self._open

    def write_alone(self, name: str, values: Row, now: float) -> int:
        """Run the statement *name* as a whole transaction; return how many rows it changed.

        `writing` in few words, for the one write that comes alone and often. Its first value
        is a ticket, before *values*. A statement that writes is a transaction of its own and
        takes the lock in its first step, as BEGIN IMMEDIATE would. *now* is that of `monotonic`.

        Raises:
            NotNow: somebody else writes.
            sqlite3.Error, StoreError: as `connection`.
        """
        if now - self._looked_at > LOOK_AGAIN_S:
            self._check("write")
            self._looked_at = now
        connection, turn = self.connection("write"), self._turn
        tickets = self.facts.tickets
        if not turn.take(wait=False):
            raise NotNow
        try:
            return connection.execute(self.sql[name], (tickets.next(), *values)).rowcount
        except sqlite3.OperationalError as error:
            if code_of(error) in LOCKED:
                raise NotNow from None
            raise
        finally:
            turn.give_back()

    @contextmanager
    def reading(self, purpose: str) -> Iterator[Reading]:
        """Give one consistent look at the store."""
        self._check(purpose)
        connection = self.connection(purpose)
        time = self.facts.time
        connection.execute("BEGIN")
        try:
            yield Reading(connection, self.sql, time.now_ms(), time.wall_ms())
        finally:
            if connection.in_transaction:
                connection.execute("COMMIT")

    def _check(self, purpose: str) -> None:
        """Raise unless the path still names the file that is open for *purpose*.

        Whoever only looked would else look for ever at a file that nobody writes to.
        """
        found = self._open.get(purpose)
        if found is not None and not self.location.is_memory:
            refuse_another_file(self.location.path, found[1])

    def close(self, purpose: str) -> None:
        """Close the connection for *purpose*."""
        with self._lock:
            found = self._open.pop(purpose, None)
            if purpose == "write":
                self._turn.close()
            if found is not None:
                with contextlib.suppress(sqlite3.Error):
                    found[0].close()

    def close_all(self) -> None:
        """Close every connection. A store in memory would end with its own, and keeps it."""
        if not self.location.is_memory:
            for purpose in list(self._open):
                self.close(purpose)

    def end(self) -> None:
        """Close every connection for good, a store in memory with them. No thread may be using
        one: closing it under a statement crashes the process."""
        _close_all(self._open)

    def forget(self) -> None:
        """Start anew in a forked child, where nothing is open any more."""
        self._lock = threading.RLock()
        if self.location.is_memory:
            _close_all(self._open)
            self._facts = None

    def _connect(self, purpose: str) -> sqlite3.Connection:
        with self._lock:
            if self._facts is not None and not self.location.is_memory:
                self._refuse_to_begin_empty()
            is_memory = self.location.is_memory
            connection = connect(
                self.location.path, durability=self._durability, is_memory=is_memory
            )
            try:
                self._facts = self._examined(connection)
            except BaseException:
                connection.close()
                raise
            if purpose == "write":
                connection.execute("PRAGMA busy_timeout = 0")  # `begin` waits, where one waits
            self._open[purpose] = (connection, self._facts.place)
            return connection

    def _refuse_to_begin_empty(self) -> None:
        if not os.path.exists(self.location.path):
            raise StoreUnavailable(
                f"{self.location.path} has been deleted or moved away while it was in use",
                way_out="Put it back; a new, empty one is not made in its place.",
            )

    def _examined(self, connection: sqlite3.Connection) -> Facts:
        """Make or update the tables, and return what is known of the store then."""
        path, place = self.location.path, Place.of(self.location.path)
        if self._facts is not None:
            if place != self._facts.place:
                raise StoreMisconfigured(
                    f"{path} has been replaced by another file while it was in use",
                    way_out="Start this process again to use the new one.",
                )
            return self._facts  # looking must not wait for writing
        refuse_old_sqlite()
        begin(connection)
        with connection:
            bring_up_to_date(connection, self.sql, self.namespace, steps(), path)
            txn = Writing(connection, self.sql, 0, 0, Tickets().next)
            row = txn.one("meta.identity")
            identity = str(row[0]) if row is not None else ""
            time = anchored(txn, self._clock, BOOT)
            return Facts(identity, place, time, Tickets(time.offset_ms))


def _close_all(connections: dict[str, tuple[sqlite3.Connection, Place | None]]) -> None:
    while connections:
        _, (connection, _) = connections.popitem()
        with contextlib.suppress(sqlite3.Error):
            connection.close()
