"""What the demo tells of its results, from outcomes as values."""

from __future__ import annotations

import re
from typing import Any

import pytest

from stem_core.cli.demo_files import Found
from stem_core.cli.demo_report import (
    Outcome,
    count_line,
    for_people,
    for_programs,
    prologue,
    verdict,
)
from stem_core.cli.exits import ExitCode
from stem_core.cli.terminal import Paint, count_of
from stem_core.model.outcome import State, TaskError, TaskStatus

PLAIN = Paint(False)
FACTS = {"lines": 1200, "words": 3, "size": 40, "sha256": "ab" * 32}


def outcome(file: str = "a.py", state: State = State.SUCCEEDED, **facts: Any) -> Outcome:
    value = dict(FACTS) if state is State.SUCCEEDED else None
    facts = {"attempt": 1, "value": value} | facts
    return Outcome(file, TaskStatus(id=f"id of {file}", state=state, **facts))


def told(outcomes: list[Outcome], rows: int = 20) -> list[str]:
    return list(for_people(outcomes, rows=rows, paint=PLAIN))


def test_the_last_line_is_the_count_and_nothing_else() -> None:
    outcomes = [outcome("a"), outcome("b", attempt=3), outcome("c", State.DISCARDED)]
    assert told(outcomes)[-1] == "enqueued 3, done 3, lost 0, retried 2"


def test_the_count_is_not_coloured() -> None:
    *_, last = for_people([outcome()], rows=20, paint=Paint(True))
    assert last == "enqueued 1, done 1, lost 0, retried 0"


@pytest.mark.parametrize(
    ("bad", "count"),
    [
        (Outcome("x", None), "enqueued 2, done 1, lost 1, retried 0"),
        (outcome("x", State.RUNNING), "enqueued 2, done 1, lost 1, retried 0"),
        (outcome("x", State.DEAD, attempt=4), "enqueued 2, done 2, lost 0, retried 3"),
        (outcome("x", State.FAILED), "enqueued 2, done 2, lost 0, retried 0"),
        (outcome("x", State.EXPIRED), "enqueued 2, done 2, lost 0, retried 0"),
    ],
)
def test_a_task_that_is_lost_or_failed_fails_the_demo(bad: Outcome, count: str) -> None:
    assert count_line([outcome(), bad]) == count
    assert verdict([outcome(), bad]) is ExitCode.FAILED


def test_a_file_that_cannot_be_read_is_told_and_fails_nothing() -> None:
    unreadable = outcome("x", State.DISCARDED, reason="Permission denied")
    assert "1 file: discarded, Permission denied" in told([outcome(), unreadable])
    assert verdict([outcome(), unreadable]) is ExitCode.OK


def test_the_error_of_a_dead_task_is_told() -> None:
    dead = outcome("x", State.DEAD, error=TaskError(type="ValueError", message="no\nway"))
    assert r"1 file: dead, no\nway" in told([dead])


def test_the_table_shows_what_the_task_found_out() -> None:
    row = next(line for line in told([outcome("model/errors.py")]) if "errors.py" in line)
    assert row.split() == ["model/errors.py", "1,200", "3", "40", "ab" * 6, "succeeded", "1"]


def test_a_long_table_is_cut_and_says_so() -> None:
    lines = told([outcome(f"file{n}") for n in range(1003)], rows=3)
    assert sum(line.startswith("file") for line in lines) == 4  # with the header
    assert "... and 1,000 more files; --all shows them" in lines


def test_totals_count_every_file_shown_or_not() -> None:
    assert "3,600 lines, 9 words, 120 bytes" in told([outcome(f"f{n}") for n in range(3)], rows=1)


def test_the_name_of_a_file_cannot_move_the_cursor() -> None:
    assert not any("\x1b" in line for line in told([outcome("\x1b[2J")]))


def test_programs_get_every_file() -> None:
    made = for_programs([outcome("a", attempt=2), Outcome("gone", None)])
    assert {name: made[name] for name in ("enqueued", "done", "lost", "retried")} == {
        "enqueued": 2,
        "done": 1,
        "lost": 1,
        "retried": 1,
    }
    first, gone = made["files"]
    assert first == {
        "file": "a",
        "task_id": "id of a",
        "state": "succeeded",
        "attempt": 2,
        "reason": "",
        **FACTS,
    }
    assert gone["state"] == "lost"


def test_what_was_left_out_is_said_before_anything_runs() -> None:
    found = Found(("a",))
    assert not re.search("Left out", "\n".join(prologue("here", found, 8)))
    found.left_out.update({"link": 2, "special file": 1})
    assert "Left out: 2 links, 1 special file." in list(prologue("here", found, 8))


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1234, "1,234 files")]
)
def test_numbers_agree_with_their_noun(number: int, text: str) -> None:
    assert count_of(number, "file") == text
