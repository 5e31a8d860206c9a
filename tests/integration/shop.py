"""The application that the integration tests run: tasks at the top of a module, as in real life."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

from stem_core.model.errors import (
    Discard,
    Reject,
    Retry,
    Snooze,
    SoftTimeLimitExceeded,
)
from stem_core.model.retry import RetryPolicy
from stem_core.producer.client import Stem
from stem_core.producer.context import TaskContext

stem = Stem()

AT_ONCE = RetryPolicy(base=0, cap=0)

runs: Counter[str] = Counter()
"""How often each task ran, by a name that the test chose; tests clear it."""

seen: list[Any] = []
"""What tasks noted down, in order; tests clear it."""


class Gate:
    """Lets a test know that a task has begun, and the task know that it may end."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()


gate = Gate()


def begin_again() -> None:
    """Forget what earlier tests left."""
    runs.clear()
    seen.clear()
    gate.begun.clear()
    gate.open.clear()


@stem.task(name="hello.print")
async def hello(name: str) -> str:
    runs[name] += 1
    return f"Hello, {name}!"


@stem.task
async def add(a: int, b: int = 1) -> int:
    return a + b


@stem.task
def add_in_thread(a: int, b: int = 1) -> int:
    return a + b


@stem.task
async def note(what: str) -> None:
    seen.append(what)


@stem.task(max_retries=5, retry_policy=AT_ONCE)
async def always_fails(key: str = "always_fails") -> None:
    runs[key] += 1
    raise ValueError(f"failure number {runs[key]}")


@stem.task(retry_policy=AT_ONCE)
async def fails_twice(key: str) -> int:
    runs[key] += 1
    if runs[key] < 3:
        raise ConnectionError("the far end hung up")
    return runs[key]


@stem.task(max_retries=1)
async def says(what: str) -> str:
    runs[what] += 1
    if runs[what] > 1:
        return "came back"
    match what:
        case "retry":
            raise Retry("1m")
        case "snooze":
            raise Snooze("1m")
        case "discard":
            raise Discard("nobody needs it")
        case "reject":
            raise Reject("look at this")
        case "exit":
            raise SystemExit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "cancel itself":
            raise asyncio.CancelledError
        case _:
            return what


@stem.task(context=True)
async def who_am_i(ctx: TaskContext) -> dict[str, Any]:
    current = TaskContext.current()
    return {
        "id": ctx.id,
        "task": ctx.task,
        "queue": ctx.queue,
        "attempt": ctx.attempt,
        "headers": dict(ctx.headers),
        "meta": dict(ctx.meta),
        "is_current": current is ctx,
    }


@stem.task(context=True)
def who_am_i_in_a_thread(ctx: TaskContext) -> dict[str, Any]:
    current = TaskContext.current()
    return {
        "thread": threading.current_thread().name,
        "is_current": current is ctx,
        "headers": dict(ctx.headers),
    }


@stem.task
def which_thread() -> str:
    return threading.current_thread().name


@stem.task
async def which_thread_async() -> str:
    await asyncio.sleep(0)
    return threading.current_thread().name


@stem.task(context=True, retry_policy=AT_ONCE)
async def with_follow_ups(ctx: TaskContext, fail_first: bool = False) -> list[str]:
    later = ctx.enqueue(note.call("later"))
    at_once = ctx.enqueue(note.call("at once"), now=True)
    if fail_first and ctx.attempt == 1:
        raise ValueError("after it had enqueued")
    return [later.id, at_once.id]


@stem.task(context=True)
async def enqueues_under(ctx: TaskContext, id: str, now: bool = False) -> str:
    ctx.enqueue(note.using(task_id=id).call("the second"), now=now)
    return "done"


@stem.task(context=True)
async def reports(ctx: TaskContext) -> None:
    ctx.progress({"step": 1})
    ctx.progress({"step": 2})
    gate.begun.set()
    while not gate.open.is_set():
        await asyncio.sleep(0.001)


@stem.task
async def waits(key: str = "waits") -> str:
    """Until it is cancelled, or its gate is opened."""
    runs[key] += 1
    gate.begun.set()
    while not gate.open.is_set():
        await asyncio.sleep(0.001)
    return "gate open"


@stem.task
async def holds_up_the_loop() -> None:
    gate.begun.set()
    gate.open.wait(20)


@stem.task
async def ignores_cancellation() -> None:
    gate.begun.set()
    while not gate.open.is_set():
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            seen.append("ignored")


@stem.task(context=True)
def waits_in_thread(ctx: TaskContext, key: str = "thread") -> str:
    """Until somebody wants it to end, or its gate is opened."""
    runs[key] += 1
    gate.begun.set()
    while not gate.open.is_set():
        if ctx.cancelled:
            seen.append("noticed")
            raise RuntimeError("told to end")
        time.sleep(0.001)
    return "gate open"


@stem.task(soft_time_limit="10s", max_retries=0)
async def too_long(cleans_up: bool) -> str:
    gate.begun.set()
    try:
        await asyncio.sleep(3600)
    except SoftTimeLimitExceeded:
        if cleans_up:
            return "cleaned up in time"
        raise
    return "never reached"


@stem.task(soft_time_limit="10s", max_retries=0)
def too_long_in_thread(cleans_up: bool) -> str:
    gate.begun.set()
    try:
        while True:
            time.sleep(0.001)
    except SoftTimeLimitExceeded:
        if cleans_up:
            return "cleaned up in time"
        raise


@stem.task(hard_time_limit="10s", max_retries=0)
async def runs_into_its_hard_limit() -> None:
    gate.begun.set()
    await asyncio.sleep(3600)


@stem.task(visibility_timeout="30s")
async def blocks_the_loop() -> int:
    runs["blocks_the_loop"] += 1
    gate.begun.set()
    gate.open.wait(30)  # the mistake that a worker must survive
    return runs["blocks_the_loop"]


@stem.task
async def returns(kind: str) -> Any:
    runs["returns"] += 1
    return {
        "a set of objects": {object()},
        "bytes": b"x",
        "nan": float("nan"),
        "huge": "x" * 2_000_000,
        "an object": object(),
        "a surrogate": "\ud800",
    }[kind]


@stem.task(name="billing.charge", queue="billing", max_retries=5)
async def charge(customer_id: str, amount: int) -> str:
    runs["charge"] += 1
    return f"{customer_id}:{amount}"
