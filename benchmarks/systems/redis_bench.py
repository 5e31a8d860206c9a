"""One system over Redis: what is measured is the same for all, what differs is `redis_NAME.py`.

python redis_bench.py throughput|latency|backlog COUNT NAME, with BENCH_URL in the environment

A system's module has ``open``, ``enqueue`` and ``close`` as coroutine functions, maybe
``enqueue_many``, and ``serve``, which is the worker's process and never returns. Its tasks
are ``nothing``, ``one`` (whose result is kept) and ``mark``.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import ModuleType
from urllib.parse import urlsplit

from measure import Figures, arguments
from redis_tally import TASKS, URL, WORD

PATIENCE_S = 100
SMALL = 20_000
"""What a backlog is compared with; of fewer, too many are not settled when the last one runs."""

MANY = 10_000


class WorkerProcess:
    """The other process; it tells in lines that begin with a word of ours."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def told(self) -> list[float]:
        """Return the next figures that the worker tells."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            async for line in self._process.stdout:
                word, _, figures = line.decode().partition(" ")
                if word == WORD:
                    return list(json.loads(figures))
        raise RuntimeError("the worker has ended")


@asynccontextmanager
async def worker(name: str, tasks: int = 0) -> AsyncIterator[WorkerProcess]:
    """Run a worker for the block; it tells when that many *tasks* have run."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, sys.argv[0], "serve", "0", name),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, TASKS: str(tasks)},
    )
    try:
        yield WorkerProcess(process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def drain(figures: Figures, system: ModuleType, figure: str, tasks: int) -> None:
    """Let a worker run that many, and keep the rate and what a task cost it."""
    async with worker(system.__name__, tasks) as process:
        wall_s, cpu_s = await process.told()
    figures.values[f"{figure}_per_s"] = (tasks - 1) / wall_s
    figures.values[f"{figure}_cpu_us"] = cpu_s / (tasks - 1) * 1e6


async def fill(system: ModuleType, task: str, count: int) -> None:
    """Enqueue in the fastest way."""
    if not hasattr(system, "enqueue_many"):
        await system.enqueue(task, count)
        return
    for _ in range(count // MANY):
        await system.enqueue_many(task, MANY)
    if rest := count % MANY:
        await system.enqueue_many(task, rest)


def forget_all() -> None:
    """Empty the server."""
    where = urlsplit(URL)
    with socket.create_connection((where.hostname, where.port)) as line:
        line.sendall(b"FLUSHALL\r\n")
        line.recv(64)


async def throughput(system: ModuleType, count: int) -> Figures:
    figures = Figures()
    singles = count // 2
    await system.enqueue("nothing", 1)  # connects, and sets up what must be there
    with figures.rate("enqueue_per_s", singles):
        await system.enqueue("nothing", singles)
    if hasattr(system, "enqueue_many"):
        with figures.rate("enqueue_many_per_s", MANY):
            await system.enqueue_many("nothing", MANY)
        forget_all()  # some would drain so many for a minute
        singles = -1
    await fill(system, "nothing", count - singles - 1)
    await drain(figures, system, "drain", count)
    await fill(system, "one", count)
    await drain(figures, system, "drain_results", count)
    return figures


async def backlog(system: ModuleType, count: int) -> Figures:
    """Drain some thousand, then the same from behind *count* that wait."""
    figures = Figures()
    await fill(system, "nothing", SMALL)
    await drain(figures, system, "drain_small", SMALL)
    await fill(system, "nothing", count)
    await drain(figures, system, "drain_backlog", count)
    return figures


async def latency(system: ModuleType, count: int) -> Figures:
    """From the call in this process to the first line of the task in another."""
    seconds = []
    async with worker(system.__name__) as process:
        await system.enqueue("mark", 1)
        await process.told()
        for _ in range(count):
            await asyncio.sleep(0.02)
            asked = time.monotonic()
            await system.enqueue("mark", 1)
            (started,) = await process.told()
            seconds.append(started - asked)
    figures = Figures()
    figures.latency(seconds)
    return figures


async def measure(phase: str, system: ModuleType, count: int) -> None:
    phases = {"throughput": throughput, "latency": latency, "backlog": backlog}
    await system.open()
    figures = await (phases.get(phase) or system.PHASES[phase])(system, count)
    await system.close()
    figures.show()


def main() -> None:
    phase, count = arguments()
    system = importlib.import_module(f"redis_{sys.argv[3].removeprefix('redis_')}")
    if phase == "serve":
        system.serve()
    else:
        run = getattr(system, "run", asyncio.run)
        run(measure(phase, system, count))


if __name__ == "__main__":
    main()
