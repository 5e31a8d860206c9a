"""Tasks and their calls, as a type checker sees them."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from stem_core import Call, Job, RetryPolicy, Stem, TaskContext, TaskRegistry, Unique

stem = Stem("memory://")


@stem.task(name="billing.charge", queue="billing", max_retries=5)
async def charge(customer: str, amount: int = 1) -> str:
    return "x"


@stem.task
def area(width: float, height: float) -> float:
    return width * height


@stem.task(context=True, aliases=["old.export"])
async def export(ctx: TaskContext, year: int, note: str | None = None) -> list[int]:
    ctx.enqueue(charge.call("a", 1))
    ctx.enqueue(charge.call("a", "1"))  # E: amount is an int
    ctx.enqueue(charge.enqueue("a"))  # E: a call, not a coroutine
    ctx.progress({"done": 1})
    return [year]


@stem.task(context=True)
def count(ctx: TaskContext, number: int) -> int:
    return number


@stem.task
async def anything(payload: Any) -> None: ...


# ── a call here and now keeps the signature ──────────────────────────────────


async def here_and_now(ctx: TaskContext) -> None:
    assert_type(await charge("ada", 1), str)
    assert_type(area(1.0, height=2), float)
    assert_type(await export(ctx, 2025, note="n"), list[int])
    assert_type(count(ctx, 1), int)
    await charge(1)  # E: customer is a str
    area("1", 2)  # E: width is a float
    count(1)  # E: the context is needed here


# ── a call somewhere else leaves out the context ─────────────────────────────


async def somewhere_else() -> None:
    assert_type(await charge.enqueue("ada", amount=2), Job[str])
    assert_type(await area.enqueue(1.0, 2.0), Job[float])
    assert_type(await export.enqueue(2025), Job[list[int]])
    assert_type(await count.enqueue(number=1), Job[int])
    assert_type(await (await charge.enqueue("ada")).result(timeout="10s"), str)
    assert_type(charge.call("ada"), Call[str])
    assert_type(export.call(2025, note=None), Call[list[int]])
    await anything.enqueue({"x": [1]})
    await charge.enqueue()  # E: customer is missing
    await charge.enqueue("ada", amuont=2)  # E: a typo
    await charge.enqueue("ada", amount="2")  # E: amount is an int
    await charge.enqueue("ada", 1, 2)  # E: one too many
    await export.enqueue("2025")  # E: year is an int
    await charge.enqueue("ada", delay="5m")  # E: how it is sent goes through using
    charge.call("ada", amount=None)  # E: amount is an int
    charge.enqueue("ada")  # E: nobody awaits it


# ── how it is sent ───────────────────────────────────────────────────────────


async def in_another_way() -> None:
    later = charge.using(delay="5m", priority=5).using(queue="fast", max_retries=0)
    assert_type(await later.enqueue("ada"), Job[str])
    assert_type(await export.using(headers={"traceparent": "x"}).enqueue(1), Job[list[int]])
    charge.using(
        not_before=datetime.now(UTC) + timedelta(minutes=5),
        retry_policy=RetryPolicy(base="1s", cap=60),
        visibility_timeout=timedelta(seconds=30),
        soft_time_limit=1.5,
        hard_time_limit=None,
        expires="1h",
        isolation="thread",
        unique=Unique(by=("customer",)),
        ignore_result=True,
        meta={"by": 7},
        task_id="mine",
        connection=object(),
    )
    RetryPolicy(bsae="1s")  # E: a typo
    RetryPolicy(jitter="some")  # E: no such jitter
    RetryPolicy(multiplier="2")  # E: a number
    Unique(bye=("customer",))  # E: a typo
    Unique(until="stopped")  # E: no such end
    charge.using(unique=Unique(window=[1]))  # E: a duration
    await later.enqueue(1)  # E: customer is a str
    charge.using(dealy="5m")  # E: a typo
    charge.using(max_retries="3")  # E: an int
    charge.using(isolation="fork")  # E: no such isolation
    charge.using(headers={"n": 1})  # E: headers are text
    charge.using(priority=None)  # E: not given is left out, not None
    charge.using(customer="ada")  # E: an argument of the task
    later("ada")  # E: a way to send, not a function


# ── without an event loop ────────────────────────────────────────────────────


def waiting() -> None:
    assert_type(charge.blocking.enqueue("ada", 1).result(timeout=10), str)
    assert_type(export.using(queue="q").blocking.enqueue(2025).result(), list[int])
    charge.blocking.enqueue(1)  # E: customer is a str
    count.blocking.enqueue()  # E: number is missing


# ── decorating ───────────────────────────────────────────────────────────────


@stem.task(max_retrys=3)  # E: a typo
def mistyped() -> None: ...


@stem.task(priority="high")  # E: an int
def misvalued() -> None: ...


@stem.task(context=True)  # E: its first parameter is no TaskContext
def without_context(number: int) -> None: ...


@stem.task
async def forgot_to_say_so(ctx: TaskContext, number: int) -> None: ...


async def nobody_can_give_a_context() -> None:
    await forgot_to_say_so.enqueue(number=3)  # E: ctx is missing


# ── without a Stem ───────────────────────────────────────────────────────────

tasks = TaskRegistry()


@tasks.task(name="shop.pack", context=True, queue="pack")
async def pack(ctx: TaskContext, order: int) -> bool:
    return True


@tasks.task
def unpack(order: int) -> bool:
    return True


stem.include(tasks)
stem.include("shop.tasks")  # E: a registry or a module


async def of_a_registry() -> None:
    assert_type(await pack.enqueue(7), Job[bool])
    assert_type(unpack(7), bool)
    await pack.enqueue("7")  # E: order is an int


def a_coroutine_is_a_coroutine() -> Coroutine[Any, Any, Job[str]]:
    return charge.enqueue("ada")
