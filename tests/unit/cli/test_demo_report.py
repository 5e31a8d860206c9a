"""What the demo tells of its results, from outcomes as values."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from stem_core.cli.demo_files import Found
from stem_core.cli.demo_place import Place
from stem_core.cli.demo_plot import Casualty
from stem_core.cli.demo_report import (
    Outcome,
    Story,
    count_line,
    for_people,
    for_programs,
    prologue,
    verdict,
)
from stem_core.cli.exits import ExitCode
from stem_core.cli.terminal import Paint, count_of
from stem_core.model.outcome import State, TaskError, TaskStatus
from stem_core.model.urls import StemURL

PLAIN = Paint(False)
FACTS = {"lines": 1200, "words": 3, "size": 40, "sha256": "ab" * 32}


KILLED = Casualty(name="worker-1", pid=7, at_ms=0, held=frozenset({"id of a", "id of b"}))


def outcome(
    file: str = "a.py", state: State = State.SUCCEEDED, *, twice: bool = False, **facts: Any
) -> Outcome:
    value = dict(FACTS) if state is State.SUCCEEDED else None
    facts = {"attempt": 1, "value": value} | facts
    status = TaskStatus(id=f"id of {file}", state=state, **facts)
    return Outcome(file, status, starts=1 + twice, is_run_twice=twice)


COMMITTED_TWICE = evolve(outcome(twice=True), is_committed_twice=True)


def told(outcomes: list[Outcome], rows: int = 20) -> list[str]:
    return list(for_people(Story(outcomes=outcomes, casualty=KILLED), rows=rows, paint=PLAIN))


def test_the_last_line_is_the_count_and_nothing_else() -> None:
    outcomes = [outcome("a", twice=True), outcome("b", attempt=3), outcome("c", State.DISCARDED)]
    assert told(outcomes)[-1] == "enqueued 3, done 3, lost 0, run twice 1"


def test_the_count_is_not_coloured() -> None:
    *_, last = for_people(Story(outcomes=[outcome()]), rows=20, paint=Paint(True))
    assert last == "enqueued 1, done 1, lost 0, run twice 0"


@pytest.mark.parametrize(
    ("bad", "count"),
    [
        (Outcome("x", None), "enqueued 2, done 1, lost 1, run twice 0"),
        (outcome("x", State.RUNNING), "enqueued 2, done 1, lost 1, run twice 0"),
        (outcome("x", State.DEAD, attempt=4), "enqueued 2, done 2, lost 0, run twice 0"),
        (outcome("x", State.FAILED), "enqueued 2, done 2, lost 0, run twice 0"),
        (outcome("x", State.EXPIRED), "enqueued 2, done 2, lost 0, run twice 0"),
        (COMMITTED_TWICE, "enqueued 2, done 2, lost 0, run twice 1"),
    ],
)
def test_a_task_that_is_lost_or_failed_or_committed_twice_fails_the_demo(
    bad: Outcome, count: str
) -> None:
    assert count_line([outcome(), bad]) == count
    assert verdict(Story(outcomes=[outcome(), bad])) is ExitCode.FAILED


def test_a_task_that_was_run_twice_and_committed_once_is_well() -> None:
    assert verdict(Story(outcomes=[outcome(twice=True)])) is ExitCode.OK


@pytest.mark.parametrize("bad", [Outcome("x", None), COMMITTED_TWICE], ids=["lost", "twice"])
def test_the_last_words_do_not_praise_what_went_wrong(bad: Outcome) -> None:
    assert any("2 tasks: run again elsewhere" in line for line in told([outcome()]))
    assert not any("run again elsewhere" in line for line in told([outcome(), bad]))
    assert any("did harm" in line for line in told([outcome(), bad]))


@pytest.mark.parametrize(
    ("casualty", "words"),
    [(None, "before a worker could be killed"), (evolve(KILLED, held=frozenset()), "held no task")],
)
def test_a_kill_that_met_nothing_is_not_boasted_of(casualty: Casualty | None, words: str) -> None:
    lines = for_people(Story(outcomes=[outcome()], casualty=casualty), rows=20, paint=PLAIN)
    assert any(words in line for line in lines)


def test_a_file_that_cannot_be_read_is_told_and_fails_nothing() -> None:
    unreadable = outcome("x", State.DISCARDED, reason="Permission denied")
    assert "1 file: discarded, Permission denied" in told([outcome(), unreadable])
    assert verdict(Story(outcomes=[outcome(), unreadable])) is ExitCode.OK


def test_the_error_of_a_dead_task_is_told() -> None:
    dead = outcome("x", State.DEAD, error=TaskError(type="ValueError", message="no\nway"))
    assert r"1 file: dead, no\nway" in told([dead])


def test_the_table_shows_what_the_task_found_out() -> None:
    row = next(line for line in told([outcome("model/errors.py")]) if "errors.py" in line)
    assert row.split() == ["model/errors.py", "1,200", "3", "40", "ab" * 4, "succeeded"]


def test_the_table_says_what_is_special_about_a_task() -> None:
    (row,) = [line for line in told([outcome("b.py", attempt=3, twice=True)]) if "b.py" in line]
    assert row.endswith("succeeded, attempt 3, run twice")


def test_a_table_that_is_cut_shows_what_is_special_first() -> None:
    plain = [outcome(f"plain{n}") for n in range(5)]
    lines = told([*plain, outcome("again", attempt=3), outcome("twice", twice=True)], rows=3)
    shown = [line.split()[0] for line in lines if "succeeded" in line]
    assert shown == ["again", "twice", "plain0"]


def test_a_table_that_is_not_cut_is_in_the_order_of_the_files() -> None:
    lines = told([outcome("a"), outcome("b", twice=True)])
    assert [line.split()[0] for line in lines if "succeeded" in line] == ["a", "b"]


def test_a_long_table_is_cut_and_says_so() -> None:
    lines = told([outcome(f"file{n}") for n in range(1003)], rows=3)
    assert sum(line.startswith("file") for line in lines) == 4  # with the header
    assert "... and 1,000 more files; --all shows them" in lines


def test_totals_count_every_file_shown_or_not() -> None:
    assert "3,600 lines, 9 words, 120 bytes" in told([outcome(f"f{n}") for n in range(3)], rows=1)


def test_the_name_of_a_file_cannot_move_the_cursor() -> None:
    assert not any("\x1b" in line for line in told([outcome("\x1b[2J")]))


def test_programs_get_all_of_it() -> None:
    outcomes = [outcome("a", attempt=2, twice=True, worker="worker-2"), Outcome("gone", None)]
    made = for_programs(Story(outcomes=outcomes, casualty=KILLED, recovery_ms=1700), kept="/t.db")
    files = made.pop("files")
    assert made == {
        "enqueued": 2,
        "done": 1,
        "lost": 1,
        "run_twice": 1,
        "retried": 1,
        "committed_twice": 0,
        "killed": {"worker": "worker-1", "pid": 7, "held": 2},
        "recovery_ms": 1700,
        "kept": "/t.db",
    }
    assert files[0] == {
        "file": "a",
        "task_id": "id of a",
        "state": "succeeded",
        "attempt": 2,
        "starts": 2,
        "run_twice": True,
        "worker": "worker-2",
        "reason": "",
        **FACTS,
    }
    assert files[1]["state"] == "lost"


def test_the_ways_to_look_can_be_given_to_a_shell() -> None:
    place = Place.a_file(Path("/tmp/it's here"), is_kept=True)
    lines = list(place.ways_to_look("b"))
    assert "  stem jobs show b" in lines
    words = shlex.split("\n".join(lines[1:]))
    assert "STEM_BROKER_URL=sqlite:////tmp/it's%20here/tasks.db" in words
    assert "/tmp/it's here/tasks.db" in words


def test_an_example_is_the_task_with_most_to_tell() -> None:
    story = Story(outcomes=[outcome("a"), outcome("b", twice=True)])
    assert story.example.file == "b"


def test_a_namespace_is_new_each_time_and_its_ways_to_look_hide_the_password() -> None:
    url = StemURL.parse("redis://u:secret@host/0")
    place, other = (Place.a_namespace(url, is_kept=True) for _ in range(2))
    assert place.namespace != other.namespace
    assert "secret" not in "\n".join(place.ways_to_look("b")) + place.introduced() + repr(place)
    own = {"PATH": "/bin", "STEM_TLS_CA_CERT": "ca", "STEM_NAMESPACE": "shop", "STEM_STRICT": "1"}
    assert place.variables(own) == {
        "PATH": "/bin",
        "STEM_TLS_CA_CERT": "ca",
        "STEM_NAMESPACE": place.namespace,
        "STEM_DEMO_BROKER": "redis://u:secret@host/0",
    }


def test_what_was_left_out_is_said_before_anything_runs() -> None:
    found = Found(("a",))
    assert not re.search("Left out", "\n".join(prologue("here", found, "a file", PLAIN)))
    found.left_out.update({"link": 2, "special file": 1})
    assert "Left out: 2 links, 1 special file." in list(prologue("here", found, "a file", PLAIN))


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1234, "1,234 files")]
)
def test_numbers_agree_with_their_noun(number: int, text: str) -> None:
    assert count_of(number, "file") == text
