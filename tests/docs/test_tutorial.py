"""The tutorial and the newcomer's path: their files, commands and what these print, in order."""

from __future__ import annotations

from pathlib import Path

import pytest
from docs.walk import Reader, fences_of

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs/tutorial.md").read_text()
NEWCOMER = (ROOT / "docs/newcomer.md").read_text()
SECURITY = (ROOT / "docs/explanation/security.md").read_text()


def test_the_tutorial_can_be_followed(tmp_path: Path, redis_server) -> None:
    assert len([fence for fence in fences_of(TUTORIAL) if fence.kind == "console"]) >= 20
    Reader(tmp_path, urls={"redis://localhost:6379/0": redis_server.url}).walk(TUTORIAL)


def test_wrong_turns_look_as_the_page_shows_them(tmp_path: Path) -> None:
    Reader(tmp_path).walk(NEWCOMER)


def test_keys_are_made_as_the_page_on_security_shows(tmp_path: Path) -> None:
    Reader(tmp_path).walk(SECURITY)
    assert (tmp_path / "keys.toml").exists()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("$ python -c 'print(1)'\n2\n", "printed no such line"),
        ("$ stem version\nstem-core …\nPython 2…\n", "printed no such line"),
    ],
)
def test_a_page_that_shows_what_is_not_printed_is_found(
    wrong: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match=why):
        Reader(tmp_path).walk(f"```console\n{wrong}```\n")
