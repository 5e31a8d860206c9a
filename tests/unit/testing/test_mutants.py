"""The defects of `tests/mutants` fit the code as it is: `nox -s mutants` can apply them all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stem_core.testing import BrokerContract
from stem_core.testing.contract.promise import promises_of

ROOT = Path(__file__).parents[3]
PATCHES = sorted((ROOT / "tests" / "mutants").glob("*.patch"))


@pytest.mark.parametrize("patch", PATCHES, ids=lambda path: path.stem)
def test_a_defect_names_the_promise_that_it_breaks_and_stands_where_it_did(patch: Path) -> None:
    head, _, diff = patch.read_text("utf-8").partition("--- a/")
    assert head.removeprefix("Breaks: ").strip() in promises_of(BrokerContract)
    file, _, hunks = diff.partition("\n")
    source = (ROOT / file).read_text("utf-8")
    for hunk in re.split(r"^@@.*@@.*\n", hunks, flags=re.MULTILINE)[1:]:
        before = "".join(line[1:] for line in hunk.splitlines(True) if line[0] in " -")
        assert source.count(before) == 1, f"{file} has changed: make {patch.name} anew"


def test_there_are_enough_of_them() -> None:
    assert len(PATCHES) >= 20
