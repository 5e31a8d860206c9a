"""Waiting for a call that most often never waits, at no cost when it does not.

Rule of this module: it drives coroutines, and knows nothing else. A call to a store in
memory ends in its first step; a timer around it would cost as much as its work.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, Generic, TypeVar

__all__ = ["Begun", "resumed"]

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


class Begun(Generic[T]):
    """A call that has made its first step: what it sends is on its way while others run.

    Attributes:
        is_over: it ended in that step, without waiting.
    """

    __slots__ = ("_call", "_error", "_value", "_waits_for", "is_over")

    def __init__(self, call: Coroutine[Any, Any, T]) -> None:
        self._call = call
        self._error: BaseException | None = None
        self.is_over = True
        try:
            self._waits_for = call.send(None)
            self.is_over = False
        except StopIteration as done:
            self._value: T = done.value
        except BaseException as error:
            self._error = error

    async def rest(self) -> T:
        """Return what the call returns; to be awaited once."""
        if not self.is_over:
            return await resumed(self._call, self._waits_for)
        if self._error is not None:
            raise self._error
        return self._value

    def drop(self) -> None:
        """Give the call up in the middle, as the end of its loop would."""
        self._call.close()
