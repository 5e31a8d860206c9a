from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest

from stem_core.contracts.observer import Event
from stem_core.observe.log import JsonFormatter, LogObserver, TextFormatter, configure_logging


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def root_logger():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = handlers, level


def an_event(**changes) -> Event:
    facts: dict[str, Any] = {
        "name": "task-succeeded",
        "at_ms": 1,
        "task_id": "01JD",
        "task": "email.send",
        "queue": "default",
        "attempt": 1,
        "detail": {"tries": 4, "run_ms": 84},
    }
    return Event(**(facts | changes))


def logged(event: Event, stream: io.StringIO | None = None, **how) -> str:
    stream = stream or io.StringIO()
    configure_logging(stream=stream, **how)
    LogObserver().on_event(event)
    return stream.getvalue()


def test_a_line_for_people_says_what_happened_to_whom():
    line = logged(an_event(), format="text")
    assert line[12:] == " INFO  done   email.send id=01JD q=default try=1/4 run=84ms\n"


def test_a_line_for_machines_has_the_same_keys():
    line = json.loads(logged(an_event(), format="json"))
    assert line.pop("at").endswith("+00:00")
    assert line == {
        "event": "task-succeeded",
        "id": "01JD",
        "task": "email.send",
        "q": "default",
        "try": "1/4",
        "run_ms": 84,
        "level": "info",
        "logger": "stem.tasks",
        "message": "done email.send",
    }


@pytest.mark.parametrize(
    ("stream", "is_text"), [(Terminal(), True), (io.StringIO(), False)], ids=["tty", "pipe"]
)
def test_auto_means_text_on_a_terminal_and_json_elsewhere(stream, is_text, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    line = logged(an_event(), stream)
    assert line.startswith("{") is not is_text
    assert ("\x1b[" in line) is is_text


def test_no_color_is_honoured(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in logged(an_event(), Terminal())


HOSTILE = ["two\nlines", "\x1b[31mred", "\u202eright to left", "\x00", "\x9b", "\u2028"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("format", ["text", "json"])
def test_names_and_errors_cannot_forge_lines_or_move_the_cursor(text, format):
    line = logged(an_event(task=text, detail={"error": text}), format=format)
    assert line.endswith("\n")
    line = line[:-1]
    assert not any(character in line for character in text if not character.isprintable())


def test_a_failure_shows_its_traceback_below():
    trace = "Traceback (most recent call last):\n  boom\n"
    event = an_event(name="task-failed", detail={"error": "ValueError: boom", "traceback": trace})
    lines = logged(event, format="text").splitlines()
    assert 'error="ValueError: boom"' in lines[0]
    assert lines[1:] == ["    Traceback (most recent call last):", "      boom"]


def test_what_is_below_the_level_is_not_written():
    assert logged(an_event(name="task-started"), level="info") == ""


def test_lines_of_task_code_carry_what_is_bound_to_the_task():
    stream = io.StringIO()
    configure_logging("info", "text", stream=stream, facts=lambda: {"id": "01JD"})
    logging.getLogger("shop").info("charging %s", "ada")
    assert stream.getvalue()[12:] == " INFO  charging ada id=01JD\n"


def test_configuring_again_replaces_and_does_not_add():
    first, second = io.StringIO(), io.StringIO()
    configure_logging(stream=first)
    configure_logging(stream=second)
    logging.getLogger("shop").warning("once")
    assert (first.getvalue(), second.getvalue().count("once")) == ("", 1)


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_exceptions_of_other_loggers_are_kept(formatter):
    try:
        raise ValueError("boom")
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("shop", logging.ERROR, "f.py", 1, "oh", (), info)
    assert "ValueError: boom" in formatter.format(record)
