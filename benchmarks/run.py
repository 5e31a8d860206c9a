"""Measure Stem beside its peers and the machine's limit, interleaved, and write RESULTS.md.

    python benchmarks/run.py                 five rounds, RESULTS.md rewritten
    python benchmarks/run.py --rounds 1 --count 2000 --stdout

Every figure is the median over the rounds; each round runs every system once,
in an order that rotates, in a process of its own. Nothing is asserted: a number
is a number, and what it is worth stands beside it.
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

HERE = Path(__file__).parent
SYSTEMS = ("stem", "huey", "taskiq", "dramatiq")
DISTRIBUTION = {"stem": "stem-core"}
MODULE = {"stem": "stem_core; stem_core.Stem; stem_core.Worker"}
HELP = {
    "stem": ("stem", "--help"),
    "huey": ("huey_consumer", "--help"),
    "taskiq": ("taskiq", "--help"),
    "dramatiq": ("dramatiq", "--help"),
}
THROUGHPUT = {
    "enqueue_per_s": "enqueue, one at a time",
    "enqueue_many_per_s": "enqueue_many, one call",
    "drain_per_s": "drain, without results",
    "drain_results_per_s": "drain, with results",
}
PROCESS = {
    "latency_p50_ms": "idle latency, median",
    "latency_p99_ms": "idle latency, 99th percentile",
    "import_ms": "import, above bare Python",
    "help_ms": "`--help`, whole process",
    "first_task_ms": "process start to first finished task",
}
GUARANTEES = {
    "stem": "strict JSON, arguments checked, lease, fence, result and ack in one step, thread-safe",
    "huey": "pickle; gone when popped; a failure in the worker loses the task",
    "taskiq": "no queue: the call starts the task in the same loop; JSON-able pydantic models",
    "dramatiq": "JSON; test broker; acknowledged after the run",
    "limit": "no promise at all: encode into a deque; decode and one asyncio task each",
}
SKEWED = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
"""Without the first, every import would compile anew; the second would bring in other code."""
Samples = dict[str, dict[str, list[float]]]


def run(command: list[str]) -> str:
    """Run one process to its end and return what it printed last."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in SKEWED},
        "STARTED_AT": repr(time.time()),
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout.strip().rsplit("\n", 1)[-1]


def wall_ms(command: list[str]) -> float:
    """Return how long a process takes from its start to its end."""
    started = time.perf_counter()
    run(command)
    return (time.perf_counter() - started) * 1000


def measure(system: str, count: int) -> dict[str, float]:
    """Run every phase of one system once."""
    script = str(HERE / "systems" / f"{system}_memory.py")
    figures: dict[str, float] = json.loads(run([sys.executable, script, "throughput", str(count)]))
    if system == "limit":
        return figures
    figures |= json.loads(run([sys.executable, script, "latency", "300"]))
    bare = wall_ms([sys.executable, "-c", "pass"])
    module = MODULE.get(system, system)
    figures["import_ms"] = wall_ms([sys.executable, "-c", f"import {module}"]) - bare
    program, *arguments = HELP[system]
    figures["help_ms"] = wall_ms([str(Path(sys.executable).parent / program), *arguments])
    hello = str(HERE / "systems" / f"hello_{system}.py")
    figures["first_task_ms"] = float(run([sys.executable, hello])) * 1000
    return figures


def collect(rounds: int, count: int) -> Samples:
    """Run all systems *rounds* times, interleaved, and keep every figure."""
    systems = [*SYSTEMS, "limit"]
    samples: Samples = {system: {} for system in systems}
    for number in range(rounds):
        turn = systems[number % len(systems) :] + systems[: number % len(systems)]
        for system in turn:
            print(f"round {number + 1} of {rounds}: {system}", file=sys.stderr)
            for name, value in measure(system, count).items():
                samples[system].setdefault(name, []).append(value)
    return samples


def cell(values: list[float] | None, digits: int) -> str:
    """Show a median with its range."""
    if not values:
        return "–"
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def ratio(samples: Samples, name: str, *, higher_is_better: bool) -> str:
    """Show Stem's median against the best peer's."""
    peers = {s: statistics.median(samples[s][name]) for s in SYSTEMS[1:] if name in samples[s]}
    if not peers:
        return "–"
    best = (max if higher_is_better else min)(peers, key=lambda s: peers[s])
    return f"{statistics.median(samples['stem'][name]) / peers[best]:.2f} × {best}"


def table(samples: Samples, rows: dict[str, str], *, digits: int, higher: bool) -> list[str]:
    """Draw one table: a row a figure, a column a system."""
    columns = [*SYSTEMS, *(["limit"] if higher else [])]
    lines = [
        f"| | {' | '.join(columns)} | Stem to the best peer |",
        "|---|" + "---:|" * (len(columns) + 1),
    ]
    for name, title in rows.items():
        cells = " | ".join(cell(samples[s].get(name), digits) for s in columns)
        lines.append(f"| {title} | {cells} | {ratio(samples, name, higher_is_better=higher)} |")
    return lines


def report(samples: Samples, rounds: int, count: int) -> str:
    """Write the whole page."""
    versions = ", ".join(f"{s} {version(DISTRIBUTION.get(s, s))}" for s in SYSTEMS)
    return "\n".join(
        [
            "# Measured",
            "",
            "Written by `nox -s bench`; how to read it stands in [README.md](README.md).",
            f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()};"
            f" {versions}. Medians (lowest–highest) of {rounds} interleaved rounds of {count:,}"
            " calls with one text and one integer, a task that does nothing."
            " Only ratios travel to another machine.",
            "",
            "## Memory brokers, per second",
            "",
            *table(samples, THROUGHPUT, digits=0, higher=True),
            "",
            "## Latency and start-up, milliseconds",
            "",
            *table(samples, PROCESS, digits=2, higher=False),
            "",
            "## What stands behind each figure",
            "",
            "| system | guarantees and settings |",
            "|---|---|",
            *(f"| {system} | {text} |" for system, text in GUARANTEES.items()),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all systems (5)")
    parser.add_argument("--count", type=int, default=20_000, help="calls per phase (20000)")
    parser.add_argument("--stdout", action="store_true", help="print the page, write nothing")
    given = parser.parse_args()
    page = report(collect(given.rounds, given.count), given.rounds, given.count)
    if given.stdout:
        print(page)
    else:
        (HERE / "RESULTS.md").write_text(page)


if __name__ == "__main__":
    main()
