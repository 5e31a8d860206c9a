"""A program that holds a store in its memory, a worker, and a producer that hears orders.

Orders come as lines of its standard input; answers are files that the orders name. When the
input ends, so does the program. Its worker ends as any other one does, by a signal.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from chaos.app import pen
from chaos.ledger import letters_of
from chaos.names import ENDED
from chaos.perils import make, stem

from stem_core import TaskOptions, Worker
from stem_core.testing.faults.history import History, What, now
from stem_core.testing.faults.truth import commits_told, truth_of


async def main() -> None:
    """Work, and do what is asked."""
    async with stem:
        working = asyncio.create_task(work())
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            order = json.loads(line)
            answer = await ORDERS[order["do"]](**order["with"])
            put(Path(order["to"]), answer)
        working.cancel()


async def work() -> None:
    """Run a worker until it is told to end; write down how it did."""
    worker = Worker(stem, app=make)
    await worker.start()
    worker.install_signals()
    put(Path(ENDED), await worker.ended())


async def enqueue(task: str, args: list[dict[str, Any]], options: dict[str, Any]) -> list[str]:
    """Enqueue *task* with each of *args*; return the ids."""
    given = TaskOptions(**options)
    jobs = await stem.enqueue_many([stem.call(task, each, options=given) for each in args])
    pen.write(*[now(What.ACCEPTED, job.id) for job in jobs])
    return [job.id for job in jobs]


async def truth(ids: list[str], history: str) -> Any:
    """Return what the store holds of *ids*."""
    lane = await stem.lane()
    commits = await asyncio.to_thread(lambda: commits_told(History.of(history)))
    return await truth_of(ids, lookup=lane.lookup, load=lane.load, commits=commits)


async def letters() -> Any:
    """Return the dead letters by id."""
    return await letters_of((await stem.lane()).broker)


ORDERS: dict[str, Callable[..., Awaitable[Any]]] = {
    "enqueue": enqueue,
    "truth": truth,
    "letters": letters,
}


def put(path: Path, answer: Any) -> None:
    """Write *answer* to *path*: whoever sees the file sees all of it."""
    part = path.with_suffix(".part")
    part.write_bytes(pickle.dumps(answer))
    os.replace(part, path)


if __name__ == "__main__":
    asyncio.run(main())
