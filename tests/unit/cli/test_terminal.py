"""What people see: colours, widths, tables and the line that rewrites itself."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.cli.terminal import Paint, Progress, fit, table, visible, width_of


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "coloured"),
    [
        (_Terminal(), {"TERM": "xterm"}, True),
        (_Terminal(), {"TERM": "dumb"}, False),
        (_Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (_Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (io.StringIO(), {"TERM": "xterm"}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_are_for_terminals_and_the_user_has_the_last_word(
    stream: io.StringIO, environment: dict[str, str], coloured: bool
) -> None:
    assert ("\x1b[" in Paint.of(stream, environment)("text", "bad")) is coloured


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("plain name.py", "plain name.py"),
        ("two\nlines", r"two\nlines"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("right\u202eleft", r"right\u202eleft"),
        ("grüße.txt", "grüße.txt"),
    ],
)
def test_a_name_cannot_move_the_cursor(hostile: str, shown: str) -> None:
    assert visible(hostile) == shown


@given(st.text())
def test_whatever_is_made_visible_is_printable_and_on_one_line(text: str) -> None:
    assert visible(text).isprintable()


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("", 0), ("\uff41", 2)]
)
def test_the_width_is_counted_in_columns(text: str, columns: int) -> None:
    assert width_of(text) == columns


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"])), st.integers(0, 30))
def test_a_fitted_text_is_never_wider_and_keeps_its_end(text: str, columns: int) -> None:
    fitted = fit(text, columns)
    assert width_of(fitted) <= columns
    assert text.endswith(fitted.removeprefix("…"))


def test_a_text_that_fits_is_left_alone() -> None:
    assert fit("model/errors.py", 15) == "model/errors.py"
    assert fit("model/errors.py", 14) == "…del/errors.py"


def test_columns_are_aligned_by_what_is_seen() -> None:
    lines = table(("file", "lines"), [("日本.txt", "7"), ("a\tb", "1,234")], right=frozenset({1}))
    assert lines == [
        "file      lines",
        "日本.txt      7",
        r"a\tb      1,234",
    ]


def test_progress_in_a_pipe_is_at_most_ten_plain_lines() -> None:
    pipe = io.StringIO()
    progress = Progress(pipe, 1000, live=False)
    for done in range(1001):
        progress.show(done, "a file")
    progress.end()
    lines = pipe.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[-1].strip() == "1000/1000 done"
    assert "\r" not in pipe.getvalue()
    assert "\x1b" not in pipe.getvalue()


def test_progress_on_a_terminal_rewrites_one_line_and_leaves_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    terminal = _Terminal()
    progress = Progress(terminal, 3, live=True)
    for done in range(4):
        progress.show(done, "a-file-with-a-name-longer-than-the-terminal-is-wide.py")
    progress.end()
    drawn = terminal.getvalue().split("\r\x1b[K")
    assert "\n" not in terminal.getvalue()
    assert all(width_of(line) < 40 for line in drawn)
    assert drawn[-1] == ""


def test_a_line_that_stays_does_not_break_the_line_that_moves() -> None:
    terminal = _Terminal()
    progress = Progress(terminal, 2, live=True)
    progress.show(1, "one")
    moving = terminal.getvalue()
    progress.say("said")
    assert terminal.getvalue() == f"{moving}\r\x1b[Ksaid\n{moving}"


def test_progress_of_nothing_is_complete() -> None:
    pipe = io.StringIO()
    Progress(pipe, 0, live=False).show(0)
    assert pipe.getvalue().strip() == "0/0 done"
