"""Measure Stem beside its peers, interleaved, and write one page of results for each store.

Each round runs every system once, in turn, in processes of their own, so that a machine
that slows down slows down all of them. Nothing is asserted: a number is a number, and what
it is worth stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from suites import DISTRIBUTION, LIMIT, MEMORY, SQLITE, Suite

HERE = Path(__file__).parent
SUITES = {suite.name: suite for suite in (MEMORY, SQLITE)}
SKEWED = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
"""Without the first, every import would compile anew; the second would bring in other code."""
Samples = dict[str, dict[str, list[float]]]


def run(command: list[str]) -> str:
    """Run one process to its end and return what it printed last."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in SKEWED},
        "STARTED_AT": repr(time.time()),
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout.strip().rsplit("\n", 1)[-1]


def wall_ms(command: list[str]) -> float:
    """Return how long a process takes from its start to its end."""
    started = time.perf_counter()
    run(command)
    return (time.perf_counter() - started) * 1000


def measure(suite: Suite, system: str, count: int) -> dict[str, float]:
    """Run every phase of one system once."""
    figures: dict[str, float] = {}
    for phase, share in suite.phases_of(system):
        calls = int(count * share) if share < 10 else int(share)
        script, *arguments = suite.command(system)
        command = [sys.executable, str(HERE / "systems" / script), phase, str(calls), *arguments]
        figures |= json.loads(run(command))
    if suite is MEMORY and system != LIMIT:
        figures |= start_up(suite, system)
    return figures


def start_up(suite: Suite, system: str) -> dict[str, float]:
    """Measure what it costs to start."""
    bare = wall_ms([sys.executable, "-c", "pass"])
    program, *arguments = suite.help[system]
    return {
        "import_ms": wall_ms([sys.executable, "-c", f"import {suite.module[system]}"]) - bare,
        "help_ms": wall_ms([str(Path(sys.executable).parent / program), *arguments]),
        "first_task_ms": 1000
        * float(run([sys.executable, str(HERE / "systems" / f"hello_{system}.py")])),
    }


def collect(suite: Suite, rounds: int, count: int) -> Samples:
    """Run all systems *rounds* times, interleaved, and keep every figure."""
    systems = [*suite.systems, LIMIT]
    samples: Samples = {system: {} for system in systems}
    for number in range(rounds):
        turn = systems[number % len(systems) :] + systems[: number % len(systems)]
        for system in turn:
            print(f"{suite.name}, round {number + 1} of {rounds}: {system}", file=sys.stderr)
            for name, value in measure(suite, system, count).items():
                samples[system].setdefault(name, []).append(value)
    return samples


def cell(values: list[float] | None, digits: int) -> str:
    """Show a median with its range."""
    if not values:
        return "–"
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def ratio(suite: Suite, samples: Samples, name: str, *, higher_is_better: bool) -> str:
    """Show Stem's median against the best peer's that promises as much as it can."""
    figure = suite.compared_with.get(name, name)
    peers = {
        system: statistics.median(samples[system][figure])
        for system in suite.peers
        if figure in samples[system]
    }
    ours = samples[suite.systems[0]].get(name)
    if not peers or not ours:
        return "–"
    best = (max if higher_is_better else min)(peers, key=lambda system: peers[system])
    return f"{statistics.median(ours) / peers[best]:.2f} × {best}"


def table(
    suite: Suite, samples: Samples, rows: dict[str, str], *, digits: int, higher: bool
) -> list[str]:
    """Draw one table: a row a figure, a column a system."""
    columns = [*suite.systems, *([LIMIT] if higher else [])]
    lines = [
        f"| | {' | '.join(columns)} | Stem to the best peer |",
        "|---|" + "---:|" * (len(columns) + 1),
    ]
    for name, title in rows.items():
        cells = " | ".join(cell(samples[s].get(name), digits) for s in columns)
        compared = ratio(suite, samples, name, higher_is_better=higher)
        lines.append(f"| {title} | {cells} | {compared} |")
    return lines


def report(suite: Suite, samples: Samples, rounds: int, count: int) -> str:
    """Write the whole page."""
    products = dict.fromkeys(system.partition(" ")[0] for system in suite.systems)
    versions = ", ".join(f"{name} {version(DISTRIBUTION.get(name, name))}" for name in products)
    return "\n".join(
        [
            f"# Measured: {suite.title}",
            "",
            "Written by `nox -s bench`; how to read it stands in [README.md](README.md).",
            f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()};"
            f" {versions}. Medians (lowest–highest) of {rounds} interleaved rounds of {count:,}"
            " calls with one text and one integer, a task that does nothing."
            " Only ratios travel to another machine.",
            "",
            "## Per second",
            "",
            *table(suite, samples, suite.throughput, digits=0, higher=True),
            "",
            f"## {suite.others_title}",
            "",
            *table(suite, samples, suite.others, digits=2, higher=False),
            "",
            "## What stands behind each figure",
            "",
            "| system | guarantees and settings |",
            "|---|---|",
            *(f"| {system} | {text} |" for system, text in suite.guarantees.items()),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--store", choices=SUITES, action="append", help="only this one (all)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all systems (5)")
    parser.add_argument("--count", type=int, default=20_000, help="calls per phase (20000)")
    parser.add_argument("--stdout", action="store_true", help="print the pages, write nothing")
    given = parser.parse_args()
    for name in given.store or SUITES:
        suite = SUITES[name]
        samples = collect(suite, given.rounds, given.count)
        page = report(suite, samples, given.rounds, given.count)
        if given.stdout:
            print(page)
        else:
            (HERE / suite.page).write_text(page)


if __name__ == "__main__":
    main()
