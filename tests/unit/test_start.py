"""What a start does not load: every application and every worker pays for it each time."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Loaded by the command, a listing, a test, a richer type, or by the plugin that needs it.
RARE = [
    "cattrs",
    "click",
    "cronsim",
    "cryptography",
    "importlib.metadata",
    "psycopg",
    "redis",
    "rich",
    "stem_core.cli",
    "stem_core.discovery.table",
    "stem_core.embedded",
    "stem_core.model.structure.classes",
    "stem_core.testing",
]
PROGRAM = """
import sys
from stem_core import Stem, Worker
print(*sorted(sys.modules))
"""


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """Return the modules of a new process that has imported what an application imports."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    return set(run.stdout.split())


@pytest.mark.parametrize("module", RARE)
def test_a_start_does_not_load_what_only_some_need(loaded: set[str], module: str) -> None:
    assert {"stem_core.producer.client", "stem_core.worker.worker"} <= loaded
    assert module not in loaded
