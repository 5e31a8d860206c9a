"""What the tasks of every system over Redis do in the worker: count, and tell the other process."""

from __future__ import annotations

import itertools
import json
import os
import time

TASKS = "BENCH_TASKS"
WORD = "BENCH"
URL = os.environ.get("BENCH_URL", "redis://localhost:6379/0")

_target = int(os.environ.get(TASKS, "0"))
_counter = itertools.count(1)  # one step, whatever thread takes it
_began = (0.0, 0.0)


def count() -> None:
    """Count one task; with the last one tell how long all took since the first began."""
    global _began
    number = next(_counter)
    if number == 1:
        _began = (time.monotonic(), time.process_time())
    if number == _target:
        tell(time.monotonic() - _began[0], time.process_time() - _began[1])


def tell(*figures: float) -> None:
    """Tell the process that measures."""
    print(WORD, json.dumps(figures), flush=True)


def mark() -> None:
    """Tell when this task started, on the clock that processes share."""
    tell(time.monotonic())
