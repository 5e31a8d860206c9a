"""How the program speaks of what went wrong: one message on standard error, no traceback.

Rule of this module: an error of Stem is an answer and is printed as one. An
exception that is none of ours is a bug, and keeps its traceback.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from stem_core.cli.terminal import Paint, Shade
from stem_core.model.errors import StemError

__all__ = ["complain", "nearest", "telling_warnings", "warn"]


def complain(error: StemError) -> None:
    """Print *error* and the way out of it."""
    _print("Error", "bad", str(error))


def warn(text: str) -> None:
    """Print a warning; further lines of *text* say more."""
    _print("Warning", "warn", text)


class _Telling(logging.Handler):
    """Tells what the rooms below log, in the voice of the program."""

    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())


@contextmanager
def telling_warnings() -> Iterator[None]:
    """Print what Stem logs as a warning or worse meanwhile; for commands that keep no log."""
    logger = logging.getLogger("stem")
    handler = _Telling(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a question naming what *name* was probably meant to be, or nothing."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else ""


def _print(label: str, shade: Shade, text: str) -> None:
    paint = Paint.of(sys.stderr)
    print(f"{paint(label, shade)}: {text}", file=sys.stderr, flush=True)
