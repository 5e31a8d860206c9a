"""The reference page says what the commands say."""

from __future__ import annotations

from pathlib import Path

import pytest

from stem_core.cli.reference import reference_markdown

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"


def test_the_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text("utf-8") == reference_markdown()


@pytest.mark.parametrize(
    "fact",
    ["## stem demo", "## stem config show", "`STEM_WORKER_QUEUES`", "| 75 |", "`STEM_APP`"],
)
def test_the_page_holds_commands_variables_and_exit_codes(fact: str) -> None:
    assert fact in PAGE.read_text("utf-8")
