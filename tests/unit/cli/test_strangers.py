"""What strangers wrote is shown whole where it fits, and never obeyed."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.cli.strangers import (
    body_facts,
    body_lines,
    cut,
    error_facts,
    error_line,
    history_lines,
)
from stem_core.cli.terminal import width_of
from stem_core.model.outcome import TaskError

NOW_MS = 1_900_000_000_000

texts = st.text(st.characters(codec="utf-8"))


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本語", 5, "日本…"), ("abc", 0, "")],
)
def test_a_text_is_cut_at_its_end(text: str, columns: int, shown: str) -> None:
    assert cut(text, columns) == shown


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"])), st.integers(0, 30))
def test_a_text_that_is_cut_is_never_wider(text: str, columns: int) -> None:
    assert width_of(cut(text, columns)) <= columns


def test_an_error_stands_on_one_line() -> None:
    error = TaskError(type="shop.Declined", message="no\nmoney\x1b[2J")
    assert error_line(error) == r"shop.Declined: no\nmoney\x1b[2J"
    assert error_line(error, 12) == "shop.Declin…"
    assert error_line(TaskError(type="shop.Declined")) == "shop.Declined"


def test_a_history_has_every_error_with_its_traceback() -> None:
    first = TaskError(type="A", message="one", traceback="T1\n\tT2\n", attempt=1, at_ms=NOW_MS)
    later = TaskError(type="B")
    assert list(history_lines([first, later], NOW_MS)) == [
        "attempt 1, 2030-03-17 17:46:40Z (now)",
        "  A: one",
        "    T1",
        "            T2",
        "before any attempt",
        "  B",
    ]


def test_a_body_of_json_is_pretty_printed() -> None:
    assert list(body_lines(b'{"a":[1,"\xc3\xa9"]}')) == [
        "body: 14 bytes of JSON",
        "  {",
        '    "a": [',
        "      1,",
        '      "é"',
        "    ]",
        "  }",
    ]


@pytest.mark.parametrize("body", [b"", b"\xff\x00", b"{", b'{"a": NaN}', b'{"a":1,"a":2}'])
def test_a_body_that_is_no_strict_json_is_shown_as_bytes(body: bytes) -> None:
    head, shown = body_lines(body)
    assert head == f"body: {len(body)} bytes, not JSON"
    assert shown == f"  {body!r}"
    assert body_facts(body)["body"] is None


def test_a_large_body_is_cut_and_says_so() -> None:
    head, shown = body_lines(b"\xff" * 5000)
    assert head == "body: 5,000 bytes, not JSON; the first 512"
    assert len(shown) < 2100
    lines = list(body_lines(json.dumps(list(range(5000)), separators=(",", ":")).encode()))
    assert len(lines) == 202
    assert "4,802 lines more" in lines[-1]
    (_, line) = body_lines(json.dumps("x" * 5000).encode())
    assert line.endswith("…")


def test_programs_get_the_very_bytes_of_a_body() -> None:
    facts = body_facts(b'{"a": 1}')
    assert facts["body"] == {"a": 1}
    assert facts["body_bytes"] == 8
    assert b64decode(facts["body_base64"]) == b'{"a": 1}'


def test_an_error_is_told_to_programs_whole() -> None:
    error = TaskError(type="A", message="m", traceback="t", attempt=2, at_ms=7)
    facts = {"type": "A", "message": "m", "traceback": "t", "attempt": 2, "at_ms": 7}
    assert error_facts(error) == facts
    assert error_facts(None) is None


@given(st.binary() | texts.map(lambda text: json.dumps(text, ensure_ascii=False).encode()))
def test_no_body_reaches_the_terminal_unseen(body: bytes) -> None:
    assert all(line.isprintable() for line in body_lines(body))


@given(texts, texts)
def test_no_error_reaches_the_terminal_unseen(text: str, more: str) -> None:
    error = TaskError(type=text, message=more, traceback=text + "\n" + more)
    assert all(line.isprintable() for line in history_lines([error], NOW_MS))
