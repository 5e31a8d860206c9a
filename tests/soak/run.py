"""Long runs: ``python -m soak.run [--tasks N] [STORE...]``.

Each store gets a process of its own that runs so many tasks; what it holds must stay flat,
and the store must be as empty at the end as at the beginning. Prints a table, and ends with
an exit code other than 0 if something grows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from promises.stores import STORES, Store
from soak.figures import Sample, Verdict, verdicts

_NAMES: Final = [store.name for store in STORES]
_USUAL: Final = 200_000


def main(arguments: Sequence[str]) -> int:
    """Run what *arguments* ask for; return the exit code."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("stores", nargs="*", metavar="STORE", help=", ".join(_NAMES))
    parser.add_argument("--tasks", type=int, default=_USUAL, help=f"how many; {_USUAL:,}")
    parser.add_argument(
        "--follow-ups", action="store_true", help="with tasks that enqueue others: 11 minutes more"
    )
    asked = parser.parse_args(arguments)
    if unknown := set(asked.stores) - set(_NAMES):
        parser.error(f"no store {', '.join(sorted(unknown))}; there are {', '.join(_NAMES)}")
    chosen = [store for store in STORES if store.name in (asked.stores or _NAMES)]
    found = [soaked(store, asked.tasks, asked.follow_ups) for store in chosen]
    breaches = [each for of_one in found for each in of_one if each.is_breach]
    print(f"\n{len(breaches)} breaches" if breaches else "\nflat")
    return 1 if breaches else 0


def soaked(store: Store, count: int, follow_ups: bool) -> list[Verdict]:
    """Let *count* tasks run on *store*; show and return what that came to."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, store.running() as url:
        lines = list(_lines(_absolute(url, store, folder), count, follow_ups))
    samples = [Sample(**line) for line in lines if "tasks" in line]
    kept = [name for line in lines for name in line.get("kept", [])]
    found = [*verdicts(samples), Verdict("left at the store", _some(kept), "nothing", bool(kept))]
    took_s = time.monotonic() - began_s
    print(f"\n{store.name}: {samples[-1].tasks:,} tasks in {took_s:.0f} s")
    for each in found:
        mark = "BREACH" if each.is_breach else "ok"
        print(f"  {mark:<7} {each.what:<18} {each.measured:<52} limit {each.limit}", flush=True)
    return found


def _absolute(url: str, store: Store, folder: str) -> str:
    return f"sqlite:///{folder}/tasks.db" if store.name == "sqlite" else url


def _some(kept: Sequence[str]) -> str:
    return (
        ", ".join(kept[:3]) + (f" and {len(kept) - 3} more" if len(kept) > 3 else "") or "nothing"
    )


def _lines(url: str, count: int, follow_ups: bool) -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "soak.subject", url, str(count)]
    command += ["follow-ups"] if follow_ups else []
    tests = Path(__file__).parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tests) as subject:
        assert subject.stdout is not None
        for line in subject.stdout:
            yield json.loads(line)
    if subject.returncode:
        raise SystemExit(f"the run on {url.partition(':')[0]} ended with {subject.returncode}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
