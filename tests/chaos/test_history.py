"""A history can be read whatever became of those who wrote it."""

from __future__ import annotations

from pathlib import Path

from chaos.history import History, Pen, Tail, What
from chaos.runs import runs_of


def test_what_was_written_is_read(tmp_path: Path) -> None:
    pen = Pen(tmp_path / "h")
    wrote = pen.note(What.STARTED, id="a", fence=3, attempt=2, detail="ü\n")
    pen.close()
    assert History.of(tmp_path / "h") == History((wrote,))


def test_a_torn_line_is_counted_and_spoils_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "h"
    dying, living = Pen(path), Pen(path)
    dying.note(What.STARTED, id="a")
    path.write_bytes(path.read_bytes() + b'\n["started",123,4')
    living.note(What.STARTED, id="b")
    path.write_bytes(path.read_bytes() + b'\n["ended",1')
    history = History.of(path)
    assert [event.id for event in history.events] == ["a", "b"]
    assert history.torn == 2
    dying.close()
    living.close()


def test_several_events_go_out_in_one_write_and_are_lines_of_their_own(tmp_path: Path) -> None:
    pen = Pen(tmp_path / "h")
    pen.write()
    pen.write(*History((pen.note(What.LEASED, id="a"),)).events * 2)
    pen.close()
    assert len(History.of(tmp_path / "h").events) == 3


def test_a_tail_follows_a_line_that_is_still_in_the_making(tmp_path: Path) -> None:
    path = tmp_path / "h"
    pen = Pen(path)
    tail = Tail(path)
    assert tail.look() == []
    first = pen.note(What.ENDED, id="a")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    assert tail.look() == [first]
    path.write_bytes(whole + whole)
    assert tail.look() == [first, first]
    pen.close()


def test_a_lost_lease_is_that_of_the_oldest_run_which_is_open(tmp_path: Path) -> None:
    pen = Pen(tmp_path / "h")
    for fence in (1, 2):
        pen.note(What.LEASED, id="a", fence=fence)
    pen.note(What.DROPPED, id="a")
    pen.close()
    assert [run.reply for run in runs_of(History.of(tmp_path / "h"))["a"]] == ["dropped", ""]
