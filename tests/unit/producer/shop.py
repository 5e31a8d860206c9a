"""Tasks and types that the tests of the producer use."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from attrs import frozen

from stem_core.producer.context import TaskContext
from stem_core.producer.registry import TaskRegistry

if TYPE_CHECKING:
    from stem_core.producer.context import TaskContext as Context

tasks = TaskRegistry()


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@frozen(kw_only=True)
class Order:
    number: int
    colour: Colour
    at: datetime


@tasks.task(name="billing.charge", queue="billing", max_retries=5)
async def charge(customer: str, amount: int = 1) -> str:
    return f"{customer} paid {amount}"


@tasks.task
def describe(order: Order, note: str | None = None) -> Order:
    return order


@tasks.task
async def anything(payload: Any = None) -> Any:
    return payload


@tasks.task(context=True, aliases=["shop.old_export"])
async def export(ctx: TaskContext, year: int) -> int:
    ctx.enqueue(charge.call("follow-up", amount=year))
    ctx.progress({"year": year})
    return year


@tasks.task(context=True)
def quiet(ctx: Context, year: int) -> int:
    """Annotated with a name that only checkers know."""
    return year


@tasks.task
async def later(order: Unborn) -> Unborn:
    """Annotated with a class that comes further down."""
    return order


@frozen
class Unborn:
    name: str


def plain(first: str, second: int) -> None:
    """No task."""
