"""The application that two releases run side by side.

It is run by each of them in turn, so it uses nothing that the earlier one lacks.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from stem_core import Reject, RetryPolicy, Stem, TaskContext

SIDE = os.environ.get("SHOP_SIDE", "")
"""Which release this process is of."""

SOON = RetryPolicy(base=0.3, cap=0.3)

stem = Stem()


def note(ctx: TaskContext) -> None:
    """Write down which release starts the task, and under which fence."""
    with Path(f"started-{ctx.id}").open("a") as file:
        file.write(f"{SIDE} {ctx.fence}\n")


@stem.task(name="shop.work", context=True)
async def work(ctx: TaskContext, n: int, pause_ms: int = 0) -> dict[str, Any]:
    """Take *pause_ms*; say who did it."""
    note(ctx)
    await asyncio.sleep(pause_ms / 1000)
    return {"n": n, "by": SIDE, "attempt": ctx.attempt}


@stem.task(name="shop.picky", context=True, max_retries=10_000, retry_policy=SOON)
async def picky(ctx: TaskContext, side: str) -> dict[str, Any]:
    """Fail in every release but *side*."""
    if side != SIDE:
        raise ValueError(f"this is {SIDE}")
    return {"by": SIDE, "attempt": ctx.attempt}


@stem.task(name="shop.reject", context=True)
async def reject(ctx: TaskContext, side: str) -> dict[str, Any]:
    """Be a dead letter in every release but *side*."""
    if side != SIDE:
        raise Reject(f"this is {SIDE}")
    return {"by": SIDE, "attempt": ctx.attempt}


@stem.task(name="shop.stuck", context=True)
async def stuck(ctx: TaskContext, side: str) -> dict[str, Any]:
    """Come to no end in every release but *side*."""
    note(ctx)
    ctx.progress({"by": SIDE})
    ends = time.monotonic() + 60
    while side != SIDE and time.monotonic() < ends:
        await asyncio.sleep(0.05)
    return {"by": SIDE, "fence": ctx.fence}


@stem.task(name="shop.parent", context=True)
async def parent(ctx: TaskContext, n: int) -> str:
    """Enqueue a task that the settling step publishes to a queue of its own; return its id."""
    return ctx.enqueue(work.using(queue="children").call(n)).id
