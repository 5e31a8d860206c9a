"""The application under fault: tasks that write down when they start and when they end."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from chaos.leash import on_a_leash
from chaos.names import FAILING, FOLLOWED, FUSE, HISTORY, HOST, LEAK, PLAIN, REJECTED
from chaos.witness import Fuse, Witness

from stem_core.model.errors import Reject
from stem_core.model.retry import RetryPolicy
from stem_core.producer.client import Stem
from stem_core.producer.context import TaskContext
from stem_core.testing.faults.history import Recorder, What

_LOOK_EVERY_S = 0.02

pen = Recorder(os.environ[HISTORY])
fuse = Fuse.read(os.environ[FUSE]) if os.environ.get(FUSE) else None
stem = Stem()
stem.plugins.register(Witness(pen, fuse, is_leaky=bool(os.environ.get(LEAK))))


@stem.task(name="chaos.work", context=True, retry_policy=RetryPolicy(base=0, cap=0))
async def work(
    ctx: TaskContext, pause_ms: int = 0, kind: str = PLAIN, until: str | None = None
) -> int:
    """Take *pause_ms*, wait for the file *until*, end as *kind* says; return this run's fence."""
    pen.note(What.STARTED, id=ctx.id, fence=ctx.fence, attempt=ctx.attempt)
    try:
        if pause_ms:
            await asyncio.sleep(pause_ms / 1000)
        while until is not None and not is_there(until):
            await asyncio.sleep(_LOOK_EVERY_S)
        end(ctx, kind)
    finally:
        pen.note(What.ENDED, id=ctx.id, fence=ctx.fence, attempt=ctx.attempt)
    return ctx.fence


def is_there(name: str) -> bool:
    """Say whether the trial has made this file."""
    return Path(name).exists()


def end(ctx: TaskContext, kind: str) -> None:
    """End as each of the ways that a settlement can take."""
    if kind == FOLLOWED:
        child = ctx.enqueue(work.call())
        pen.note(What.FOLLOWS, id=child.id, detail=ctx.id)
    elif kind == FAILING and ctx.attempt == 1:
        raise RuntimeError("on purpose")
    elif kind == REJECTED:
        raise Reject("on purpose")


if not os.environ.get(HOST):
    on_a_leash()
