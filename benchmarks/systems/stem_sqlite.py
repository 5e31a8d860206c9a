"""Stem on sqlite://: the whole path, each call synced to the disk unless told otherwise.

python stem_sqlite.py throughput|latency|backlog COUNT full|normal
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import tempfile
import time

from measure import ARGS, Figures, arguments

from stem_core import Stem, Worker

logging.disable(logging.CRITICAL)
os.environ["STEM_PREFETCH_MULTIPLIER"] = "2"  # the file is at work while the tasks are
SMALL = 5_000
stem = Stem(broker=os.environ.get("BENCH_URL", "sqlite://"))
left = 0
done = asyncio.Event()


@stem.task(name="bench.nothing", ignore_result=True)
async def nothing(customer: str, amount: int) -> None:
    """Count down."""
    count_down()


@stem.task(name="bench.one")
async def one(customer: str, amount: int) -> int:
    """Count down, and return a value, which is stored in the settling step."""
    count_down()
    return 1


@stem.task(name="bench.mark", ignore_result=True)
async def mark(customer: str, amount: int) -> None:
    """Tell the other process when it started, on the clock that processes share."""
    print(time.monotonic(), flush=True)


def count_down() -> None:
    global left
    left -= 1
    if not left:
        done.set()


async def drain(count: int) -> None:
    """Start a worker and return when that many have run and are settled."""
    global left
    left = count
    done.clear()
    async with Worker(stem, concurrency=100):
        await done.wait()


async def throughput(count: int) -> None:
    figures = Figures()
    singles = count // 5
    await nothing.enqueue(*ARGS)  # opens the file
    with figures.rate("enqueue_per_s", singles):
        for _ in range(singles):
            await nothing.enqueue(*ARGS)
    with figures.rate("enqueue_many_per_s", count):
        await stem.enqueue_many([nothing.call(*ARGS) for _ in range(count)])
    with figures.rate("drain_per_s", count + singles + 1):
        await drain(count + singles + 1)
    await stem.enqueue_many([one.call(*ARGS) for _ in range(count)])
    with figures.rate("drain_results_per_s", count):
        await drain(count)
    await stem.aclose()
    figures.show()


async def backlog(count: int) -> None:
    """Drain a few thousand, then the same from behind *count* that wait."""
    figures = Figures()
    await stem.enqueue_many([nothing.call(*ARGS) for _ in range(SMALL)])
    with figures.rate("drain_small_per_s", SMALL):
        await drain(SMALL)
    for _ in range(count // 10_000):
        await stem.enqueue_many([nothing.call(*ARGS) for _ in range(10_000)])
    with figures.rate("drain_backlog_per_s", count):
        await drain(count)
    await stem.aclose()
    figures.show()


async def latency(count: int) -> None:
    """From the call in this process to the first line of the task in another."""
    seconds = []
    worker = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "serve", "0", stdout=subprocess.PIPE
    )
    assert worker.stdout is not None
    await mark.enqueue(*ARGS)
    await worker.stdout.readline()
    for _ in range(count):
        await asyncio.sleep(0.02)
        asked = time.monotonic()
        await mark.enqueue(*ARGS)
        seconds.append(float(await worker.stdout.readline()) - asked)
    worker.terminate()
    await worker.wait()
    await stem.aclose()
    figures = Figures()
    figures.latency(seconds)
    figures.show()


async def serve(_: int) -> None:
    """Be the other process."""
    async with stem:
        worker = Worker(stem, concurrency=10)
        await worker.start()
        worker.install_signals()
        await worker.ended()


def main() -> None:
    phase, count = arguments()
    if phase == "serve":
        asyncio.run(serve(count))
        return
    durability = sys.argv[3]
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/bench.db?durability={durability}"
        os.environ["BENCH_URL"] = url
        global stem
        stem = Stem(broker=url, registry=stem.registry)
        asyncio.run(
            {"throughput": throughput, "latency": latency, "backlog": backlog}[phase](count)
        )


if __name__ == "__main__":
    main()
