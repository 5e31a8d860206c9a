"""The journal of starts: what one process notes another one reads, whatever happens meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stem_core.cli.demo_journal import Journal, Start, note_start, now_ms, run_twice, starts_in
from stem_core.producer.context import TaskContext


def start(task_id: str = "a", attempt: int = 1, fence: int = 1, pid: int = 7) -> Start:
    return Start(task_id, attempt, fence, pid, 0)


def test_what_was_noted_is_read_once_and_in_order(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "starts"))
    assert journal.news() == []
    before = now_ms()
    for id in ("first", "second"):
        note_start(journal.path, TaskContext.for_testing(id=id, attempt=2, fence=5))
    news = journal.news()
    assert [(each.task_id, each.attempt, each.fence) for each in news] == [
        ("first", 2, 5),
        ("second", 2, 5),
    ]
    assert all(each.pid == os.getpid() and before <= each.at_ms <= now_ms() for each in news)
    assert journal.news() == []


def test_a_line_that_is_not_whole_yet_waits_for_its_end(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "starts"))
    with open(journal.path, "w") as file:
        file.write("a 1 1 7 0\nb 1 1")
        file.flush()
        assert journal.news() == [start("a")]
        file.write(" 7 0\n")
        file.flush()
        assert journal.news() == [start("b")]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_a_start_stays_noted_when_its_process_is_killed_at_the_next_moment(tmp_path: Path) -> None:
    path = str(tmp_path / "starts")
    program = (
        "import os, signal, sys\n"
        "from stem_core.cli.demo_journal import note_start\n"
        "from stem_core.producer.context import TaskContext\n"
        "note_start(sys.argv[1], TaskContext.for_testing(id='mine'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, path]).returncode == -signal.SIGKILL
    assert [each.task_id for each in Journal(path).news()] == ["mine"]


def test_a_retry_is_not_run_twice() -> None:
    assert run_twice([start(attempt=1, fence=1), start(attempt=2, fence=2)]) == set()


def test_an_attempt_that_was_started_again_is_run_twice() -> None:
    again = [start(attempt=2, fence=2, pid=7), start(attempt=2, fence=3, pid=8)]
    assert run_twice([start(), *again, start("b")]) == {"a"}


def test_every_field_of_a_line_is_read() -> None:
    assert starts_in("id 3 1024 77 123456\n") == [Start("id", 3, 1024, 77, 123456)]
