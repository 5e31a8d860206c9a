"""The journal of `stem demo`: every task notes there that it starts, before it does anything.

One line for each start, written by one call of the system at the end of a file: what was
noted stays noted, though the process is killed at the next moment.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable
from typing import Final

from attrs import frozen

from stem_core.producer.context import TaskContext

__all__ = ["Journal", "Start", "note_start", "now_ms", "run_twice", "starts_in"]


@frozen
class Start:
    """One start of a task.

    Attributes:
        task_id, attempt, fence: of the delivery.
        pid: the process that it was started in.
        at_ms: when, by `now_ms`.
    """

    task_id: str
    attempt: int
    fence: int
    pid: int
    at_ms: int


def now_ms() -> int:
    """Return the time on a clock that never goes back and that all processes share."""
    return time.monotonic_ns() // 1_000_000


def note_start(path: str, ctx: TaskContext) -> None:
    """Write into the journal at *path* that the task of *ctx* starts here and now."""
    line = f"{ctx.id} {ctx.attempt} {ctx.fence} {os.getpid()} {now_ms()}\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def starts_in(text: str) -> list[Start]:
    """Read the lines of a journal."""
    fields = (line.split(" ") for line in text.splitlines())
    return [Start(id, *map(int, numbers)) for id, *numbers in fields]


def run_twice(starts: Iterable[Start]) -> set[str]:
    """Return the tasks of which one and the same attempt was started more than once.

    A retry is another attempt: what failed and was tried again is not among them.
    """
    counts = Counter((start.task_id, start.attempt) for start in starts)
    return {task_id for (task_id, _), count in counts.items() if count > 1}


class Journal:
    """Reads what is new in a journal that others write."""

    def __init__(self, path: str) -> None:
        self.path: Final = path
        self._read = 0

    def news(self) -> list[Start]:
        """Return what was noted since the last call, in order."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._read)
                fresh = file.read()
        except FileNotFoundError:  # nobody has started yet
            return []
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._read += len(whole)
        return starts_in(whole.decode())
