"""How the program speaks of what went wrong: one message on standard error, no traceback.

Rule of this module: an error of Stem is an answer and is printed as one. An
exception that is none of ours is a bug, and keeps its traceback.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable

from stem_core.cli.terminal import Paint, Shade
from stem_core.model.errors import StemError

__all__ = ["complain", "nearest", "tell_warnings", "warn"]


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


def tell_warnings() -> None:
    """Print what Stem logs as a warning or worse; for commands that keep no log."""
    logger = logging.getLogger("stem")
    if not any(isinstance(handler, _Telling) for handler in logger.handlers):
        logger.addHandler(_Telling(logging.WARNING))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a question naming what *name* was probably meant to be, or nothing."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else ""


def _print(label: str, shade: Shade, text: str) -> None:
    paint = Paint.of(sys.stderr)
    print(f"{paint(label, shade)}: {text}", file=sys.stderr, flush=True)
