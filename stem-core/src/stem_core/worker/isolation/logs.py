"""The log of a child: it is written by the worker, beside the worker's own lines.

Rule of this module: a record crosses as text. What its arguments say of themselves is
other people's code, and runs in the child.
"""

from __future__ import annotations

import logging

from stem_core.worker.isolation.link import Link
from stem_core.worker.isolation.wire import Line

__all__ = ["log_through", "write"]


class _Through(logging.Handler):
    """Sends records to the worker."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link
        self._format = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        if not self._link.is_ours:  # a fork that a task has made has no worker
            return
        try:
            self._link.send(self._line(record))
        except Exception:
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> Line:
        trace = record.exc_text
        if record.exc_info and not trace:
            trace = self._format.formatException(record.exc_info)
        return Line(
            name=record.name,
            level=record.levelno,
            message=_sayable(record.getMessage()),
            created=record.created,
            pathname=_sayable(record.pathname),
            lineno=record.lineno,
            function=record.funcName,
            thread=record.threadName,
            trace=None if trace is None else _sayable(trace),
        )


def _sayable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def log_through(link: Link, level: int) -> None:
    """Send all that is logged here to the worker, and to nobody else that the root logger has.

    What the application has set up for itself is written there: once is enough.
    """
    root = logging.getLogger()
    root.handlers[:] = [_Through(link)]
    root.setLevel(level)


def write(line: Line, process: int) -> None:
    """Log *line*, in the worker, where its logger wants it."""
    logger = logging.getLogger(line.name)
    if not logger.isEnabledFor(line.level):
        return
    record = logging.LogRecord(
        line.name, line.level, line.pathname, line.lineno, line.message, None, None, line.function
    )
    record.created = line.created
    record.msecs = int(line.created % 1 * 1000)
    record.process, record.threadName = process, line.thread
    record.exc_text = line.trace
    record.stem_trace = line.trace or ""
    logger.handle(record)
