"""The log: one line for each thing that happens, for people or for machines.

Rule of this module: every character that could move a cursor or start another line
is escaped, because names and error texts come from elsewhere.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from stem_core.contracts.observer import Event

__all__ = ["JsonFormatter", "LogFormat", "LogObserver", "TextFormatter", "configure_logging"]

LogFormat = Literal["auto", "text", "json"]
Facts = Callable[[], Mapping[str, str]]

_QUIET: Final = frozenset(
    {
        *("message-refused", "store-failed", "leases-renewed"),
        *("messages-vanished", "store-emptied"),
    }
)
"""Of these a stranger, or a store that is away, decides how many there are. The worker, or its
store, logs what is worth saying of them by itself, and not for each."""

_VERBS: Final = {
    "task-enqueued": (logging.DEBUG, "sent"),
    "task-started": (logging.DEBUG, "start"),
    "task-succeeded": (logging.INFO, "done"),
    "task-retried": (logging.WARNING, "retry"),
    "task-failed": (logging.ERROR, "failed"),
    "task-released": (logging.INFO, "back"),
    "task-cancelled": (logging.INFO, "cancel"),
    "lease-lost": (logging.WARNING, "lost"),
    "worker-started": (logging.INFO, "worker"),
    "worker-draining": (logging.INFO, "drain"),
    "worker-stopped": (logging.INFO, "stop"),
    "broker-lost": (logging.ERROR, "broker"),
    "broker-back": (logging.INFO, "broker"),
}
_COLOURS: Final = {
    logging.DEBUG: "2",
    logging.INFO: "32",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "1;31",
}
# C0 and C1 controls, and the marks that reorder text on the screen.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_NEEDS_QUOTES: Final = re.compile(r'[\s"=]|^$')


class LogObserver:
    """Writes events to the loggers ``stem.tasks`` and ``stem.worker``, their facts beside them."""

    def on_event(self, event: Event, /) -> None:
        """Log *event*."""
        if event.name in _QUIET:
            return
        level, verb = _VERBS.get(event.name, (logging.INFO, event.name))
        logger = logging.getLogger("stem.tasks" if event.task_id else "stem.worker")
        if logger.isEnabledFor(level):
            detail = dict(event.detail)
            trace = detail.pop("traceback", "")
            extra = {"stem_facts": _facts_of(event, detail), "stem_trace": trace}
            subject = event.task or event.worker
            logger.log(level, "%-6s %s", verb, subject, extra=extra)


def _facts_of(event: Event, detail: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {"event": event.name}
    if event.task_id:
        facts |= {"id": event.task_id, "task": event.task, "q": event.queue}
    if event.attempt:
        tries = detail.pop("tries", "")
        facts["try"] = f"{event.attempt}/{tries}" if tries else str(event.attempt)
    return facts | detail


class TextFormatter(logging.Formatter):
    """``12:00:01.123 INFO  done   email.send id=… q=default try=1/4 run=84ms``, in local time."""

    def __init__(self, *, colour: bool = False, facts: Facts | None = None) -> None:
        super().__init__()
        self._colour = colour
        self._facts = facts

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as one line, and its traceback on indented lines below."""
        moment = datetime.fromtimestamp(record.created).astimezone()
        clock = f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03}"
        level = f"{record.levelname:<5}"
        if self._colour:
            level = f"\x1b[{_COLOURS.get(record.levelno, '0')}m{level}\x1b[0m"
        facts = _all_facts(record, self._facts)
        # What happened, and to what task, stands in the message of an event.
        left_out = ("event", "task") if "event" in facts else ()
        pairs = " ".join(_pair(name, facts[name]) for name in facts if name not in left_out)
        line = f"{clock} {level} {_escaped(record.getMessage())} {pairs}".rstrip()
        trace = _trace_of(self, record)
        return line + "".join(f"\n    {_escaped(part)}" for part in trace.splitlines())


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, logger, message, and the facts under their own names."""

    def __init__(self, *, facts: Facts | None = None) -> None:
        super().__init__()
        self._facts = facts

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as one line of JSON."""
        line: dict[str, Any] = dict(_all_facts(record, self._facts))
        line |= {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": " ".join(record.getMessage().split()),
        }
        if trace := _trace_of(self, record):
            line["traceback"] = trace
        return json.dumps(line, default=str)


def _all_facts(record: logging.LogRecord, bound: Facts | None) -> dict[str, Any]:
    own: dict[str, Any] = getattr(record, "stem_facts", {})
    return own if bound is None or "id" in own else {**bound(), **own}


def _trace_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if record.exc_info:
        return formatter.formatException(record.exc_info)
    return str(getattr(record, "stem_trace", ""))


def _pair(name: str, value: object) -> str:
    text = f"{value}ms" if name.endswith("_ms") else _escaped(str(value))
    if _NEEDS_QUOTES.search(text):
        text = '"' + text.replace('"', r"\"") + '"'
    return f"{name.removesuffix('_ms')}={text}"


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def configure_logging(
    level: str = "INFO",
    format: LogFormat = "auto",
    *,
    stream: TextIO | None = None,
    facts: Facts | None = None,
) -> None:
    """Send the log of this process to *stream* (standard error) from *level* up.

    ``auto`` means text on a terminal and JSON elsewhere. Colours only on a terminal,
    and not when NO_COLOR is set. *facts* adds what is bound to the running task to the
    lines that task code logs. Called again it replaces what it set up before.
    """
    target = stream or sys.stderr
    on_terminal = target.isatty()
    handler = logging.StreamHandler(target)
    handler.set_name("stem")
    if format == "text" or (format == "auto" and on_terminal):
        colour = on_terminal and not os.environ.get("NO_COLOR")
        handler.setFormatter(TextFormatter(colour=colour, facts=facts))
    else:
        handler.setFormatter(JsonFormatter(facts=facts))
    root = logging.getLogger()
    for old in [each for each in root.handlers if each.get_name() == "stem"]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
