"""A call on its way, which complains when nobody awaits it.

Rule of this module: it knows nothing of tasks. It wraps one coroutine.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Coroutine, Generator
from types import CodeType, TracebackType
from typing import Any, TypeVar

__all__ = ["Sending"]

T = TypeVar("T")

_log = logging.getLogger("stem.producer")


class Sending(Coroutine[Any, Any, T]):
    """A coroutine that logs an error with its call site when it is dropped unawaited.

    Where Python's own warning names the line that collected it, this names the
    line that made it. It keeps the place as numbers, for a frame would keep every
    local variable alive.
    """

    __slots__ = ("_at", "_code", "_coroutine", "_driven")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        """Wrap *coroutine*; the call site is the caller's caller."""
        self._coroutine: Coroutine[Any, Any, T] | None = coroutine
        frame = sys._getframe(2)
        self._code: CodeType = frame.f_code
        self._at: int = frame.f_lasti

    def __await__(self) -> Generator[Any, Any, T]:
        coroutine = self._taken()
        self._coroutine = None
        return coroutine.__await__()

    # The rest of the coroutine protocol, for asyncio.create_task and its kin.

    def send(self, value: Any, /) -> Any:
        return self._driving().send(value)

    def throw(
        self,
        kind: Any,
        value: Any = None,
        traceback: TracebackType | None = None,
        /,
    ) -> Any:
        error = kind if value is None else value
        if isinstance(error, type):
            error = error()
        return self._driving().throw(error.with_traceback(traceback) if traceback else error)

    def close(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()
            self._coroutine = None
        elif (driven := getattr(self, "_driven", None)) is not None:
            driven.close()

    def _driving(self) -> Coroutine[Any, Any, T]:
        if self._coroutine is not None:
            self._driven: Coroutine[Any, Any, T] = self._coroutine
            self._coroutine = None
        return self._driven

    def _taken(self) -> Coroutine[Any, Any, T]:
        if self._coroutine is None:
            raise RuntimeError("this call was awaited before; make another one")
        return self._coroutine

    def __del__(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()
            _complain(self._code, self._at)

    def __repr__(self) -> str:
        return f"<Sending from {_place(self._code, self._at)}>"


def _complain(code: CodeType, at: int) -> None:
    _log.error(
        "%s: a call was never awaited, so nothing was sent. Write `await` before it, "
        "or use `.blocking` where there is no event loop.",
        _place(code, at),
    )


def _place(code: CodeType, at: int) -> str:
    lines = (line for start, end, line in code.co_lines() if start <= at < end and line)
    return f"{code.co_filename}:{next(lines, code.co_firstlineno)} in {code.co_qualname}"
