"""The ledger: what an SQLite store says of itself, in the very step that changes it.

A worker that is killed between a commit and the line that tells of it leaves no line. So a
trigger writes each accepted settlement down inside its transaction: it is there exactly if
the settlement is. It knows three columns of Stem's own table and no more.
"""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from stem_core.contracts.broker import Broker
from stem_core.contracts.messages import Located
from stem_core.model.options import TaskOptions
from stem_core.producer.client import Stem
from stem_core.testing.faults.truth import Commit, Truth, truth_of

_DEAD_OR_ENDED = (4, 5)

_TABLES = """
CREATE TABLE chaos_ledger (n INTEGER PRIMARY KEY, id TEXT, fence INTEGER, place INTEGER);
CREATE TRIGGER chaos_settled AFTER UPDATE OF settled ON stem_message
BEGIN
    INSERT INTO chaos_ledger (id, fence, place) VALUES (new.id, new.settled, new.place);
END;
"""


class Ledger:
    """The ledger of the store in the file at *path*. It holds the file open only while it looks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_to = 0
        self._ended: set[str] = set()

    def begin(self) -> None:
        """Let the store, whose tables are there, keep a ledger from now on."""
        with self._open() as connection:
            connection.executescript(_TABLES)

    def commits(self) -> list[Commit]:
        """Return all accepted settlements in the order in which they were made."""
        query = "SELECT id, fence, place FROM chaos_ledger ORDER BY n"
        with self._open() as connection:
            rows = connection.execute(query).fetchall()
        return [Commit(id, fence, place in _DEAD_OR_ENDED) for id, fence, place in rows]

    def ended(self) -> set[str]:
        """Return the ids that have ended so far."""
        query = "SELECT n, id, place FROM chaos_ledger WHERE n > ? ORDER BY n"
        with self._open() as connection:
            rows = connection.execute(query, (self._read_to,)).fetchall()
        self._read_to = rows[-1][0] if rows else self._read_to
        self._ended.update(id for _, id, place in rows if place in _DEAD_OR_ENDED)
        return self._ended

    def can_write(self, within_s: float) -> bool:
        """Say whether the file is free to be written to, or becomes so *within_s*.

        Who was stopped in the middle of a commit holds SQLite's lock, or the place in
        Stem's own queue before it, until it goes on or dies.
        """
        until = time.monotonic() + within_s
        while not (self._is_free() and self._is_nobodys_turn()):
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    def _is_free(self) -> bool:
        with closing(sqlite3.connect(self.path, timeout=0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            except sqlite3.OperationalError:
                return False
        return True

    def _is_nobodys_turn(self) -> bool:
        queue = self.path.with_name(f"{self.path.name}-turn")
        if not queue.exists():
            return True
        with queue.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as connection:
            yield connection


async def make_tables(url: str) -> None:
    """Open the store at *url* once, so that its tables are there."""
    async with Stem(url):
        pass


async def enqueue(
    url: str,
    args: Sequence[Mapping[str, object]],
    task: str,
    options: TaskOptions,
    delay_s: float | None = None,
) -> list[str]:
    """Enqueue *task* with each of *args*; return their ids."""
    async with Stem(url) as stem:
        calls = [stem.call(task, each, options=options, delay=delay_s) for each in args]
        return [job.id for job in await stem.enqueue_many(calls)]


async def truth(url: str, commits: Sequence[Commit], ids: Collection[str]) -> Truth:
    """Ask the store at *url*, through its contracts, what it holds of *ids*."""
    async with Stem(url) as stem:
        lane = await stem.lane()
        return await truth_of(ids, lookup=lane.lookup, load=lane.load, commits=commits)


async def letters(url: str) -> dict[str, Located]:
    """Return the dead letters of the store at *url* by id."""
    async with Stem(url) as stem:
        return await letters_of((await stem.lane()).broker)


async def letters_of(broker: Broker) -> dict[str, Located]:
    """Return all dead letters of *broker* by id."""
    assert broker.admin is not None
    found: dict[str, Located] = {}
    page = await broker.admin.dead_letters(limit=100)
    found |= {each.message.id: each for each in page.items}
    while page.cursor is not None:
        page = await broker.admin.dead_letters(limit=100, cursor=page.cursor)
        found |= {each.message.id: each for each in page.items}
    return found


async def waiting(url: str, queue: str = "default") -> int:
    """Return how many messages of *queue* are ready in the store at *url*."""
    async with Stem(url) as stem:
        admin = (await stem.lane()).broker.admin
        assert admin is not None
        return sum(each.ready for each in await admin.stats([queue]))
