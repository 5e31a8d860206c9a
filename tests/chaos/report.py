"""The figures: one row for each fault, and the part of a page that they make. Pure."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from stem_core.testing.faults.checker import Findings

BEGIN, END = "<!-- chaos:begin -->", "<!-- chaos:end -->"

IDS = (
    "A1", "A1-postgres", "A1-redis", "A10-postgres", "A10-redis",
    "A12", "A12-memory", "A12-postgres", "A12-redis",
    "A13", "A13-postgres", "A13-redis",
    "A14", "A14-postgres", "A14-redis", "A15", "A15-postgres", "A15-redis",
    "A3", "A3-commit", "A3-postgres", "A3-redis", "A3-settle",
    "A5", "A5-postgres", "A5-redis", "A6", "A6-postgres", "A6-redis",
    "A7", "A7-postgres", "A7-redis",
    "A8", "A8-postgres", "A8-redis", "A9", "A9-postgres", "A9-redis",
    "B1-many-full", "B1-many-normal", "B1-many-postgres",
    "B1-single-full", "B1-single-normal", "B1-single-postgres", "B5-postgres",
    "C1", "C10", "C11", "C12", "C13", "C16", "C18", "C19", "C2", "C25", "C3", "C4", "C6", "C8",
    "D1", "D10", "D11", "D13", "D16", "D2", "D3", "D8", "D9",
    "E1", "E11", "E2", "E3-full", "E3-normal", "E3-postgres",
    "E3-publish-full", "E3-publish-normal", "E3-publish-postgres", "E3-redis",
    "H1", "H1-memory", "H1-postgres", "H1-redis",
    "H11", "H11-memory", "H11-postgres", "H11-redis",
    "H13", "H13-memory", "H13-postgres", "H13-redis",
    "H14", "H14-memory", "H14-postgres", "H14-redis",
    "H3", "H3-memory", "H3-postgres", "H3-redis", "H4", "H4-postgres", "H4-redis",
    "H6", "H6-memory", "H6-postgres", "H6-redis", "H7", "H7-memory", "H7-postgres", "H7-redis",
    "H8", "H8-memory", "H8-postgres", "H8-redis", "H9", "H9-memory", "H9-postgres", "H9-redis",
)  # fmt: skip
"""Every row of the page: one that is missing is no figure but a hole."""

_HEAD = (
    "id", "fault", "broker", "trials", "accepted", "lost", "started twice", "committed twice",
    "p50 / p95 / max, ms", "bound", "run", "verdict",
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

_RUN = re.compile(r"^- run (?P<name>[^:]+): (?P<told>.*)$", re.MULTILINE)
_LINE = re.compile(r"^\| (?P<id>[A-Z]\d\S*) \|.*\|$", re.MULTILINE)
_RUN_PLACE = _HEAD.index("run")
_COUNTED = ("accepted", "lost", "committed twice")


@frozen
class Figures:
    """What stands on a page, or will.

    Attributes:
        runs: what is to be told of each run, by its name.
        lines: the cells of each row, by its id. One of them is the name of its run.
    """

    runs: Mapping[str, str]
    lines: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, rows: Sequence[Row], run: str, told: str) -> Figures:
        """Return the figures of one run; *told* is all that there is to say of it."""
        torn = sum(row.found.torn for row in rows)
        told += f"; {torn} lines of its histories were torn by a kill"
        return cls({run: told}, {row.id: _cells(row, run) for row in rows})

    @classmethod
    def read(cls, page: str) -> Figures:
        """Return those that stand on *page*; none where it has no such part.

        Raises:
            ValueError: a row has too few or too many cells.
        """
        part = page.partition(BEGIN)[2].partition(END)[0]
        cells = [tuple(line[0][2:-2].split(" | ")) for line in _LINE.finditer(part)]
        for each in cells:
            if len(each) != len(_HEAD):
                raise ValueError(f"row {each[0]} has {len(each)} cells and not {len(_HEAD)}")
        runs = {run["name"]: run["told"] for run in _RUN.finditer(part)}
        return cls(runs, {each[0]: each for each in cells})

    def updated(self, other: Figures) -> Figures:
        """Return these with the rows of *other* in place of their own, and with their runs;
        a run of which no row is left is not told of any more."""
        lines = {**self.lines, **other.lines}
        used = {cells[_RUN_PLACE] for cells in lines.values()}
        runs = {**self.runs, **other.runs}
        return Figures({name: told for name, told in runs.items() if name in used}, lines)

    def rendered(self) -> str:
        """Return the generated part of a page."""
        told = "\n".join(f"- run {name}: {each}" for name, each in sorted(self.runs.items()))
        lines = [self.lines[id] for id in sorted(self.lines)]
        table = [_HEAD, ("---",) * len(_HEAD), *lines]
        text = "\n".join(f"| {' | '.join(cells)} |" for cells in table)
        return f"{BEGIN}\n{told}\n\n{text}\n\n{_sum_of(lines)}\n{END}"


def _cells(row: Row, run: str) -> tuple[str, ...]:
    found = row.found
    return tuple(text.replace(" | ", " / ") for text in (
        row.id, row.fault, row.broker, f"{row.trials:,}", f"{found.accepted:,}",
        str(len(found.lost)), str(len(found.started_twice)), str(len(found.committed_twice)),
        _times(row), row.bound.replace("IN_FLIGHT", str(found.in_flight)), run,
        "broken: " + "; ".join(row.complaints) if row.complaints else "kept",
    ))  # fmt: skip


def _times(row: Row) -> str:
    if not row.times_ms:
        return "–"
    return f"{row.timed}: {' / '.join(f'{time:,.0f}' for time in quantiles(row.times_ms))}"


def quantiles(times: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, the 95th percentile and the largest of *times*."""
    ordered = sorted(times)
    return statistics.median(ordered), ordered[math.ceil(0.95 * len(ordered)) - 1], ordered[-1]


def _sum_of(lines: Sequence[tuple[str, ...]]) -> str:
    accepted, lost, twice = (
        sum(int(cells[_HEAD.index(name)].replace(",", "")) for cells in lines) for name in _COUNTED
    )
    told = f"Together: {accepted:,} accepted, {lost} lost, {twice} committed twice."
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


def written(page: Path, figures: Figures, *, is_long: bool) -> str:
    """Put *figures* on *page*, beside the rows of other runs that stand there; say what was done.

    Few trials make no figures that may be published, and a row that is not to be on the page
    is a mistake: then the page stays as it is.
    """
    strangers = sorted(set(figures.lines) - set(IDS))
    if strangers or not is_long:
        return f"{page} stays as it is: {f'what is {strangers}?' if strangers else 'few trials'}"
    text = page.read_text("utf-8")
    whole = Figures.read(text).updated(figures)
    page.write_text(replaced(text, whole.rendered()), "utf-8")
    missing = sorted(set(IDS) - set(whole.lines))
    lacking = f"; it lacks {', '.join(missing)}" if missing else ""
    return f"{page} is written: {len(figures.lines)} rows of {len(whole.lines)}{lacking}"
