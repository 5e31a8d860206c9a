"""The tasks of a long run: each kind of end that a task can come to, in fixed proportions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from stem_core import Retry, TaskContext, TaskRegistry
from stem_core.model.unique import Unique
from stem_core.producer.tasks import Call

__all__ = ["calls", "tasks"]

tasks: Final = TaskRegistry()

_PERIOD: Final = 50


@tasks.task(name="soak.quick")
async def quick(number: int) -> dict[str, int]:
    return {"number": number}


@tasks.task(name="soak.threaded")
def threaded(number: int) -> int:
    time.sleep(0.0005)
    return number


@tasks.task(name="soak.again", context=True)
async def again(ctx: TaskContext, number: int) -> int:
    if ctx.attempt == 1:
        raise Retry(after="10ms")
    return number


@tasks.task(name="soak.fails", max_retries=0)
async def fails(number: int) -> None:
    raise ValueError(number)


@tasks.task(name="soak.parent", context=True)
async def parent(ctx: TaskContext, number: int) -> None:
    ctx.progress({"number": number})
    ctx.enqueue(quick.call(number))


def calls(first: int, count: int, *, follow_ups: bool) -> Iterator[Call[Any]]:
    """Yield calls for *count* tasks, numbered from *first*.

    With *follow_ups* some of them enqueue another one, whose id a store remembers for ten
    minutes, for its parent may run again.
    """
    number, last = first, first + count
    while number < last:
        kind = number % _PERIOD
        match kind:
            case 0 if follow_ups and last - number >= 2:
                yield parent.call(number)
                number += 1
            case 1:
                yield fails.call(number)
            case 2 | 3:
                yield again.call(number)
            case 4 | 5:
                yield threaded.call(number)
            case 6:
                yield quick.using(delay="20ms").call(number)
            case 7:
                unique = Unique(until="window", window="1s")
                yield quick.using(unique=unique).call(number)
            case _:
                yield quick.call(number)
        number += 1
