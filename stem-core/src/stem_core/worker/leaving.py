"""Ending a process whose tasks may hold anything: its loop, its threads, its log."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Final, NoReturn

__all__ = ["aside", "leave"]

_PATIENCE_S: Final = 1.0


def aside(call: Callable[[], object]) -> None:
    """Make *call* in a thread of its own, and wait for it, but not for long.

    For what may wait for a lock that nobody gives back any more: a log into a pipe that is
    full and not read blocks whoever writes there next.
    """
    thread = threading.Thread(target=call, name="stem-aside", daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)


def leave(code: int) -> NoReturn:
    """End the process now, whatever a task that does not end still holds. From any thread."""
    aside(_flush)
    os._exit(code)


def _flush() -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
