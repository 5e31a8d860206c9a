"""Much work in batches, and how far it is.

Rule of this module: it counts; it knows nothing of the work.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from stem_core.cli.terminal import Progress

__all__ = ["batches", "progress_on_terminal"]

T = TypeVar("T")


def batches(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Yield *items* in order, at most *most* at a time."""
    return (items[start : start + most] for start in range(0, len(items), most))


@contextmanager
def progress_on_terminal(total: int, at_once: int) -> Iterator[Progress]:
    """Give a progress that is seen on a terminal, where there is more to do than one batch."""
    is_seen = sys.stderr.isatty() and total > at_once
    progress = Progress(sys.stderr if is_seen else io.StringIO(), total, live=is_seen)
    try:
        yield progress
    finally:
        progress.end()
