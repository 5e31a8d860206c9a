"""`stem worker --reload`: watch the files of an application, for people who edit it.

Rule of this module: it sees that files have changed; what follows is the supervisor's.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stem_core.model.errors import ConfigError

__all__ = ["SourceWatch"]

_log = logging.getLogger("stem.worker")


class SourceWatch:
    """Watches the Python files below *folder*, in a thread of its own.

    Args:
        changed: is called there with the name of each file that has changed.

    Raises:
        ConfigError: the library that this needs is not installed.
    """

    def __init__(self, folder: Path, changed: Callable[[str], None]) -> None:
        self._library = _library()
        self._folder = folder
        self._changed = changed
        self._end = threading.Event()

    def start(self) -> None:
        """Watch from now on."""
        threading.Thread(target=self._watch, name="stem-reload", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._end.set()

    def _watch(self) -> None:
        watch, python = self._library.watch, self._library.PythonFilter()
        for changes in watch(
            self._folder, watch_filter=python, stop_event=self._end, raise_interrupt=False
        ):
            for name in sorted({path for _, path in changes}):
                self._changed(self._shown(name))

    def _shown(self, name: str) -> str:
        path = Path(name)
        return str(path.relative_to(self._folder)) if path.is_relative_to(self._folder) else name


def _library() -> Any:
    try:
        return importlib.import_module("watchfiles")
    except ModuleNotFoundError as error:
        if error.name != "watchfiles":
            raise
        raise ConfigError(
            "--reload needs the library watchfiles, which is not installed here",
            way_out="pip install 'stem-core[reload]'",
        ) from None
