"""The figures: one row for each fault, and the part of a page that they make. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from attrs import frozen

from stem_core.testing.faults.checker import Findings

BEGIN, END = "<!-- chaos:begin -->", "<!-- chaos:end -->"

IDS = (
    "A1", "A1-postgres", "A1-redis", "A10-postgres", "A10-redis",
    "A3", "A3-commit", "A3-postgres", "A3-redis", "A3-settle",
    "A5", "A5-postgres", "A5-redis", "A6", "A6-postgres", "A6-redis",
    "A7", "A7-postgres", "A7-redis",
    "B1-many-full", "B1-many-normal", "B1-many-postgres",
    "B1-single-full", "B1-single-normal", "B1-single-postgres",
    "C1", "C11", "C12", "C16",
    "D1", "D10", "D11", "D13", "D2", "D3", "D8", "D9",
    "E1", "E11", "E2", "E3-full", "E3-normal", "E3-postgres",
    "E3-publish-full", "E3-publish-normal", "E3-publish-postgres", "E3-redis",
)  # fmt: skip
"""Every row of the page: one that is missing is no figure but a hole."""

_HEAD = (
    "id", "fault", "broker", "trials", "accepted", "lost", "started twice", "committed twice",
    "p50 / p95 / max, ms", "bound", "verdict",
)  # fmt: skip


@frozen(kw_only=True)
class Row:
    """What came of one fault.

    Attributes:
        id: of the fault, the same for ever.
        fault, broker: in words.
        trials: how often it was done.
        found: what the checker says; of several histories together.
        times_ms: how long what is promised took.
        timed: which time that is.
        bound: what is promised beside "nothing is lost, nothing is committed twice".
        complaints: how a promise was broken; empty when it was kept.
    """

    id: str
    fault: str
    broker: str
    trials: int
    found: Findings
    times_ms: tuple[float, ...] = ()
    timed: str = ""
    bound: str = ""
    complaints: tuple[str, ...] = ()


# ── the page ─────────────────────────────────────────────────────────────────


def rendered(rows: Sequence[Row], header: Mapping[str, str]) -> str:
    """Return the generated part of the page."""
    told = "\n".join(f"- {name}: {value}" for name, value in header.items())
    table = [_HEAD, ("---",) * len(_HEAD), *map(_cells, rows)]
    lines = "\n".join(f"| {' | '.join(cells)} |" for cells in table)
    return f"{BEGIN}\n{told}\n\n{lines}\n\n{_sum_of(rows)}\n{END}"


def _cells(row: Row) -> tuple[str, ...]:
    found = row.found
    return (
        row.id, row.fault, row.broker, f"{row.trials:,}", f"{found.accepted:,}",
        str(len(found.lost)), str(len(found.started_twice)), str(len(found.committed_twice)),
        _times(row), row.bound.replace("IN_FLIGHT", str(found.in_flight)),
        "broken: " + "; ".join(row.complaints) if row.complaints else "kept",
    )  # fmt: skip


def _times(row: Row) -> str:
    if not row.times_ms:
        return "–"
    return f"{row.timed}: {' / '.join(f'{time:,.0f}' for time in quantiles(row.times_ms))}"


def quantiles(times: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, the 95th percentile and the largest of *times*."""
    ordered = sorted(times)
    return statistics.median(ordered), ordered[math.ceil(0.95 * len(ordered)) - 1], ordered[-1]


def _sum_of(rows: Sequence[Row]) -> str:
    accepted = sum(row.found.accepted for row in rows)
    lost = sum(len(row.found.lost) for row in rows)
    twice = sum(len(row.found.committed_twice) for row in rows)
    torn = sum(row.found.torn for row in rows)
    told = f"Together: {accepted:,} accepted, {lost} lost, {twice} committed twice; "
    told += f"{torn} lines of the histories were torn by a kill."
    if accepted and not lost:
        told += f" None lost of so many means, with 95 % confidence, fewer than {_three(accepted)}."
    return told


def _three(trials: int) -> str:
    """The rule of three: what may still be when none of *trials* has shown it."""
    return f"1 in {trials // 3:,}"


def replaced(page: str, part: str, begin: str = BEGIN, end: str = END) -> str:
    """Return *page* with what is between its marks, and the marks, replaced by *part*."""
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{part}{after}"
