"""The pages for those who come from elsewhere: their example can be tested as they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from docs.walk import fences_of

PAGES = sorted((Path(__file__).parents[2] / "docs/how-to").glob("migrate-from-*.md"))
COMMAND = [sys.executable, "-m", "pytest", "-q", "-p", "no:hypothesispytest", "-W", "error"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_example_passes_the_test_that_the_page_shows(page: Path, tmp_path: Path) -> None:
    fences = fences_of(page.read_text())
    [ours] = [each.text for each in fences if each.kind == "python" and not each.title]
    [shown] = [each.text for each in fences if each.title == "a test"]
    (tmp_path / "shop.py").write_text(ours)
    (tmp_path / "test_shop.py").write_text(f"from shop import charge\n\n\n{shown}")
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\nstem_app = shop:stem\n")
    done = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
