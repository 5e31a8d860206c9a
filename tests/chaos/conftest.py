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
from chaos.arena import Arena
from chaos.report import IDS, Row, rendered, replaced
from chaos.scale import PAGE, SEED, TRIALS, Scale

ROWS: list[Row] = []
# Taken out of the environment: a Stem in this process would warn of what it does not know.
WISHES = {name: os.environ.pop(name) for name in (SEED, TRIALS, PAGE) if name in os.environ}
SCALE = Scale.of(WISHES)

# Who writes the page is not asked whether it is written already.
collect_ignore = ["test_page.py"] if PAGE in WISHES else []


@pytest.fixture(scope="session")
def scale() -> Scale:
    """How much is tried."""
    return SCALE


@pytest.fixture
def arena_of(tmp_path: Path, scale: Scale) -> Callable[..., Arena]:
    """Make the arena of a scenario."""

    def make(scenario: str, kind: type[Arena] = Arena, **how: Any) -> Arena:
        return kind(tmp_path, scale.dice(scenario), **how)

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
    rows = sorted(ROWS, key=lambda row: row.id)
    part = rendered(rows, _header())
    terminalreporter.section(f"chaos, {SEED}={SCALE.seed} {TRIALS}={SCALE.trials}")
    terminalreporter.write_line(part)
    if page := WISHES.get(PAGE):
        terminalreporter.write_line(_written(Path(page), rows, part))


def _written(page: Path, rows: list[Row], part: str) -> str:
    """Put *part* on *page* if it is all that belongs there; say what was done."""
    missing = sorted(set(IDS) - {row.id for row in rows})
    if missing or not SCALE.is_long:
        return f"{page} stays as it is: {f'no {missing}' if missing else 'too few trials'}"
    page.write_text(replaced(page.read_text("utf-8"), part), "utf-8")
    return f"{page} is written"


def _header() -> dict[str, str]:
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {platform.system()}",
        "versions": f"stem-core {version('stem-core')}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}",
        "seed": str(SCALE.seed),
    }
