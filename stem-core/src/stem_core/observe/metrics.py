"""Counting what a worker tells its observers.

Rule of this module: it counts events and nothing else. How many rows there can be is
bounded by what the application has named, whatever strangers send.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Container, Mapping
from typing import Final

from stem_core.contracts.observer import Event
from stem_core.observe.families import BUCKETS_S, Row

__all__ = ["UNKNOWN", "Metrics"]

UNKNOWN: Final = "unknown"
"""The label of a task or queue that this worker has no name for."""

_OUTCOMES: Final = {
    "task-succeeded": "succeeded",
    "task-retried": "retried",
    "task-failed": "failed",
    "task-released": "released",
    "task-cancelled": "cancelled",
    "lease-lost": "lost",
    "message-refused": "refused",
}
_WITHOUT_LABELS: Final = (
    "stem_lease_renewals_total",
    "stem_reconnects_total",
    "stem_messages_vanished_total",
    "stem_store_emptied_total",
)


class Metrics:
    """An observer that counts. It belongs to the loop of its worker.

    Args:
        tasks, queues: the names that may become labels.
    """

    def __init__(self, tasks: Container[str], queues: Container[str]) -> None:
        self._tasks = tasks
        self._queues = queues
        self._counts: defaultdict[tuple[str, tuple[str, ...]], int] = defaultdict(int)
        for family in _WITHOUT_LABELS:
            self._counts[family, ()] = 0  # a count that begins at 1 has no rise to be seen
        self._spans: dict[tuple[str, tuple[str, ...]], list[float]] = {}
        self._takers: Mapping[str, Callable[[Event], None]] = {
            **dict.fromkeys(_OUTCOMES, self._outcome),
            "task-started": self._started,
            "leases-renewed": self._renewed,
            "store-failed": self._failed,
            "broker-back": self._back,
            "messages-vanished": self._vanished,
            "store-emptied": self._emptied,
        }

    def on_event(self, event: Event, /) -> None:
        """Count *event*."""
        take = self._takers.get(event.name)
        if take is not None:
            take(event)

    def rows(self) -> list[Row]:
        """Return what was counted so far."""
        counts = [Row(*key, [count]) for key, count in self._counts.items()]
        return counts + [Row(*key, list(numbers)) for key, numbers in self._spans.items()]

    # ── what is counted ──────────────────────────────────────────────────────

    def _started(self, event: Event) -> None:
        queue = self._queue(event)
        if event.detail.get("lapses"):
            self._counts["stem_lapses_total", (queue,)] += 1
        elif event.attempt == 1 and not event.detail.get("releases"):
            self._span("stem_task_wait_seconds", queue, event.detail["wait_ms"])

    def _outcome(self, event: Event) -> None:
        detail, queue, outcome = event.detail, self._queue(event), _OUTCOMES[event.name]
        # Whoever wrote a message that is refused chose its name too.
        task = event.task if outcome != "refused" and event.task in self._tasks else UNKNOWN
        if "discarded" in detail:
            outcome = "discarded"
        self._counts["stem_tasks_total", (task, queue, outcome)] += 1
        if outcome in ("failed", "refused"):
            self._counts["stem_dead_letters_total", (queue, detail["reason"])] += 1
        if (run_ms := detail.get("run_ms")) is not None:
            self._span("stem_task_run_seconds", task, run_ms)

    def _renewed(self, event: Event) -> None:
        self._counts["stem_lease_renewals_total", ()] += event.detail["count"]

    def _failed(self, event: Event) -> None:
        key = (event.detail["during"], event.detail["fault"])
        self._counts["stem_store_errors_total", key] += 1

    def _back(self, event: Event) -> None:
        self._counts["stem_reconnects_total", ()] += 1

    def _vanished(self, event: Event) -> None:
        self._counts["stem_messages_vanished_total", ()] += event.detail["count"]

    def _emptied(self, event: Event) -> None:
        self._counts["stem_store_emptied_total", ()] += 1

    def _queue(self, event: Event) -> str:
        return event.queue if event.queue in self._queues else UNKNOWN

    def _span(self, family: str, label: str, span_ms: int) -> None:
        numbers = self._spans.get((family, (label,)))
        if numbers is None:
            numbers = self._spans[family, (label,)] = [0.0] * (len(BUCKETS_S) + 2)
        span_s = max(0, span_ms) / 1000  # a wall clock can be set back
        numbers[bisect_left(BUCKETS_S, span_s)] += 1
        numbers[-1] += span_s
