"""huey's SqliteHuey: pop, then run; one thread; a task that is being run is gone if it dies.

python huey_sqlite.py throughput|latency|backlog COUNT full|normal
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time

from huey import SqliteHuey
from measure import ARGS, Figures, arguments

logging.disable(logging.CRITICAL)
SMALL = 2_000
# Without fsync nothing is synced at all; with it each call is, as huey does by default.
huey = SqliteHuey(
    "bench",
    filename=os.environ.get("BENCH_FILE", ":memory:"),
    results=True,
    store_none=False,
    fsync=os.environ.get("BENCH_FSYNC", "1") == "1",
)


@huey.task()
def nothing(customer: str, amount: int) -> None:
    """Return None, so that no result is stored."""


@huey.task()
def one(customer: str, amount: int) -> int:
    """Return a value, which is stored."""
    return 1


@huey.task()
def mark(customer: str, amount: int) -> None:
    """Tell the other process when it started, on the clock that processes share."""
    print(time.monotonic(), flush=True)


def drain() -> None:
    """Run all that waits, as huey's own worker thread does."""
    while (task := huey.dequeue()) is not None:
        huey.execute(task)


def throughput(count: int) -> None:
    figures = Figures()
    with figures.rate("enqueue_per_s", count):
        for _ in range(count):
            nothing(*ARGS)
    with figures.rate("drain_per_s", count):
        drain()
    for _ in range(count):
        one(*ARGS)
    with figures.rate("drain_results_per_s", count):
        drain()
    figures.show()


def latency(count: int) -> None:
    """From the call in this process to the first line of the task in another."""
    worker = subprocess.Popen(
        [sys.executable, __file__, "serve", "0"], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    mark(*ARGS)
    worker.stdout.readline()
    seconds = []
    for _ in range(count):
        time.sleep(0.02)
        asked = time.monotonic()
        mark(*ARGS)
        seconds.append(float(worker.stdout.readline()) - asked)
    worker.kill()
    figures = Figures()
    figures.latency(seconds)
    figures.show()


def serve(_: int) -> None:
    """Be the other process; it looks for work every 5 ms."""
    huey.create_consumer(workers=1, periodic=False, initial_delay=0.005, max_delay=0.005).run()


def main() -> None:
    phase, count = arguments()
    if phase == "serve":
        serve(count)
        return
    if "BENCH_FILE" in os.environ:
        {"throughput": throughput, "latency": latency}[phase](count)
        return
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "BENCH_FILE": f"{folder}/bench.db",
            "BENCH_FSYNC": "1" if sys.argv[3] == "full" else "0",
        }
        subprocess.run([sys.executable, *sys.argv], env=environment, check=True)


if __name__ == "__main__":
    main()
