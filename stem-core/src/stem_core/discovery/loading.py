"""Importing what strangers wrote, so that whatever happens stays with them.

An import may raise anything, leave by `sys.exit`, or print. Rule of this module:
what comes out is an object, an error of ours, or `LoadFailed`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from typing import Any, Final, TextIO, TypeVar

from stem_core.discovery.forklock import ForkSafeLock
from stem_core.model.errors import StemError

__all__ = ["Heard", "LoadFailed", "diverted", "guarded", "load", "load_and_listen"]

R = TypeVar("R")

# Two threads that swap standard output at once would leave each other's stand-in behind.
_DIVERSION: Final = ForkSafeLock()


class LoadFailed(Exception):
    """Code of a plugin ended in `cause`, which need not be an `Exception`."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(type(cause).__name__)
        self.cause: Final = cause


def guarded(code: Callable[[], R]) -> R:
    """Return what *code* of a plugin returns.

    Raises:
        StemError: *code* raised it: it explains itself.
        LoadFailed: *code* ended in anything else; only ^C passes.
    """
    try:
        return code()
    except (StemError, KeyboardInterrupt):
        raise
    except BaseException as cause:  # third-party code: SystemExit, and what test tools raise
        raise LoadFailed(cause) from cause


def load(target: str) -> Any:
    """Return the object at ``module`` or ``module:attribute``; raises as `guarded` does."""
    return load_and_listen(target)[0]


def load_and_listen(target: str) -> tuple[Any, bool]:
    """Return what `load` does, and whether importing it wrote to standard output."""
    with diverted() as heard:
        return guarded(lambda: _resolve(target)), heard.anything


def _resolve(target: str) -> Any:
    module, colon, attributes = target.partition(":")
    if not module or (colon and not attributes):
        raise ImportError(f"{target!r} is not of the form module or module:attribute")
    found: Any = import_module(module)
    for attribute in attributes.split(".") if attributes else ():
        found = getattr(found, attribute)
    return found


class Heard:
    """Stands in for standard output, so that an import cannot spoil what a command prints.

    What this thread writes goes to standard error and is noticed; other threads are
    none of our business and write where they meant to.
    """

    def __init__(self, meant: TextIO | None) -> None:
        self.anything = False
        self._meant = meant
        self._thread = threading.get_ident()

    def write(self, text: str) -> int:
        """Write *text* where it belongs."""
        mine = threading.get_ident() == self._thread
        self.anything = self.anything or (mine and bool(text.strip()))
        stream = sys.stderr if mine else self._meant
        return len(text) if stream is None else stream.write(text)  # None: no console

    def __getattr__(self, name: str) -> Any:
        return getattr(self._meant, name)


@contextmanager
def diverted() -> Iterator[Heard]:
    """Keep this thread from standard output, and notice when it tries."""
    with _DIVERSION:
        heard = Heard(sys.stdout)
        # Any: `redirect_stdout` asks for a whole stream, and `Heard` passes on what it lacks.
        stream: Any = heard
        with redirect_stdout(stream):
            yield heard
