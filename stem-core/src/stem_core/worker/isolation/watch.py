"""A worker's watchman, from the worker's side: see `watchman`.

Rule of this module: that there is no watchman is worth a line in the log and no more.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["Watch"]

_log = logging.getLogger("stem.worker")

_PROGRAM: Final = Path(__file__).with_name("watchman.py")
_PATIENCE_S: Final = 1.0


class Watch:
    """Tells a watchman which process groups there are; there is one from the first on."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._watchman: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """Of the watchman; 0 when there is none."""
        return self._watchman.pid if self._watchman is not None else 0

    def add(self, group: int) -> None:
        """End *group* when this process ends."""
        self._groups.add(group)
        if self._watchman is None or not self._tell(f"+{group}"):
            self._begin()

    def remove(self, group: int) -> None:
        """It has ended."""
        self._groups.discard(group)
        self._tell(f"-{group}")

    def close(self) -> None:
        """There are no groups any more."""
        watchman, self._watchman = self._watchman, None
        if watchman is not None and watchman.stdin is not None:
            with suppress(OSError):
                watchman.stdin.close()
            try:
                watchman.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                watchman.kill()
                watchman.wait()

    def _begin(self) -> None:
        """Start one, instead of one that is dead."""
        self.close()
        try:
            self._watchman = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        except OSError as error:
            _log.warning(
                "no process watches over this worker, so what a task has started may outlive a "
                "worker that is killed: %s",
                error,
            )
        for group in self._groups:
            self._tell(f"+{group}")

    def _tell(self, line: str) -> bool:
        if self._watchman is None or self._watchman.stdin is None:
            return False
        try:
            self._watchman.stdin.write(line + "\n")
            self._watchman.stdin.flush()
        except OSError:  # somebody has killed it
            return False
        return True
