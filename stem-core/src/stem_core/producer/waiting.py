"""Waiting for a call that most often never waits, at no cost when it does not.

Rule of this module: it drives coroutines, and knows nothing else. A call to a store in
memory ends in its first step; a timer around it would cost as much as its work.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

__all__ = ["resumed"]

T = TypeVar("T")


@coroutine
def resumed(call: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Go on with *call*, whose first step ended with waiting for *waits_for*."""
    while True:
        thrown: BaseException | None = None
        sent: Any = None
        try:
            sent = yield waits_for
        except GeneratorExit:
            call.close()
            raise
        except BaseException as error:  # such as a cancellation: the call's business
            thrown = error
        try:
            waits_for = call.send(sent) if thrown is None else call.throw(thrown)
        except StopIteration as done:
            value: T = done.value
            return value
