"""The SQLite store keeps every promise, in a time that stands still until a test moves it."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from stem_core.contracts.messages import Place
from stem_core.embedded.sqlite.backend import SqliteResultBackend
from stem_core.embedded.sqlite.broker import SqliteBroker
from stem_core.embedded.sqlite.location import MEMORY, Location
from stem_core.embedded.sqlite.store import SqliteStore
from stem_core.testing import BrokerContract, FakeClock, ResultBackendContract, Stage

_names = itertools.count()

EVERYTHING = frozenset({
    "delay", "priority", "uniqueness", "dedupe", "cancel", "pause", "dead_letters",
    "atomic_results", "broadcast", "limits",
})  # fmt: skip

KEPT = ("message", "body", "error", "unique", "record", "progress")
"""Tables of what must go when its time is over."""


def a_store(path: Path, clock: FakeClock) -> SqliteStore:
    """A store of its own, as another process would have it."""
    return SqliteStore(Location(str(path)), clock=clock)


def factory(kind: str, folder: Path) -> Callable[[], Awaitable[Stage]]:
    """Open fresh stores; with two processes every sibling has its own connections to the file."""

    async def open_stage() -> Stage:
        clock = FakeClock()
        path = Path(MEMORY) if kind == "memory" else folder / f"{next(_names)}.db"

        async def let_pass(duration_ms: int) -> None:
            clock.advance(timedelta(milliseconds=duration_ms))
            await stage.breathe()

        async def leftovers() -> Sequence[str]:
            return kept_in(path)

        store = a_store(path, clock)
        stage = Stage(
            SqliteBroker(store),
            SqliteResultBackend(store),
            let_pass=let_pass,
            wall_ms=clock.wall_ms,
            due_shows=frozenset({Place.DELAYED}),
            leftovers=None if kind == "memory" else leftovers,
            full=lambda: setting(store, "max_page_count", "1", "4294967294"),
            read_only=lambda: setting(store, "query_only", "ON", "OFF"),
        )
        if kind == "two processes":
            apart(stage, lambda: SqliteBroker(a_store(path, clock)))
        return stage

    return open_stage


def apart(stage: Stage, make: Callable[[], SqliteBroker]) -> None:
    """Let the siblings of *stage* share nothing with it but the file."""
    stage.broker.sibling = make  # type: ignore[method-assign]


@asynccontextmanager
async def setting(store: SqliteStore, name: str, during: str, after: str) -> AsyncIterator[None]:
    """Let the writer of *store* work under a setting of SQLite, until it opens the file anew.

    ``max_page_count=1`` means: no page more than there are, as on a full disk. With
    ``query_only`` a write fails as it would on a file that is read-only.
    """

    def let(value: str) -> None:
        store._session.connection("write").execute(f"PRAGMA {name} = {value}").fetchall()

    let(during)
    try:
        yield
    finally:
        let(after)


def kept_in(path: Path) -> list[str]:
    """Count what the file at *path* holds, by table; what holds nothing is left out."""
    connection = sqlite3.connect(path)
    try:
        counts = {
            name: connection.execute(f"SELECT count(*) FROM stem_{name}").fetchone()[0]
            for name in KEPT
        }
    finally:
        connection.close()
    return [f"{count} × {name}" for name, count in counts.items() if count]


class OnSqlite:
    @pytest.fixture(params=["one process", "two processes", "memory"])
    def stem_broker(self, request: pytest.FixtureRequest, tmp_path: Path) -> object:
        return factory(request.param, tmp_path)

    @pytest.fixture(params=["a file", "memory"])
    def stem_backend(self, request: pytest.FixtureRequest, tmp_path: Path) -> object:
        return factory(request.param, tmp_path)


class TestBroker(OnSqlite, BrokerContract):
    claims = EVERYTHING


class TestBackend(OnSqlite, ResultBackendContract):
    claims = frozenset({"push", "listing", "progress"})
