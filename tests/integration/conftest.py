"""Every test starts with a shop that remembers nothing."""

from __future__ import annotations

import pytest
from integration import shop


@pytest.fixture(autouse=True)
def a_fresh_shop():
    shop.begin_again()
    yield
    # A Stem that a test made may have included the shop: the last one sends a task's calls.
    shop.stem.registry.belong_to(shop.stem)
    shop.gate.open.set()  # nothing of a failed test goes on waiting
