"""What a supervisor shows over HTTP: one answer for all of its processes.

A thread of its own answers. It asks the processes over their ties, waits a moment for
what they say, and adds it up; who does not answer takes no work. Rule of this module:
nothing of it is loaded and no thread is there unless somebody asked for `--http`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stem_core.cli.gatherer import Gatherer
    from stem_core.model.settings.listening import Listening

__all__ = ["Gathering"]


class Gathering:
    """Reads what processes report, and shows the sum of it once it is told where.

    Args:
        ask: asks each process that takes work for a report, and returns their pids; with
            True the first of them for what is in its queues too.
    """

    def __init__(self, ask: Callable[[bool], Sequence[int]]) -> None:
        self._ask = ask
        self._gatherer: Gatherer | None = None

    def answer_at(self, address: str) -> Listening:
        """Answer at *address* from now on; return where that is.

        Raises:
            ConfigError: nobody can listen there.
        """
        from stem_core.cli.gatherer import Gatherer

        self._gatherer = Gatherer(self._ask)
        return self._gatherer.start(address)

    def reported(self, pid: int, line: bytes) -> None:
        """Take what the process *pid* said."""
        if self._gatherer is not None:
            self._gatherer.soon(self._gatherer.take, pid, line)

    def ended(self, pid: int) -> None:
        """Note that the process *pid* will say nothing more."""
        if self._gatherer is not None:
            self._gatherer.soon(self._gatherer.forget, pid)

    def close(self) -> None:
        """Answer no more."""
        if self._gatherer is not None:
            self._gatherer.stop()
