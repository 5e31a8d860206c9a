"""The SQLite store keeps every promise, in a time that stands still until a test moves it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from conformance.backend_contract import BackendContract, CompanionContract
from conformance.broker_contract import BrokerContract
from conformance.operator_contract import AdminContract, ControlContract, LimitContract
from conformance.stage import BrokerFactory, Stage

from stem_core.embedded.sqlite.backend import SqliteResultBackend
from stem_core.embedded.sqlite.broker import SqliteBroker
from stem_core.embedded.sqlite.location import MEMORY, Location
from stem_core.embedded.sqlite.store import SqliteStore
from stem_core.testing.clock import FakeClock

_names = itertools.count()


def a_store(path: Path, clock: FakeClock) -> SqliteStore:
    """A store of its own, as another process would have it."""
    return SqliteStore(Location(str(path)), clock=clock)


@pytest.fixture(params=["one process", "two processes", "memory"])
def broker_factory(request: pytest.FixtureRequest, tmp_path: Path) -> BrokerFactory:
    """A fresh store; with two processes every sibling reaches the file by its own connections."""

    async def open_stage() -> Stage:
        clock = FakeClock()
        path = Path(MEMORY) if request.param == "memory" else tmp_path / f"{next(_names)}.db"

        async def let_pass(duration_ms: int) -> None:
            clock.advance(timedelta(milliseconds=duration_ms))
            await stage.breathe()

        store = a_store(path, clock)
        stage = Stage(SqliteBroker(store), SqliteResultBackend(store), let_pass, clock.wall_ms)
        if request.param == "two processes":
            apart(stage, lambda: SqliteBroker(a_store(path, clock)))
        return stage

    return open_stage


def apart(stage: Stage, make: Callable[[], SqliteBroker]) -> None:
    """Let the siblings of *stage* share nothing with it but the file."""
    stage.broker.sibling = make  # type: ignore[method-assign]


class TestBroker(BrokerContract):
    pass


class TestAdmin(AdminContract):
    pass


class TestControl(ControlContract):
    pass


class TestLimits(LimitContract):
    pass


class TestBackend(BackendContract):
    pass


class TestCompanions(CompanionContract):
    pass
