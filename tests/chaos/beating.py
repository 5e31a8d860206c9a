"""A task that beats as long as its process lives, so that two of its runs can be compared."""

from __future__ import annotations

import os
import time
from pathlib import Path

from stem_core import Stem
from stem_core.producer.registry import TaskRegistry

VISIBILITY_S = 5.0

registry = TaskRegistry()


def make() -> Stem:
    """Return the application for a child, whose environment names the broker."""
    return Stem(registry=registry)


@registry.task(name="beats", isolation="process", max_retries=0, visibility_timeout=VISIBILITY_S)
def beats(file: str) -> int:
    """Beat each millisecond until somebody kills this process; in a second run once."""
    is_first = not Path(file).exists()
    with open(file, "a", buffering=1) as pulse:
        while True:
            pulse.write(f"{os.getpid()} {time.monotonic_ns()}\n")
            if not is_first:
                return os.getpid()
            time.sleep(0.001)


def pulse_of(file: Path) -> dict[int, list[float]]:
    """Return when each process beat, in milliseconds of the machine's monotonic clock."""
    found: dict[int, list[float]] = {}
    for line in file.read_text().splitlines():
        pid, _, at_ns = line.partition(" ")
        found.setdefault(int(pid), []).append(int(at_ns) / 1e6)
    return found
