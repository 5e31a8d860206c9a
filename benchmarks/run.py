"""Measure Stem beside its peers, interleaved, and write one page of results for each store.

Each round runs every system once, in turn, in processes of their own, so that a machine
that slows down slows down all of them. No figure fails the run: a number is a number, and
what it is worth stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from page import Samples, report
from suites import LIMIT, MEMORY, POSTGRES, REDIS, SQLITE, Suite
from venvs import Venvs

HERE = Path(__file__).parent
SUITES = {suite.name: suite for suite in (MEMORY, SQLITE, REDIS, POSTGRES)}
AS_IN_EARNEST = {
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
}
"""A Postgres that keeps what it confirms; without checkpoints, which would hit one by chance."""

SKEWED = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
"""Without the first, every import would compile anew; the second would bring in other code."""


class Failed(Exception):
    """A process ended badly; the last line of what it said."""


def run(command: list[str], told: Mapping[str, str] | None = None) -> str:
    """Run one process to its end and return what it printed last."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in SKEWED},
        **(told or {}),
        "STARTED_AT": repr(time.time()),
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    if done.returncode:
        print(f"{' '.join(command)} failed:\n{done.stderr}", file=sys.stderr)
        raise Failed(done.stderr.strip().rsplit("\n", 1)[-1])
    return done.stdout.strip().rsplit("\n", 1)[-1]


def wall_ms(command: list[str]) -> float:
    """Return how long a process takes from its start to its end."""
    started = time.perf_counter()
    run(command)
    return (time.perf_counter() - started) * 1000


def measure(
    suite: Suite, system: str, count: int, *, python: Path, first: bool
) -> dict[str, float]:
    """Run every phase of one system once, each on a fresh server; some only in the first round."""
    figures: dict[str, float] = {}
    for phase, share in suite.phases_of(system):
        if phase in suite.once and not first:
            continue
        calls = int(count * share) if share < 10 else int(share)
        script, *arguments = suite.command(system)
        command = [str(python), str(HERE / "systems" / script), phase, str(calls), *arguments]
        with server(suite) as told:
            figures |= json.loads(run(command, told))
    if suite is MEMORY and system != LIMIT:
        figures |= start_up(suite, system)
    return figures


@contextmanager
def server(suite: Suite) -> Iterator[Mapping[str, str]]:
    """Run the server that *suite* needs; give what its processes must know."""
    if suite not in (REDIS, POSTGRES):
        yield {}
        return
    with server_of(suite) as running:
        yield {"BENCH_URL": running.url}


def server_of(suite: Suite) -> Any:
    """Return a server that is not started; those for tests need more than this folder."""
    sys.path.append(str(HERE.parent / "tests"))
    if suite is POSTGRES:
        from services.postgres import PostgresServer

        return PostgresServer(durable=True, config=AS_IN_EARNEST)
    from services.redis import RedisServer

    return RedisServer()


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


def collect(
    suite: Suite, systems: list[str], rounds: int, count: int, venvs: Venvs
) -> tuple[Samples, dict[str, str]]:
    """Run *systems* that many rounds, interleaved; keep every figure, and who failed and why."""
    samples: Samples = {system: {} for system in systems}
    failed: dict[str, str] = {}
    for number in range(rounds):
        turn = systems[number % len(systems) :] + systems[: number % len(systems)]
        for system in [each for each in turn if each not in failed]:
            print(f"{suite.name}, round {number + 1} of {rounds}: {system}", file=sys.stderr)
            try:
                python = venvs.python_of(suite.requirements.get(system))
                figures = measure(suite, system, count, python=python, first=number == 0)
            except (Failed, subprocess.SubprocessError) as error:
                if system == suite.systems[0]:
                    raise
                failed[system] = str(error)
                continue
            for name, value in figures.items():
                samples[system].setdefault(name, []).append(value)
    return samples, failed


def about(suite: Suite) -> str:
    """Say what server it was."""
    if suite not in (REDIS, POSTGRES):
        return ""
    program = server_of(suite).program
    how = "no file" if suite is REDIS else "every commit synced"
    return f"{program.name} {'.'.join(map(str, program.version))} on the same machine, {how}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("stores", nargs="*", metavar="STORE", help=f"of {', '.join(SUITES)} (all)")
    parser.add_argument("--store", action="append", default=[], help="the same, as an option")
    parser.add_argument("--system", action="append", default=[], help="only these systems (all)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all systems (5)")
    parser.add_argument("--count", type=int, default=20_000, help="calls per phase (20000)")
    parser.add_argument("--venvs", type=Path, default=HERE / ".venvs", help="where peers live")
    parser.add_argument("--stdout", action="store_true", help="print the pages, write nothing")
    given = parser.parse_args()
    for name in [*given.stores, *given.store] or SUITES:
        if name not in SUITES:
            parser.error(f"no store {name!r}; there are {', '.join(SUITES)}")
        suite, venvs = SUITES[name], Venvs(given.venvs)
        systems = given.system or [*suite.systems, LIMIT]
        samples, failed = collect(suite, systems, given.rounds, given.count, venvs)
        page = report(
            suite, samples, failed, rounds=given.rounds, count=given.count, server=about(suite),
            version_of=venvs.version_of,
        )  # fmt: skip
        if given.stdout:
            print(page)
        else:
            (HERE / suite.page).write_text(page)


if __name__ == "__main__":
    main()
