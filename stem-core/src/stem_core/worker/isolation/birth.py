"""What a new child does before anything else: it stands apart, and dies with its parent.

A process group of its own lets the worker kill a task with all that it has started, and
keeps a terminal's Ctrl-C from it. Rule of this module: it knows the system and no task.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Final

__all__ = ["end_with_all", "let_the_worker_decide", "rss", "stand_apart"]

_PR_SET_PDEATHSIG: Final = 1


def stand_apart() -> None:
    """Lead a session and a process group; hear no signal that is meant for the worker."""
    if hasattr(os, "setsid"):
        with suppress(OSError):  # it leads one already
            os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        # A handler and not SIG_IGN: what a task starts would inherit that.
        signal.signal(number, let_the_worker_decide)
    if sys.platform == "linux":
        # For a task that never lets the thread run that watches the socket.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def let_the_worker_decide(number: int, frame: FrameType | None) -> None:
    """Service managers signal all processes of a service: the worker drains, and so do we."""


def end_with_all() -> None:
    """Kill this process and all of its group, now."""
    if hasattr(os, "killpg"):
        with suppress(OSError):
            os.killpg(os.getpid(), signal.SIGKILL)  # never the worker's: ours has our number
    os._exit(1)


def rss() -> int:
    """Return how many bytes of memory this process holds; 0 where that is unknown."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, ValueError):
        return 0
