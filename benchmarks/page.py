"""The page of one store: tables, gates, and what stands behind each figure. Pure."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence

from suites import DISTRIBUTION, LIMIT, Gate, Suite

Samples = dict[str, dict[str, list[float]]]


def cell(values: list[float] | None, digits: int) -> str:
    """Show a median with its range."""
    if not values:
        return "–"
    middle, low, high = statistics.median(values), min(values), max(values)
    if len(values) == 1:
        return f"{middle:,.{digits}f}"
    return f"{middle:,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def best_peer(
    suite: Suite,
    samples: Samples,
    name: str,
    *,
    higher_is_better: bool,
    among: Sequence[str] = (),
) -> tuple[str, float] | None:
    """Return the peer with the best median of a figure, or of another that stands for it."""
    peers: dict[str, float] = {}
    for system in among or suite.peers:
        for figure in (name, suite.compared_with.get(name, name)):
            if values := samples.get(system, {}).get(figure):
                peers.setdefault(system, statistics.median(values))
    if not peers:
        return None
    best = (max if higher_is_better else min)(peers, key=lambda system: peers[system])
    return best, peers[best]


def ratio(suite: Suite, samples: Samples, name: str, *, higher_is_better: bool) -> str:
    """Show Stem's median against the best peer's."""
    best = best_peer(suite, samples, name, higher_is_better=higher_is_better)
    ours = samples.get(suite.systems[0], {}).get(name)
    if best is None or not ours:
        return "–"
    return f"{statistics.median(ours) / best[1]:.2f} × {best[0]}"


def table(
    suite: Suite, samples: Samples, rows: Mapping[str, str], *, digits: int, higher: bool
) -> list[str]:
    """Draw one table: a row a figure, a column a system; or the other way for many systems."""
    everyone = [*suite.systems, LIMIT]
    columns = [each for each in everyone if rows.keys() & samples.get(each, {}).keys()]
    titles = {"": "", **rows}
    compared = {n: ratio(suite, samples, n, higher_is_better=higher) for n in rows}
    cells = {c: {n: cell(samples[c].get(n), digits) for n in rows} for c in columns}
    if len(columns) > 5:
        lines = [f"| {' | '.join(titles.values())} |", "|---|" + "---:|" * len(rows)]
        lines += [f"| {c} | {' | '.join(cells[c].values())} |" for c in columns]
        return [*lines, f"| **Stem to the best peer** | {' | '.join(compared.values())} |"]
    lines = [
        f"| | {' | '.join(columns)} | Stem to the best peer |",
        "|---|" + "---:|" * (len(columns) + 1),
    ]
    for name, title in rows.items():
        own = " | ".join(cells[c][name] for c in columns)
        lines.append(f"| {title} | {own} | {compared[name]} |")
    return lines


def gates(suite: Suite, samples: Samples) -> list[str]:
    """Draw what was asked for beside what was measured."""
    if not suite.gates:
        return []
    lines = ["| asked for | measured | | the aim beyond | |", "|---|---:|---|---:|---|"]
    for gate in suite.gates:
        measured = measured_for(gate, suite, samples)
        shown = "–" if measured is None else f"{measured:,.2f}"
        told = f"{shown} | {verdict(gate, measured)} | {beyond(gate, measured)}"
        lines.append(f"| {gate.title} | {told} |")
    return ["## What was asked for", "", *lines, ""]


def verdict(gate: Gate, measured: float | None) -> str:
    """Say whether *measured* is as good as asked for."""
    if measured is None:
        return "not measured"
    return "kept" if gate.keeps(measured) else "**missed**"


def beyond(gate: Gate, measured: float | None) -> str:
    """Draw the aim of *gate* in two cells, and how far *measured* is from it."""
    if gate.aim is None or measured is None:
        return "– | "
    return f"{gate.aim:g} | {'reached' if gate.reaches(measured) else short_of(gate, measured)}"


def short_of(gate: Gate, measured: float) -> str:
    """Say what part of the aim of *gate* was reached."""
    assert gate.aim is not None
    part = gate.aim / measured if gate.at_most else measured / gate.aim
    return f"{part:.0%} of it"


def measured_for(gate: Gate, suite: Suite, samples: Samples) -> float | None:
    """Return the figure of *gate*: Stem's own, or its ratio to another one or to a peer's."""
    mine = samples.get(suite.systems[0], {})
    if not mine.get(gate.figure):
        return None
    ours = statistics.median(mine[gate.figure])
    if gate.over == "":
        return ours
    among = (gate.over,) if gate.over in suite.peers else suite.peers
    if gate.over not in ("peers", *among):
        return ours / statistics.median(mine[gate.over]) if mine.get(gate.over) else None
    best = best_peer(suite, samples, gate.figure, higher_is_better=not gate.at_most, among=among)
    return ours / best[1] if best else None


def report(
    suite: Suite,
    samples: Samples,
    failed: Mapping[str, str],
    *,
    rounds: int,
    count: int,
    server: str,
    version_of: Callable[[str, str | None], str],
) -> str:
    """Write the whole page."""
    products = dict.fromkeys(system.partition(" ")[0] for system in suite.systems)
    versions = ", ".join(
        f"{name} {version_of(DISTRIBUTION.get(name, name), suite.requirements.get(name))}"
        for name in products
    )
    return "\n".join(
        [
            f"# Measured: {suite.title}",
            "",
            f"Written by `nox -s bench -- {suite.name}`; how to read it stands in"
            " [README.md](README.md).",
            f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()};"
            f" {versions}. {server} Medians (lowest–highest) of {rounds} interleaved rounds of"
            f" {suite.calls(count)} with one text and one integer, a task that does nothing."
            f"{only_once(suite)} Only ratios travel to another machine.",
            "",
            "## Per second",
            "",
            *table(suite, samples, suite.throughput, digits=0, higher=True),
            "",
            f"## {suite.others_title}",
            "",
            *table(suite, samples, suite.others, digits=2, higher=False),
            "",
            *gates(suite, samples),
            *alone(suite, samples),
            "## What stands behind each figure",
            "",
            "| system | guarantees and settings |",
            "|---|---|",
            *(f"| {system} | {text} |" for system, text in suite.guarantees.items()),
            *(f"| {system} | could not be run: {why} |" for system, why in failed.items()),
            "",
            *([suite.notes, ""] if suite.notes else []),
        ]
    )


def only_once(suite: Suite) -> str:
    """Say which figures are of the first round alone."""
    return f" In the first round alone: {', '.join(suite.once)}." if suite.once else ""


def alone(suite: Suite, samples: Samples) -> list[str]:
    """Draw the figures that Stem alone has."""
    if not suite.alone:
        return []
    mine = samples.get(suite.systems[0], {})
    rows = [f"| {title} | {cell(mine.get(name), 2)} |" for name, title in suite.alone.items()]
    return ["## Stem alone", "", "| | |", "|---|---:|", *rows, ""]
