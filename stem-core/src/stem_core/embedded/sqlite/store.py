"""`SqliteStore`: what all handles of one file and namespace share in this process.

    handles ──▶ writer: a desk; all that waits in one transaction, then one sync of the disk
            ──▶ reader: a desk; looking never waits for writing
            ◀── watcher: wakes who waits when another process has written

Rule of this module: it runs verbs and wakes sleepers; what a verb does it does not know.
"""

from __future__ import annotations

import atexit
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from time import monotonic
from typing import Any, ClassVar, Final, Literal, TypeVar
from weakref import WeakSet, WeakValueDictionary

from stem_core.contracts.clock import SYSTEM_CLOCK, Clock
from stem_core.contracts.messages import Message
from stem_core.embedded import forks
from stem_core.embedded.sqlite.desk import Desk, Job
from stem_core.embedded.sqlite.errors import translated
from stem_core.embedded.sqlite.location import Location
from stem_core.embedded.sqlite.publishing import announce, row_of
from stem_core.embedded.sqlite.records import ended_among
from stem_core.embedded.sqlite.session import NotNow, Session
from stem_core.embedded.sqlite.sweeping import sweep
from stem_core.embedded.sqlite.transaction import Effects, Reading, Writing
from stem_core.embedded.sqlite.waiters import Waiters, Wanted
from stem_core.embedded.sqlite.watcher import Watcher
from stem_core.model.errors import Fault, StemError, StoreError

__all__ = ["SqliteStore"]

_log: Final = logging.getLogger("stem.sqlite")
R = TypeVar("R")
Durability = Literal["full", "normal"]
Gather = Callable[[], list[Job]]

_SWEEP_EVERY_MS: Final = 1_000
_SWEEP_ON_MS: Final = 5
_FAREWELL_S: Final = 2.0
_QUICK_S: Final = 0.002
"""A commit that takes longer than this is none that an event loop should make by itself."""

_PAGES_ALONE: Final = 3
_LONG_LOG: Final = 1_000
"""About how many pages of the log are written back to the file at a time; SQLite's own figure."""

_REOPEN: Final = frozenset({Fault.RECONNECT, Fault.FATAL_CONFIG})


class SqliteStore:
    """One file and namespace in one process. Thread-safe.

    Attributes:
        generation: grows in a forked child, where handles of the parent end.
        is_quick: the last commit took a moment, so that `insert_here` may make the next.
        clock: where time comes from.
        location: where it is.
        waiters: who waits here for what.
    """

    _named: ClassVar[WeakValueDictionary[tuple[str, str, str, int], SqliteStore]] = (
        WeakValueDictionary()
    )
    _naming: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        location: Location,
        namespace: str = "stem",
        durability: Durability = "full",
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.location: Final = location
        self.clock: Final = clock
        self.durability: Final = durability
        self.generation = 0
        self._is_copy = False
        self._session: Final = Session(location, namespace, durability, clock)
        self._users = 0
        self._begin()
        forks.watch(self)
        _stores.add(self)

    @classmethod
    def at(
        cls, location: Location, namespace: str, durability: Durability, clock: Clock
    ) -> SqliteStore:
        """Return the store of this place, made on first use."""
        key = (location.path, namespace, durability, id(clock))
        with cls._naming:
            store = cls._named.get(key)
            if store is None or not store._users:  # what nobody uses may have been moved since
                store = cls._named[key] = cls(location, namespace, durability, clock)
            return store

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._sweep_at_ms = 0
        self._last_sent: object = None  # nothing is equal to it: who listens looks once
        self.is_quick = False  # not known yet
        self._log_pages = 0
        self._writer = Desk("stem-sqlite-write", self._write, lambda: self._leave("write"))
        self._reader = (
            self._writer
            if self.location.is_memory
            else Desk("stem-sqlite-read", self._read, lambda: self._leave("read"))
        )
        self._watcher = Watcher(
            self._version,
            self._look,
            lambda: not self.waiters.is_empty,
            lambda: self._leave("watch"),
        )
        self.waiters = Waiters(_nobody if self.location.is_memory else self._watcher.wake)

    @property
    def store_id(self) -> str:
        """The identity of the file and namespace; opens it if nobody has."""
        with self._told():
            facts = self._session.facts
        place = facts.place
        where = "memory" if place is None else f"{place.device:x}.{place.inode:x}"
        return f"sqlite:{facts.identity}:{where}:{self._session.namespace}"

    # ── what handles ask for ─────────────────────────────────────────────────

    async def write(
        self,
        verb: Callable[..., R],
        *args: Any,
        glance: Callable[..., R | None] | None = None,
        lost: Callable[[Any], None] | None = None,
    ) -> R:
        """Run *verb* in a write transaction; *lost* is called with an outcome nobody took.

        With *glance*, which only reads, there is no write unless it returns None.
        """
        outcome: R = await self._writer.ask(verb, *args, glance=glance, lost=lost)
        return outcome

    def insert_here(self, message: Message) -> bool:
        """Publish *message* in the caller's own thread; say whether that was done.

        To be asked while `is_quick`: waking a thread and being woken by it takes about as
        long as a commit on a fast disk. Nothing is waited for here, neither the desk nor
        another process.
        """
        session = self._session
        if not session.is_open("write") or not self._writer.begin_here():
            return False
        try:
            row = row_of(message, session.facts.time)
            if row is None:
                return False
            began = monotonic()
            is_new = session.write_alone("publish.insert_one", row, began) > 0
            self.is_quick = monotonic() - began < _QUICK_S
        except NotNow:
            return False
        except (sqlite3.Error, StoreError) as error:
            raise self._say(error, "write") from error
        finally:
            self._writer.end_here()
        # By the writer: while nobody writes the log can begin anew, and need not grow.
        self._lengthen_log(_PAGES_ALONE, self._writer)
        if is_new and not self.waiters.is_empty:
            effects = Effects()
            announce(message, effects, row)
            self.waiters.tell(effects)
        return is_new

    def post(self, verb: Callable[..., Any], *args: Any) -> None:
        """Run *verb* in a write transaction, soon; nobody waits for it."""
        self._writer.post(verb, *args)

    async def read(self, verb: Callable[..., R], *args: Any) -> R:
        """Run *verb* in a read transaction."""
        outcome: R = await self._reader.ask(verb, *args)
        return outcome

    def user_comes(self) -> None:
        """Count one more handle."""
        with self._lock:
            self._users += 1

    def user_goes(self) -> list[threading.Thread]:
        """Count one handle less; return the threads that end with the last one."""
        with self._lock:
            self._users -= 1
            if self._users > 0:
                return []
        return self.stop()

    def stop(self) -> list[threading.Thread]:
        """Let all threads end once they have done what was asked; return them."""
        threads = {part.stop() for part in (self._watcher, self._writer, self._reader)}
        return [thread for thread in threads if thread is not None]

    def end(self) -> None:
        """Close what `stop` leaves open, which is the memory. Its threads must have ended."""
        self._session.end()

    # ── time ─────────────────────────────────────────────────────────────────

    def monotonic_ms(self, due_ms: int) -> int:
        """Return what the monotonic clock shows at the store's instant *due_ms*."""
        return due_ms - self._session.facts.time.now_ms() + self.clock.monotonic_ms()

    def instant_ms(self, monotonic_ms: int) -> int:
        """Return the store's instant at which the monotonic clock showed *monotonic_ms*."""
        return self._session.facts.time.now_ms() - self.clock.monotonic_ms() + monotonic_ms

    # ── in the writer's thread ───────────────────────────────────────────────

    def _write(self, jobs: list[Job], gather: Gather) -> None:
        """Do *jobs*, and what is asked for meanwhile, in one transaction."""
        try:
            if jobs[0].verb is _write_back:  # no transaction may be open
                _write_back(self._session.connection("write"))
                del jobs[0]
            if jobs and not self._is_answered_by_a_glance(jobs):
                self._commit(jobs, gather)
        except _VerbFailed as failed:
            self._write_apart(jobs, failed)
        except Exception as error:
            for job in jobs:
                job.error = self._say(error, "write")

    def _write_apart(self, jobs: Sequence[Job], failed: _VerbFailed) -> None:
        """Nothing of *jobs* has happened, for one of them failed: give each its own try."""
        if len(jobs) == 1:
            jobs[0].error = self._say(failed.cause, "write")
        else:
            for job in jobs:
                self._write([job], list)

    def _lengthen_log(self, pages: int, desk: Desk) -> None:
        """Count what was written to the log; let *desk* write a long one back to the file."""
        self._log_pages += pages
        if self._log_pages >= _LONG_LOG and not self.location.is_memory:
            self._log_pages = 0
            desk.post(_write_back)

    def _is_answered_by_a_glance(self, jobs: Sequence[Job]) -> bool:
        """Look whether there is anything to write; with several jobs there always is."""
        glance = jobs[0].glance
        if len(jobs) > 1 or glance is None or not jobs[0].is_wanted:
            return False
        try:
            with self._session.reading("write") as txn:
                outcome = glance(txn, *jobs[0].args)
        except sqlite3.OperationalError:
            return False  # what is wrong is told by the write
        if outcome is not None:
            jobs[0].made(outcome)
        return outcome is not None

    def _commit(self, jobs: Sequence[Job], gather: Gather) -> None:
        began = monotonic()
        outcomes: list[tuple[Job, Any]] = []
        with self._session.writing() as txn:
            todo = jobs
            while todo:
                outcomes += [
                    (job, _run(job, txn))
                    for job in todo
                    if job.is_wanted and job.verb is not _write_back
                ]
                todo = gather()
            self._sweep(txn)
        self._lengthen_log(txn.pages(), self._reader)
        self.is_quick = monotonic() - began < _QUICK_S
        for job, outcome in outcomes:
            job.made(outcome)
        self.waiters.tell(txn.effects)

    def _sweep(self, txn: Writing) -> None:
        if txn.now_ms >= self._sweep_at_ms:
            has_more = sweep(txn)
            self._sweep_at_ms = txn.now_ms + (_SWEEP_ON_MS if has_more else _SWEEP_EVERY_MS)

    # ── in the reader's thread ───────────────────────────────────────────────

    def _read(self, jobs: Sequence[Job], gather: Gather) -> None:
        for job in jobs:
            try:
                if job.verb is _write_back:
                    _write_back(self._session.connection("read"))
                elif job.is_wanted:
                    with self._session.reading("read") as txn:
                        job.made(job.verb(txn, *job.args))
            except Exception as error:
                job.error = self._say(error, "read")

    # ── in the watcher's thread ──────────────────────────────────────────────

    def _version(self) -> tuple[int, int]:
        """Return what changes with every commit of another connection, and with a new one of
        our own, which counts anew."""
        connection = self._session.connection("watch")
        return id(connection), int(connection.execute("PRAGMA data_version").fetchone()[0])

    def _look(self) -> None:
        """Look what has changed, and wake whom it concerns; all of them when that fails."""
        try:
            self.waiters.tell(self._seen(self.waiters.wanted()))
        except Exception:
            self.waiters.wake_all()
            raise

    def _has_been_sent(self, txn: Reading) -> bool:
        """Say whether control messages have come since the last look, or may have."""
        before, self._last_sent = self._last_sent, txn.one("look.last_sent")
        return self._last_sent != before

    def _seen(self, wanted: Wanted) -> Effects:
        found = Effects()
        with self._session.reading("watch") as txn:
            found.has_spoken = wanted.control and self._has_been_sent(txn)
            found.ready.update(queue for (queue,) in txn.among("look.ready", wanted.queues))
            due = txn.one("look.next_due") if wanted.queues else None
            found.sooner_ms = due[0] if due is not None else None
            found.ended += ended_among(txn, wanted.ids)
        return found

    # ── faults and forks ─────────────────────────────────────────────────────

    def _say(self, error: Exception, purpose: str) -> Exception:
        """Return *error* as callers may see it; close what it has made doubtful."""
        if isinstance(error, StemError) and not isinstance(error, StoreError):
            return error
        if not isinstance(error, sqlite3.Error | StoreError | OverflowError | UnicodeError):
            return error
        told = copy(translated(error, self.location.path))  # each caller raises its own
        if told.fault in _REOPEN and not self.location.is_memory:
            self._session.close(purpose)
        return told

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translated(error, self.location.path) from error

    def _leave(self, purpose: str) -> None:
        if not self.location.is_memory:
            self._session.close(purpose)

    def before_fork(self) -> None:
        """Close every connection: a child must not even inherit one that is open."""
        for part in {self._writer, self._reader}:
            part.busy.acquire()
        self._watcher.busy.acquire()
        self._session.close_all()

    def after_fork_in_parent(self) -> None:
        """Go on; connections are opened again by their next use."""
        self._watcher.busy.release()
        for part in {self._writer, self._reader}:
            part.busy.release()

    def after_fork_in_child(self) -> None:
        """Begin anew: the threads, and who waits, belong to the parent."""
        self._session.forget()
        self._begin()
        self._users = 0
        self._is_copy = True
        self.generation += 1

    def warn_of_fork(self) -> None:
        """Say once, in a forked child, that a store in memory is another one now."""
        if self._is_copy and self.location.is_memory:
            _log.warning(
                "sqlite:// in memory was made before this process forked and begins empty here: "
                "name a file to share it, such as sqlite:///tasks.db"
            )
        self._is_copy = False


def _write_back(connection: sqlite3.Connection) -> None:
    """Write as much of the log back to the file as nobody reads any more."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _nobody() -> None:
    """Nothing: no other process can change what is in memory."""


class _VerbFailed(Exception):
    """A verb raised *cause*; the others of its transaction may be well."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause: Final = cause


def _run(job: Job, txn: Writing) -> Any:
    try:
        return job.verb(txn, *job.args)
    except Exception as error:
        raise _VerbFailed(error) from error


_stores: Final[WeakSet[SqliteStore]] = WeakSet()


def _in_child() -> None:
    """Another thread may have held it when the process forked."""
    SqliteStore._naming = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_in_child)


@atexit.register
def _farewell() -> None:
    """Do what was asked for and close the files: a program may end without closing anything."""
    ending = [(store, store.stop()) for store in list(_stores)]
    until = monotonic() + _FAREWELL_S
    for store, threads in ending:
        for thread in threads:
            thread.join(max(0.0, until - monotonic()))
        if not any(thread.is_alive() for thread in threads):
            store.end()
