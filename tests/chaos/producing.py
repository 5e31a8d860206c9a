"""A producer in a process of its own: it writes down each id whose enqueue has returned.

python -m chaos.producing PLAN: the words of a `Plan`.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time

from chaos.app import pen, stem, work
from chaos.plan import Plan

from stem_core.model.errors import StoreError
from stem_core.testing.faults.history import What, now


async def produce(plan: Plan) -> None:
    """Enqueue what *plan* says; an error is written down, and the next call made."""
    dice = random.Random(plan.seed)
    began = time.monotonic()
    async with stem:
        for start in range(0, plan.count, plan.together):
            if plan.pace:
                await asyncio.sleep(began + start / plan.pace - time.monotonic())
            size = min(plan.together, plan.count - start)
            await _enqueue([dice.choice(plan.pauses_ms) for _ in range(size)])


async def _enqueue(pauses_ms: list[int]) -> None:
    try:
        if len(pauses_ms) == 1:
            jobs = [await work.enqueue(pauses_ms[0])]
        else:
            jobs = await stem.enqueue_many([work.call(pause_ms) for pause_ms in pauses_ms])
    except StoreError as error:
        pen.note(What.TROUBLE, detail=f"enqueue: {error}")
    else:
        pen.write(*[now(What.ACCEPTED, job.id) for job in jobs])


if __name__ == "__main__":
    asyncio.run(produce(Plan.read(sys.argv[1:])))
