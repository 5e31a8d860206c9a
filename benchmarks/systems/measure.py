"""What every system shares: stop-watches and the shape of what it prints."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

ARGS = ("cust_123", 4200)
"""The call that every system makes: one text, one integer."""


class Figures:
    """Collects figures and prints them as one JSON line."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    @contextmanager
    def rate(self, name: str, count: int) -> Iterator[None]:
        """Time the block and keep *count* per second."""
        started = time.perf_counter()
        yield
        self.values[name] = count / (time.perf_counter() - started)

    def latency(self, seconds: list[float]) -> None:
        """Keep the median and the 99th percentile of *seconds*, in milliseconds."""
        cuts = statistics.quantiles(seconds, n=100)
        self.values["latency_p50_ms"] = cuts[49] * 1000
        self.values["latency_p99_ms"] = cuts[98] * 1000

    def show(self) -> None:
        """Print what was collected."""
        print(json.dumps(self.values))


def arguments() -> tuple[str, int]:
    """Return the phase (``throughput`` or ``latency``) and the count given on the command line."""
    return sys.argv[1], int(sys.argv[2])
