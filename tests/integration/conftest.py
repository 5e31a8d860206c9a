"""Every test starts with a shop that remembers nothing."""

from __future__ import annotations

import pytest
from integration import shop


@pytest.fixture(autouse=True)
def a_fresh_shop():
    shop.begin_again()
    yield
    shop.gate.open.set()  # nothing of a failed test goes on waiting
