"""When a process of a worker has done enough, or has grown too large, and is replaced.

Rule of this module: it counts what observers are told. The process drains like any other
that is told to end, so nothing is lost by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stem_core.contracts.observer import Event
from stem_core.model.errors import ConfigError
from stem_core.model.settings.sizes import format_size

__all__ = ["Recycler", "check_room", "tasks_until_replaced"]

_ENDS: Final = frozenset(
    {"task-succeeded", "task-failed", "task-retried", "task-released", "task-cancelled"}
)
_LOOK_MS: Final = 1_000


def tasks_until_replaced(max_tasks: int, roll: float) -> int:
    """Return after how many tasks a process is replaced: up to a tenth before *max_tasks*, so
    that processes which started together are not all replaced together."""
    return max_tasks - int(max_tasks // 10 * roll)


def check_room(max_rss: int | None, held: int) -> None:
    """Refuse a limit that is met before anything was done: processes would only start and end.

    Raises:
        ConfigError: *max_rss* is no more than the bytes that are *held* now.
    """
    if max_rss is not None and 0 < max_rss <= held:
        raise ConfigError(
            f"STEM_WORKER_MAX_RSS (--max-rss) is {format_size(max_rss)}, and this worker holds "
            f"{format_size(held)} before its first task",
            way_out=f"Give it more, such as {format_size(4 * held)}, or import less.",
        )


class Recycler:
    """An observer that asks for the end of its process.

    Args:
        max_tasks, max_rss: how many deliveries it may see, and how many bytes of memory
            there may be; None for as many as there are.
        rss: returns the bytes of memory that this process holds.
        enough: called once, with why, when it is to be replaced.
    """

    def __init__(
        self,
        max_tasks: int | None,
        max_rss: int | None,
        *,
        rss: Callable[[], int],
        enough: Callable[[str], None],
    ) -> None:
        self._max_tasks = max_tasks
        self._max_rss = max_rss
        self._rss = rss
        self._enough = enough
        self._count = 0
        self._looked_ms = 0
        self._is_over = False

    def on_event(self, event: Event, /) -> None:
        """Count what has ended."""
        if event.name not in _ENDS or self._is_over:
            return
        self._count += 1
        if why := self._full() or self._large(event.at_ms):
            self._is_over = True
            self._enough(why)

    def _full(self) -> str:
        if self._max_tasks is None or self._count < self._max_tasks:
            return ""
        return f"it has done {self._count} tasks"

    def _large(self, now_ms: int) -> str:
        if self._max_rss is None or now_ms - self._looked_ms < _LOOK_MS:
            return ""
        self._looked_ms = now_ms
        held = self._rss()
        return "" if held < self._max_rss else f"it holds {format_size(held)} of memory"
