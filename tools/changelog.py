"""CHANGELOG.md from the fragments in changelog.d, by towncrier.

    python tools/changelog.py              write the section of the next release, and keep them
    python tools/changelog.py --draft      print that section, and write nothing
    python tools/changelog.py --release    write it with today's date, and remove them

The next release is the version that the distributions have. Until it is released its section
says so, and is written anew each time.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from version import Refused, current

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "CHANGELOG.md"
NOT_RELEASED: Final = "not released"
WAYS: Final = ((), ("--draft",), ("--release",))

_SECTION: Final = re.compile(
    rf"^## \S+ \({NOT_RELEASED}\)\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL
)


def main(arguments: Sequence[str]) -> None:
    """Do what *arguments* ask for.

    Raises:
        Refused: they make no sense, or that version has been released.
    """
    if tuple(arguments) not in WAYS:
        raise Refused(f"{' '.join(arguments)}: it takes nothing, --draft or --release")
    is_draft, is_release = "--draft" in arguments, "--release" in arguments
    version = str(current(ROOT))
    before = PAGE.read_text("utf-8")
    kept = _SECTION.sub("", before)
    if re.search(rf"^## {re.escape(version)} ", kept, re.MULTILINE):
        raise Refused(f"{version} has been released: set the next version first")
    date = f"{datetime.now(UTC):%Y-%m-%d}" if is_release else NOT_RELEASED
    how = "--draft" if is_draft else "--yes" if is_release else "--keep"
    if not is_draft:
        PAGE.write_text(kept, "utf-8")
    try:
        _towncrier("build", "--version", version, "--date", date, how)
    except subprocess.CalledProcessError:
        PAGE.write_text(before, "utf-8")
        raise
    if not is_draft:
        PAGE.write_text(_tidy(PAGE.read_text("utf-8")), "utf-8")


def _towncrier(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "towncrier", *arguments], cwd=ROOT, check=True)


def _tidy(text: str) -> str:
    apart = re.sub(r"\n+(?=## )", "\n\n", text)
    return re.sub(r"\n{3,}", "\n\n", apart).rstrip("\n") + "\n"


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Refused as refusal:
        sys.exit(f"error: {refusal}")
    except subprocess.CalledProcessError as failure:
        sys.exit(failure.returncode)
