"""Waiting no longer than a deadline, at no cost when there is nothing to wait for.

Rule of this module: it knows coroutines and seconds, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

__all__ = ["within"]

T = TypeVar("T")


async def within(deadline_s: float, call: Coroutine[Any, Any, T]) -> T:
    """Return what *call* returns, or raise `TimeoutError` after *deadline_s*.

    A call that never waits is run without a timer: for a store in memory the timer
    would cost as much as the work.
    """
    try:
        waits_for = call.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    async with asyncio.timeout(deadline_s):
        return await _resumed(call, waits_for)


@coroutine
def _resumed(call: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Go on with *call*, which was driven until it first waited."""
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
