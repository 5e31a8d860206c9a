"""Break the brokers in one line each, and see the kit turn red every time.

    python tests/mutants/run.py [PART OF A NAME ...]

Each patch beside this file is a defect that a tired person could write; its first line names the
promise that it breaks. It is applied to a copy of the sources; the contract tests of that promise
run there, on the memory or the SQLite broker, and have to fail. A patch that no longer applies
is an error too: defects grow old with the code.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from stem_core.testing import BrokerContract
from stem_core.testing.contract.promise import terms_of

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SUITES = {
    "memory": "tests/conformance/test_memory.py::TestBroker",
    "sqlite": "tests/conformance/test_sqlite.py::TestBroker",
}
_FAILED = re.compile(r"^FAILED \S*::(\w+)", re.M)
_BREAKS = re.compile(r"Breaks: ([A-Z]+-\d+)\n")


def main(wanted: list[str]) -> int:
    """Run every defect whose name contains one of *wanted*; return how many went unseen."""
    patches = [
        path
        for path in sorted(HERE.glob("*.patch"))
        if not wanted or any(part in path.stem for part in wanted)
    ]
    if not patches:
        print(f"no defect is called {' or '.join(wanted)}", file=sys.stderr)
        return 2
    broken = {broken_by(patch) for patch in patches}
    if told := red(ROOT / "stem-core" / "src", SUITES.values(), broken):
        print(f"without a defect {told} fails: nothing can be said", file=sys.stderr)
        return 2
    unseen = 0
    for number, patch in enumerate(patches, 1):
        told = caught_by(patch)
        unseen += not told
        what = f"caught by {told}" if told else "NOT CAUGHT"
        count = f"[{number}/{len(patches)}]"
        print(f"{count} {patch.stem}: {broken_by(patch)} {what}", flush=True)
    print(f"{len(patches)} defects, {len(patches) - unseen} caught, {unseen} not")
    return unseen


def broken_by(patch: Path) -> str:
    """Return the promise that *patch* says it breaks."""
    found = _BREAKS.match(patch.read_text("utf-8"))
    if found is None or not tests_of([found[1]]):
        raise SystemExit(f"{patch.stem}: begin it with 'Breaks: ID', and a promise of brokers")
    return found[1]


def tests_of(promises: Iterable[str]) -> list[str]:
    """Return the names of the broker's contract tests about *promises*."""
    wanted = set(promises)
    terms = {name: terms_of(getattr(BrokerContract, name)) for name in dir(BrokerContract)}
    return [name for name, about in terms.items() if about and wanted & set(about.ids)]


def caught_by(patch: Path) -> str:
    """Return the first test of its promise that fails with *patch*; empty when all pass."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "stem-core"
        shutil.copytree(
            ROOT / "stem-core", copy, ignore=shutil.ignore_patterns("__pycache__", "dist", "*.egg*")
        )
        apply(patch, Path(folder))
        suite = SUITES[patch.stem.partition("-")[0]]
        return red(copy / "src", [suite], [broken_by(patch)])


def red(source: Path, suites: Iterable[str], promises: Iterable[str]) -> str:
    """Return the first test of *promises* in *suites* that fails on *source*; empty when all
    pass."""
    chosen = ["-k", " or ".join(tests_of(promises))]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command = [sys.executable, "-m", "pytest", *options, *chosen, *suites]
    environment = os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
        )
    except subprocess.TimeoutExpired:
        return "a test that does not end within 300 s"
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest could not run\n{done.stdout}{done.stderr}")
    found = _FAILED.search(done.stdout)
    return found[1] if found else ""


def apply(patch: Path, folder: Path) -> None:
    """Apply *patch* to the sources in *folder*."""
    done = subprocess.run(
        ["git", "apply", "--unsafe-paths", f"--directory={folder}", str(patch)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{patch.stem} does not apply any more: make it anew\n{done.stderr}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
