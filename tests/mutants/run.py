"""Break the brokers in one line each, and see the kit turn red every time.

    python tests/mutants/run.py [PART OF A NAME ...]

Each patch beside this file is a defect that a tired person could write. It is applied to a
copy of the sources; the contract tests of the memory and SQLite brokers run on that copy and
have to fail. A patch that no longer applies is an error too: defects grow old with the code.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SUITES = {
    "memory": ["tests/conformance/test_memory.py"],
    "sqlite": ["tests/conformance/test_sqlite.py"],
}
_FAILED = re.compile(r"^FAILED \S*::(\w+)", re.M)


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
    if told := red(
        ROOT / "stem-core" / "src", [each for suite in SUITES.values() for each in suite]
    ):
        print(f"without a defect {told} fails: nothing can be said", file=sys.stderr)
        return 2
    unseen = 0
    for number, patch in enumerate(patches, 1):
        told = caught_by(patch)
        unseen += not told
        what = f"caught by {told}" if told else "NOT CAUGHT"
        print(f"[{number}/{len(patches)}] {patch.stem}: {what}", flush=True)
    print(f"{len(patches)} defects, {len(patches) - unseen} caught, {unseen} not")
    return unseen


def caught_by(patch: Path) -> str:
    """Return the first test that fails with *patch*; empty when all pass."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "stem-core"
        shutil.copytree(
            ROOT / "stem-core", copy, ignore=shutil.ignore_patterns("__pycache__", "dist", "*.egg*")
        )
        apply(patch, Path(folder))
        return red(copy / "src", SUITES[patch.stem.partition("-")[0]])


def red(source: Path, suites: list[str]) -> str:
    """Return the first test of *suites* that fails on *source*; empty when all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *suites]
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
