"""Calls that nobody awaits, and who forgot it.

Rule of this module: it knows nothing of tasks, and costs a call a third of a microsecond.
"""

from __future__ import annotations

import inspect
import logging
from sys import _getframe
from types import CodeType

__all__ = ["Pending", "dropped"]

_log = logging.getLogger("stem.producer")


class Pending:
    """Travels in a coroutine that was made and has not run yet; logs an error if it never does.

    The coroutine sets `code` to None in its first step. A coroutine that is dropped
    before that drops this too. Where Python's own warning names the line that
    collected it, this names the line that made it: the caller's caller. It keeps the
    place as a number, for a frame would keep every local variable alive.
    """

    __slots__ = ("at", "code")

    def __init__(self) -> None:
        frame = _getframe(2)
        self.code: CodeType | None = frame.f_code
        self.at: int = frame.f_lasti

    def __del__(self) -> None:
        if self.code is not None:
            _log.error(
                "%s: a call was never awaited, so nothing was sent. Write `await` before it, "
                "or use `.blocking` where there is no event loop.",
                _place(self.code, self.at),
            )


def dropped(given: object) -> None:
    """Close *given* if it is a coroutine that never ran, without a word: an error says so."""
    if inspect.iscoroutine(given):
        for value in inspect.getcoroutinelocals(given).values():
            if isinstance(value, Pending):
                value.code = None
        given.close()


def _place(code: CodeType, at: int) -> str:
    lines = (line for start, end, line in code.co_lines() if start <= at < end and line)
    return f"{code.co_filename}:{next(lines, code.co_firstlineno)} in {code.co_qualname}"
