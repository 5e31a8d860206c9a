"""dramatiq's StubBroker with two worker threads, its test broker and only memory broker."""

from __future__ import annotations

import logging
import threading
import time

import dramatiq
from dramatiq.brokers.stub import StubBroker
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend
from measure import ARGS, Figures, arguments

logging.disable(logging.CRITICAL)
broker = StubBroker()
broker.add_middleware(Results(backend=StubBackend()))
dramatiq.set_broker(broker)
started = threading.Event()
started_at = 0.0


@dramatiq.actor
def nothing(customer: str, amount: int) -> None:
    """Do nothing."""


@dramatiq.actor(store_results=True)
def one(customer: str, amount: int) -> int:
    """Return a value, which is stored."""
    return 1


@dramatiq.actor
def mark(customer: str, amount: int) -> None:
    """Note when it started."""
    global started_at
    started_at = time.perf_counter()
    started.set()


def throughput(count: int) -> None:
    figures = Figures()
    with figures.rate("enqueue_per_s", count):
        for _ in range(count):
            nothing.send(*ARGS)
    worker = dramatiq.Worker(broker, worker_threads=2)
    with figures.rate("drain_per_s", count):
        worker.start()
        broker.join(nothing.queue_name)
    worker.stop()
    for _ in range(count):
        one.send(*ARGS)
    worker = dramatiq.Worker(broker, worker_threads=2)
    with figures.rate("drain_results_per_s", count):
        worker.start()
        broker.join(one.queue_name)
    worker.stop()
    figures.show()


def latency(count: int) -> None:
    worker = dramatiq.Worker(broker, worker_threads=2)
    worker.start()
    seconds = []
    for _ in range(count):
        started.clear()
        time.sleep(0.005)
        asked = time.perf_counter()
        mark.send(*ARGS)
        started.wait()
        seconds.append(started_at - asked)
    figures = Figures()
    figures.latency(seconds)
    figures.show()
    worker.stop()


if __name__ == "__main__":
    phase, count = arguments()
    {"throughput": throughput, "latency": latency}[phase](count)
