"""Measure what it costs to start: an import and a `--help`, of Stem and of its peers.

Interleaved: each round starts every process once, in turn, and the table shows medians and
ranges. A time is that of a whole process, from its start to its end, with nothing taken off;
bare Python stands in the first row as the floor.

    python imports.py [--rounds 15] [--page RESULTS-IMPORTS.md]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from page import cell
from run import Failed, wall_ms
from venvs import Venvs

HERE = Path(__file__).parent
ASKED_MS = 90
"""What was asked of `import stem_core` and of `stem --help`."""


class System(NamedTuple):
    """One product, and what starts it.

    Attributes:
        requirements: the file that pins it; None for what is installed here.
        package: what is imported by its name alone.
        program: what the first lines of a program with one task and a worker import.
        help: the command that shows its help.
    """

    requirements: str | None
    package: str
    program: str
    help: Sequence[str]


FLOOR = "bare Python"
STEM = "stem-core"
SYSTEMS: Mapping[str, System] = {
    STEM: System(None, "stem_core", "from stem_core import Stem, Worker", ("stem", "--help")),
    "celery": System(
        "peers/celery.txt", "celery", "from celery import Celery", ("celery", "--help")
    ),
    "dramatiq": System(
        "peers/dramatiq.txt",
        "dramatiq",
        "import dramatiq; from dramatiq.brokers.redis import RedisBroker",
        ("dramatiq", "--help"),
    ),
    "taskiq": System(
        "peers/taskiq.txt",
        "taskiq",
        "from taskiq_redis import RedisStreamBroker",
        ("taskiq", "--help"),
    ),
    "arq": System("peers/arq.txt", "arq", "from arq import create_pool, Worker", ("arq", "--help")),
    "rq": System("peers/rq.txt", "rq", "from rq import Queue, Worker", ("rq", "--help")),
    "huey": System(
        "peers/huey.txt", "huey", "from huey import RedisHuey", ("huey_consumer", "--help")
    ),
    "procrastinate": System(
        "peers/procrastinate.txt",
        "procrastinate",
        "from procrastinate import App, PsycopgConnector",
        ("procrastinate", "--help"),
    ),
    "pgqueuer": System(
        "peers/pgqueuer.txt", "pgqueuer", "from pgqueuer import PgQueuer", ("pgq", "--help")
    ),
    "saq": System("peers/saq.txt", "saq", "from saq import Queue, Worker", ("saq", "--help")),
}
COLUMNS = {
    "import": "`import` of the package",
    "program": "what a program imports",
    "help": "`--help`",
}

Times = dict[tuple[str, str], list[float]]
"""Milliseconds by system and column."""


def commands(venvs: Venvs, systems: Sequence[str]) -> Iterator[tuple[tuple[str, str], list[str]]]:
    """Yield each process that is measured, by its system and column."""
    yield (FLOOR, "import"), [sys.executable, "-c", "pass"]
    for name in systems:
        system = SYSTEMS[name]
        python = venvs.python_of(system.requirements)
        yield (name, "import"), [str(python), "-c", f"import {system.package}"]
        yield (name, "program"), [str(python), "-c", system.program]
        program, *arguments = system.help
        yield (name, "help"), [str(python.parent / program), *arguments]


def measured(todo: Mapping[tuple[str, str], list[str]], rounds: int) -> tuple[Times, set[str]]:
    """Run everything that many times, and once more before for the files that it writes.

    Returns the times, and what could not be run.
    """
    times: Times = {}
    failed: set[str] = set()
    order = list(todo)
    for number in range(rounds + 1):
        start = number % len(order)
        for what in [*order[start:], *order[:start]]:
            try:
                took = wall_ms(todo[what]) if " ".join(what) not in failed else None
            except Failed:
                failed.add(" ".join(what))
                continue
            if number and took is not None:
                times.setdefault(what, []).append(took)
    return times, failed


def table(times: Times, systems: Sequence[str]) -> Iterator[str]:
    """Draw the times: a row for each system, Stem's first."""
    yield f"| milliseconds, median (lowest–highest) | {' | '.join(COLUMNS.values())} |"
    yield "|---|" + "---:|" * len(COLUMNS)
    for name in (FLOOR, *systems):
        yield f"| {name} | {' | '.join(cell(times.get((name, each)), 0) for each in COLUMNS)} |"


def kept(times: Times) -> Iterator[str]:
    """Say whether what was asked for was kept in this run."""
    yield "| asked for | measured | |"
    yield "|---|---:|---|"
    for column, title in (("import", "`import stem_core`"), ("help", "`stem --help`")):
        if own := times.get((STEM, column)):
            middle = statistics.median(own)
            verdict = "kept" if middle <= ASKED_MS else "**missed**"
            yield f"| {title}, at most {ASKED_MS} ms | {middle:.0f} | {verdict} |"


def page(times: Times, failed: set[str], venvs: Venvs, rounds: int, systems: Sequence[str]) -> str:
    """Write the whole page."""
    versions = ", ".join(
        f"{name} {venvs.version_of(name, SYSTEMS[name].requirements)}" for name in systems
    )
    lines = [
        "# Measured: what it costs to start",
        "",
        "Written by `nox -s bench -- imports`; how to read it stands in [README.md](README.md).",
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()};"
        f" {versions}. {rounds} interleaved rounds. Each time is that of a whole process, with"
        " nothing taken off: the first row is what Python itself costs. Each peer has an"
        " environment of its own with its driver, Stem one with its plugins.",
        "",
        *table(times, systems),
        "",
        "`import stem_core` loads no room of the house before a name is asked for, as `import"
        " celery` loads little; so the second column shows what a program with one task and a"
        " worker imports (`SYSTEMS` in `imports.py`).",
        "",
        *(f"- could not be run: {each}" for each in sorted(failed)),
        *([""] if failed else []),
        *kept(times),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=15, help="rounds of all systems (15)")
    parser.add_argument("--system", action="append", default=[], help="only these peers (all)")
    parser.add_argument("--venvs", type=Path, default=HERE / ".venvs", help="where peers live")
    parser.add_argument("--page", type=Path, help="write the table there")
    given = parser.parse_args()
    for name in given.system:
        if name not in SYSTEMS:
            parser.error(f"no system {name!r}; there are {', '.join(SYSTEMS)}")
    systems = [each for each in SYSTEMS if not given.system or each in (STEM, *given.system)]
    venvs = Venvs(given.venvs)
    todo = dict(commands(venvs, systems))
    written = page(*measured(todo, given.rounds), venvs, given.rounds, systems)
    print(written)
    if given.page:
        given.page.write_text(written, "utf-8")


if __name__ == "__main__":
    main()
