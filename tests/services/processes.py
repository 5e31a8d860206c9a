"""What the system tells of processes, ours or not, and signals to many of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

__all__ = ["children", "hit", "state"]

_HAS_PROC = Path("/proc/self/stat").exists()


def state(pid: int) -> str:
    """Return the letter that `ps` shows: ``T`` stopped, ``Z`` ended; empty if it is gone."""
    if not _HAS_PROC:
        return _said("ps", "-o", "stat=", "-p", str(pid))[:1]
    try:
        told = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return told.rpartition(")")[2].split()[0]  # the name before it may hold spaces


def children(pid: int) -> list[int]:
    """Return the processes that *pid* has started and that are there."""
    try:
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    except FileNotFoundError:
        words = _said("pgrep", "-P", str(pid))
    return [int(word) for word in words.split()]


def hit(number: signal.Signals, pids: Iterable[int]) -> None:
    """Send the signal *number* to all of *pids* that are there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()
