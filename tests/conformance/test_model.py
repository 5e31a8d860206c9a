"""The stores do what the model says, whatever happens in whatever order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conformance.test_memory import open_stage
from conformance.test_sqlite import factory
from hypothesis import settings

from stem_core.testing.model.machine import RUN, run_model

EXAMPLES = "STEM_TEST_MODEL_EXAMPLES"
# Taken out of the environment: a Stem in this process would warn of what it does not know.
MANY = int(os.environ.pop(EXAMPLES, 0))


def run(default: int) -> settings:
    """The settings of a run: the examples that were asked for, or else a few."""
    return settings(RUN, max_examples=MANY or default)


def test_the_memory_store_does_what_the_model_says():
    run_model(open_stage, settings=run(60))


@pytest.mark.parametrize("kind", ["one process", "two processes", "memory"])
def test_the_sqlite_store_does_what_the_model_says(kind: str, tmp_path: Path):
    run_model(factory(kind, tmp_path), settings=run(30))
