"""The page of figures: no row of it may vanish, and none may tell of a broken promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from chaos.report import BEGIN, END, IDS

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def test_the_page_has_a_row_for_each_scenario_and_each_says_that_the_promise_was_kept() -> None:
    part = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    verdicts = dict(re.findall(r"^\| ([A-Z]\d\S*) \|.*\| ([^|]+) \|$", part, re.MULTILINE))
    assert tuple(sorted(verdicts)) == IDS
    assert set(verdicts.values()) == {"kept"}


@pytest.mark.parametrize("word", ["not run", "power cut", "fsync"])
def test_the_page_says_what_was_not_run(word: str) -> None:
    assert word in PAGE.read_text("utf-8")
