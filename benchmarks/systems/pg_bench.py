"""One system over Postgres: what is measured is the same for all, what differs is `pg_NAME.py`.

python pg_bench.py throughput|latency|backlog|… COUNT NAME, with BENCH_URL in the environment

A system's module has what `redis_bench.py` asks for. Each phase has a server that is as new as its
first table, so what the write-ahead log grows by is what this system has written.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from types import ModuleType

import psycopg
from measure import Figures, arguments
from redis_bench import backlog, fill, latency, worker
from redis_tally import URL

SETTLED_S = 1.5
"""After the start of the last task, until the last of its settlements is written."""


def written() -> int:
    """Return how many bytes the server has written ahead since it was made."""
    with psycopg.connect(URL, autocommit=True) as connection:
        row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None
    return int(row[0])


async def drain(figures: Figures, system: ModuleType, figure: str, tasks: int) -> int:
    """Let a worker run that many; keep the rate and its cost, return what was written."""
    before = written()
    async with worker(system.__name__, tasks) as process:
        wall_s, cpu_s = await process.told()
        await asyncio.sleep(SETTLED_S)
        grown = written() - before
    figures.values[f"{figure}_per_s"] = (tasks - 1) / wall_s
    figures.values[f"{figure}_cpu_us"] = cpu_s / (tasks - 1) * 1e6
    return grown


async def throughput(system: ModuleType, count: int) -> Figures:
    figures = Figures()
    singles = count // 4
    await system.enqueue("nothing", 1)  # connects, and sets up what must be there
    before = written()
    with figures.rate("enqueue_per_s", singles):
        await system.enqueue("nothing", singles)
    figures.values["wal_enqueue_bytes"] = (written() - before) / singles
    many, before = count - singles - 1, written()
    with figures.rate("enqueue_many_per_s", many):
        await fill(system, "nothing", many)
    if not hasattr(system, "enqueue_many"):
        del figures.values["enqueue_many_per_s"]
    grown = (written() - before) / many
    grown += await drain(figures, system, "drain", count) / count
    figures.values["wal_bytes"] = grown
    before = written()
    await fill(system, "one", count)
    await drain(figures, system, "drain_results", count)
    figures.values["wal_results_bytes"] = (written() - before) / count
    return figures


async def measure(phase: str, system: ModuleType, count: int) -> None:
    phases = {"throughput": throughput, "latency": latency, "backlog": backlog}
    await system.open()
    figures = await (phases.get(phase) or system.PHASES[phase])(system, count)
    await system.close()
    figures.show()


def main() -> None:
    phase, count = arguments()
    system = importlib.import_module(f"pg_{sys.argv[3].removeprefix('pg_')}")
    run = getattr(system, "run", asyncio.run)
    if phase == "serve":
        system.serve()
    else:
        run(measure(phase, system, count))


if __name__ == "__main__":
    main()
