"""Compare what mypy and pyright say of the files beside this one with what the files expect.

    python tests/typing/check_typing.py

A line that ends in ``# E`` (or ``# E: why it is wrong``) must be an error for both
checkers; every other line must be clean for both. So a wrong call that stops being an
error fails as loudly as a right call that becomes one. Put a wrong call on one line:
checkers do not agree on which line of a longer statement is to blame.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXPECTED = re.compile(r"#\s*E(:.*)?$")


class Place(NamedTuple):
    """One line of one file; lines count from 1."""

    file: str
    line: int


Report = dict[Place, str]


def main() -> int:
    """Check all files, print what differs, and return how the process shall end."""
    files = sorted(path for path in HERE.glob("*.py") if path != Path(__file__).resolve())
    expected = {place for path in files for place in marked(path.name, path.read_text("utf-8"))}
    if not expected:
        print(f"no line in {HERE} is marked '# E': nothing would be proven")
        return 1
    checkers: dict[str, Callable[[Sequence[Path]], Report]] = {"mypy": mypy, "pyright": pyright}
    complaints = [
        f"{place.file}:{place.line}: {checker}: {complaint}"
        for checker, check in checkers.items()
        for place, complaint in differences(expected, check(files))
    ]
    print("\n".join(complaints) or f"{len(files)} files: both checkers refuse the same lines,")
    print(f"{len(expected)} of them marked, {len(complaints)} differences")
    return 1 if complaints else 0


def marked(file: str, text: str) -> Iterator[Place]:
    """Yield the places in *text* that are expected to be errors."""
    for number, line in enumerate(text.splitlines(), start=1):
        if EXPECTED.search(line):
            yield Place(file, number)


def differences(expected: set[Place], reported: Report) -> Iterator[tuple[Place, str]]:
    """Yield each place where a checker's report is not what the files expect, in order."""
    for place in sorted(expected ^ reported.keys()):
        yield place, reported.get(place, "expected an error here, and there is none")


def mypy(files: Sequence[Path]) -> Report:
    """Return the errors of mypy, under the strict settings of the project."""
    lines = _output("mypy", "--output=json", "--no-error-summary", *map(str, files)).splitlines()
    found = [json.loads(line) for line in lines]
    return {
        Place(Path(each["file"]).name, each["line"]): f"{each['message']} [{each['code']}]"
        for each in found
        if each["severity"] == "error"
    }


def pyright(files: Sequence[Path]) -> Report:
    """Return the errors of pyright, under the settings of the project."""
    found = json.loads(_output("pyright", "--outputjson", *map(str, files)))["generalDiagnostics"]
    return {
        Place(Path(each["file"]).name, each["range"]["start"]["line"] + 1): each["message"]
        for each in found
        if each["severity"] == "error"
    }


def _output(checker: str, *arguments: str) -> str:
    """Return what *checker* printed; exit if it broke instead of checking (exit code above 1)."""
    run = subprocess.run(
        [sys.executable, "-m", checker, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    if run.returncode > 1:
        sys.exit(f"{checker} could not check: {run.stderr or run.stdout}")
    return run.stdout


if __name__ == "__main__":
    sys.exit(main())
