"""huey's MemoryHuey: pop, then run; one thread; nothing is leased; results that exist are kept."""

from __future__ import annotations

import logging
import threading
import time

from huey import MemoryHuey
from measure import ARGS, Figures, arguments

logging.disable(logging.CRITICAL)
huey = MemoryHuey("bench", results=True, store_none=False)
started = threading.Event()
started_at = 0.0


@huey.task()
def nothing(customer: str, amount: int) -> None:
    """Return None, so that no result is stored."""


@huey.task()
def one(customer: str, amount: int) -> int:
    """Return a value, which is stored."""
    return 1


@huey.task()
def mark(customer: str, amount: int) -> None:
    """Note when it started."""
    global started_at
    started_at = time.perf_counter()
    started.set()


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
    consumer = huey.create_consumer(workers=1, periodic=False, initial_delay=0.001, max_delay=0.001)
    consumer.start()
    seconds = []
    for _ in range(count):
        started.clear()
        time.sleep(0.005)
        asked = time.perf_counter()
        mark(*ARGS)
        started.wait()
        seconds.append(started_at - asked)
    figures = Figures()
    figures.latency(seconds)
    figures.show()
    consumer.stop()


if __name__ == "__main__":
    phase, count = arguments()
    {"throughput": throughput, "latency": latency}[phase](count)
