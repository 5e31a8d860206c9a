"""Seeds, arenas, and the figures that a session has made."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from chaos.arena import LEASE_S, Arena
from chaos.brokers import one_of_each
from chaos.report import Figures, Row, written
from chaos.scale import PAGE, SEED, TRIALS, Scale

ROWS: list[Row] = []
# Taken out of the environment: a Stem in this process would warn of what it does not know.
WISHES = {name: os.environ.pop(name) for name in (SEED, TRIALS, PAGE) if name in os.environ}
SCALE = Scale.of(WISHES)

# Who writes the page is not asked whether it is written already.
collect_ignore = ["test_page.py"] if PAGE in WISHES else []


def pytest_configure(config: pytest.Config) -> None:
    """Say what the mark of `in_turn` is."""
    config.addinivalue_line("markers", "in_turn(row): played on one store, unless trials are asked")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let `-k rows-H` find all rows whose ids begin so."""
    if mark := item.get_closest_marker("in_turn"):
        item.extra_keyword_matches.add(f"rows-{mark.args[0][0]}")


@pytest.hookimpl(trylast=True)  # after -k: of what was asked for, one of each
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Play each scenario that has turns on one store, if nobody asks for more."""
    if TRIALS in WISHES:
        return
    kept = one_of_each(items, SCALE.seed)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.fixture(scope="session")
def scale() -> Scale:
    """How much is tried."""
    return SCALE


@pytest.fixture
def arena_of(tmp_path: Path, scale: Scale) -> Callable[..., Arena]:
    """Make the arena of a scenario."""

    def make(scenario: str, kind: type[Arena] = Arena, **how: Any) -> Arena:
        arena = kind(tmp_path, scale.dice(scenario), **how)
        arena.lease_s = LEASE_S * scale.slack
        return arena

    return make


@pytest.fixture
def prove() -> Callable[[Row], None]:
    """Keep a row for the report, and fail if it tells of a broken promise."""

    def prove(row: Row) -> None:
        ROWS.append(row)
        again = f"{SEED}={SCALE.seed} {TRIALS}={SCALE.trials}"
        assert not row.complaints, f"{row.complaints}\nagain: {again}"

    return prove


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures and the seed, and write the page if one is named."""
    if not ROWS:
        return
    figures = Figures.of(ROWS, f"{datetime.now(UTC):%Y-%m-%d}, seed {SCALE.seed}", _told())
    terminalreporter.section(f"chaos, {SEED}={SCALE.seed} {TRIALS}={SCALE.trials}")
    terminalreporter.write_line(figures.rendered())
    if page := WISHES.get(PAGE):
        terminalreporter.write_line(written(Path(page), figures, is_long=SCALE.is_long))


def _told() -> str:
    """Return what is to be told of this run."""
    return (
        f"{os.cpu_count()} cores, {platform.system()}; stem-core {version('stem-core')}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )
