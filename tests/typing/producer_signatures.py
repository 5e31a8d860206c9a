"""Every kind of signature that a task may have, as a type checker sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import wraps
from typing import Any, Literal, NotRequired, ParamSpec, TypedDict, TypeVar, assert_type

from stem_core import (
    BlockingJob,
    Call,
    CancelStatus,
    Duration,
    Job,
    RetryPolicy,
    State,
    Stem,
    Task,
    TaskContext,
    TaskOptions,
    TaskStatus,
    Unique,
)

stem = Stem("memory://")
P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class Order:
    number: int


class Size(Enum):
    SMALL = "small"


class Row(TypedDict):
    key: str
    weight: NotRequired[float]


def timed(fn: Callable[P, R]) -> Callable[P, R]:
    @wraps(fn)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        return fn(*args, **kwargs)

    return inner


@stem.task
async def only_positional(order: Order, /) -> Order:
    return order


@stem.task
async def only_by_name(*, order: Order, size: Size = Size.SMALL) -> Decimal:
    return Decimal(order.number)


@stem.task(queue="rows")
def rows(given: Sequence[Row], mode: Literal["fast", "safe"] = "safe") -> Mapping[str, Row]:
    return {row["key"]: row for row in given}


@stem.task
async def maybe(when: datetime, after: timedelta | None = None) -> tuple[int, str] | None:
    return None


@stem.task
async def whatever(payload: dict[str, Any]) -> Any:
    return payload


@stem.task
def nothing() -> None: ...


@stem.task
@timed
async def wrapped(number: int) -> str:
    return str(number)


@stem.task(context=True)
@timed
async def wrapped_with_context(ctx: TaskContext, number: int) -> bytes:
    return ctx.id.encode() * number


@stem.task(context=True)
async def follows(ctx: TaskContext, *, order: Order) -> list[str]:
    assert_type(ctx.enqueue(rows.call([])), Job[Mapping[str, Row]])
    assert_type(ctx.enqueue(only_by_name.using(delay="5m").call(order=order)), Job[Decimal])
    assert_type(ctx.enqueue(stem.call("other.task"), now=True), Job[Any])
    assert_type(await ctx.complete(object(), ["x"]), list[str])
    assert_type(ctx.attempt, int)
    assert_type(ctx.parent, str | None)
    assert_type(ctx.headers, Mapping[str, str])
    assert_type(ctx.cancelled, bool)
    assert_type(TaskContext.current(), TaskContext | None)
    ctx.enqueue(rows)  # E: a task is no call of it
    ctx.enqueue("rows", [])  # E: a call
    ctx.attempt = 2  # E: it is told, not asked
    ctx.atempt  # E: a typo
    await ctx.complete()  # E: in whose transaction
    return []


# ── parameters ───────────────────────────────────────────────────────────────


async def kinds_of_parameters() -> None:
    assert_type(await only_positional.enqueue(Order(1)), Job[Order])
    assert_type(await only_by_name.enqueue(order=Order(1)), Job[Decimal])
    assert_type(await rows.enqueue([{"key": "a"}], "fast"), Job[Mapping[str, Row]])
    assert_type(await maybe.enqueue(datetime.now(), after=None), Job[tuple[int, str] | None])
    assert_type(await whatever.enqueue({}), Job[Any])
    assert_type(await nothing.enqueue(), Job[None])
    assert_type(await wrapped.enqueue(1), Job[str])
    assert_type(await wrapped_with_context.enqueue(number=1), Job[bytes])
    assert_type(await follows.enqueue(order=Order(1)), Job[list[str]])
    await only_positional.enqueue(order=Order(1))  # E: not by name
    await only_positional.enqueue({"number": 1})  # E: an Order, not how it travels
    await only_by_name.enqueue(Order(1))  # E: by name only
    await only_by_name.enqueue(order=Order(1), size="small")  # E: a Size
    await only_by_name.enqueue(size=Size.SMALL)  # E: order is missing
    await rows.enqueue([{"kye": "a"}])  # E: no such key
    await rows.enqueue([{"key": 1}])  # E: a str
    await rows.enqueue([], "quick")  # E: no such mode
    await maybe.enqueue("2030-01-01")  # E: a datetime
    await maybe.enqueue(datetime.now(), 5)  # E: a timedelta
    await whatever.enqueue([])  # E: a dict
    await nothing.enqueue(1)  # E: it takes nothing
    await wrapped.enqueue("1")  # E: an int
    await wrapped_with_context.enqueue("1")  # E: an int
    await follows.enqueue(Order(1))  # E: by name only
    rows([{"kye": "a"}])  # E: called here and now, the same


async def results() -> None:
    job = await maybe.enqueue(datetime.now())
    assert_type(await job.result(), tuple[int, str] | None)
    assert_type(await job.status(), TaskStatus | None)
    assert_type(await job.cancel("reason"), CancelStatus)
    assert_type((job.id, job.created), tuple[str, bool])
    assert_type(await (await nothing.enqueue()).result(timeout=timedelta(seconds=1)), None)
    waiting: BlockingJob[str] = wrapped.blocking.enqueue(1)
    assert_type(waiting.result(timeout=1.5), str)
    anything: Job[object] = await wrapped.enqueue(1)
    numbers: Job[float] = await total.enqueue(1)
    text: Job[str] = await total.enqueue(1)  # E: an int comes back
    (await wrapped.enqueue(1)).upper()  # E: a job, not its result
    await (await wrapped.enqueue(1))  # E: the result is asked for
    await job.result(5)  # E: timeout by name
    await job.result(timeout=[1])  # E: a duration
    print(anything, numbers, text)


@stem.task
def total(number: int) -> int:
    return number


async def together() -> None:
    mixed = await stem.enqueue_many([wrapped.call(1), nothing.call()])
    assert_type(mixed, list[Job[str | None]])
    named = await stem.enqueue_many(stem.call("a", {"n": n}) for n in range(3))
    assert_type(named, list[Job[Any]])
    assert_type(rows.using(priority=9).call([]), Call[Mapping[str, Row]])
    await stem.enqueue_many(wrapped.call(1))  # E: several
    await stem.enqueue_many([wrapped])  # E: a task is no call of it
    await stem.enqueue_many([wrapped.call("1")])  # E: an int


def of_a_status(status: TaskStatus) -> None:
    assert_type(status.state, State)
    assert_type(status.state.is_terminal, bool)
    status.state = State.DEAD  # E: it is frozen
    status.stat  # E: a typo


def takes_any_task(task: Task[..., Any, ..., Any]) -> str:
    return task.name


takes_any_task(rows)
takes_any_task(wrapped_with_context)
takes_any_task(len)  # E: a function is no task


# ── options ──────────────────────────────────────────────────────────────────

span: Duration = "1h30m"
span = timedelta(minutes=5)
span = 90
span = [90]  # E: no duration

TaskOptions()
TaskOptions(queue="q", max_retries=0, priority=9, rate_limit="10/s", ack_early=True)
TaskOptions(isolation="process", soft_time_limit="30s", hard_time_limit=60, expires=None)
TaskOptions(unique=True, visibility_timeout=timedelta(seconds=1), ignore_result=False)
TaskOptions(unique=("order", "size"), retry_policy=RetryPolicy(), expires=datetime.now())
TaskOptions("q")  # E: by name
TaskOptions(quue="q")  # E: a typo
TaskOptions(isolation="proces")  # E: no such isolation
TaskOptions(unique="order")  # E: a tuple of names
TaskOptions(unique=(1,))  # E: of names
TaskOptions(ack_early="yes")  # E: a bool
TaskOptions(rate_limit=10)  # E: per what
TaskOptions(retry_policy="exponential")  # E: a RetryPolicy
TaskOptions(hard_time_limit=datetime.now())  # E: a span
TaskOptions(queue="q").queue = "r"  # E: it is frozen
TaskOptions.of(soft_time_limit="1s", unique=Unique(by=("order",), until="started"))
TaskOptions.of(soft_time_limt="1s")  # E: a typo

Unique(by=("order",), until="window", window="1h")
Unique(by="order")  # E: a tuple of names
Unique(until="done")  # E: no such end
Unique(until=None)  # E: no such end

RetryPolicy(base="1s", cap=timedelta(minutes=5), multiplier=3, jitter=False)
RetryPolicy(retry_on=(TimeoutError, "shop.errors.Busy"), never_retry_on=[ValueError])
RetryPolicy("1s")  # E: by name
RetryPolicy(base=None)  # E: a duration
RetryPolicy(retry_on=[3])  # E: classes or names
RetryPolicy(retry_on=ValueError)  # E: several


@stem.task(queue="q", max_retries=3, unique=("number",), isolation="thread", rate_limit="1/s")
def fully(number: int) -> int:
    return number


@stem.task(isolation="inlin")  # E: no such isolation
def misplaced() -> None: ...


@stem.task(unique=Unique(until="finish"))  # E: no such end
def misunique() -> None: ...


@stem.task(delay="5m")  # E: a call has a delay, a task has none
def delayed() -> None: ...


@stem.task(aliases=[1])  # E: names
def misnamed() -> None: ...


@stem.task("billing.charge")  # E: by name=
def named_by_place() -> None: ...
