"""A directory of the path where a test installs what it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.discovery.fakes import Site


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty directory, first on the path; forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = Site(tmp_path)
    yield made
    made.forget()
