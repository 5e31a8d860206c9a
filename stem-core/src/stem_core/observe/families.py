"""Which metrics there are, and how those of several processes make one.

Rule of this module: a name, its labels and its help stand here and nowhere else. Names
and labels are promised: dashboards and alerts are made of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from stem_core.model.value import Value

__all__ = ["BUCKETS_S", "FAMILIES", "Family", "Row", "joined", "lasting"]

BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
"""Upper ends of the buckets of a histogram, in seconds; one without an end follows."""

Joins: TypeAlias = Literal["sum", "max"]


class Family(Value, frozen=True, kw_only=True):
    """One metric.

    Attributes:
        kind: as Prometheus calls it.
        labels: their names; a row has the values in this order.
        joins: how the same row of several processes makes one.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    joins: Joins = "sum"


class Row(NamedTuple):
    """The numbers of a *family* for one set of label values.

    One number; of a histogram the count of each bucket by itself, and last the sum in seconds.
    """

    family: str
    labels: tuple[str, ...]
    numbers: Sequence[float]


def _counter(name: str, help: str, *labels: str) -> Family:
    return Family(name=name, kind="counter", help=help, labels=labels)


def _gauge(name: str, help: str, *labels: str, joins: Joins = "sum") -> Family:
    return Family(name=name, kind="gauge", help=help, labels=labels, joins=joins)


def _histogram(name: str, help: str, *labels: str) -> Family:
    return Family(name=name, kind="histogram", help=help, labels=labels)


FAMILIES: Final = {
    family.name: family
    for family in (
        _counter(
            "stem_tasks_total",
            "Deliveries by what became of them, once the store knows it.",
            *("task", "queue", "outcome"),
        ),
        _counter("stem_dead_letters_total", "Tasks that ended as dead letters.", "queue", "reason"),
        _histogram("stem_task_run_seconds", "How long attempts ran.", "task"),
        _histogram(
            "stem_task_wait_seconds",
            "How long tasks waited for their first attempt since they were due.",
            "queue",
        ),
        _counter("stem_lapses_total", "Deliveries that follow a lapsed lease.", "queue"),
        _counter("stem_lease_renewals_total", "Leases renewed."),
        _counter("stem_store_errors_total", "Calls that a store failed.", "during", "fault"),
        _counter("stem_reconnects_total", "Times the broker came back."),
        _counter("stem_messages_vanished_total", "Messages that somebody else deleted."),
        _counter(
            "stem_store_emptied_total",
            "Times a process found that the broker's store had lost its data.",
        ),
        _gauge("stem_worker_busy_slots", "Tasks that run now."),
        _gauge("stem_worker_slots", "Tasks that may run at a time."),
        _gauge("stem_worker_ready", "Processes that take work now."),
        _gauge("stem_worker_processes", "Processes that answered."),
        _gauge(
            "stem_queue_depth",
            "Messages in the queue, of all workers together.",
            *("queue", "state"),
            joins="max",
        ),
        _gauge(
            "stem_queue_oldest_seconds",
            "How long the oldest ready message has waited.",
            "queue",
            joins="max",
        ),
        _gauge("stem_queue_paused", "1 while the queue is held.", "queue", joins="max"),
        _gauge("stem_build_info", "What runs; always 1.", "version", "python", joins="max"),
        _gauge(
            "process_start_time_seconds",
            "When the process started, since the Unix epoch.",
            joins="max",
        ),
    )
}


def joined(rows: Iterable[Row]) -> list[Row]:
    """Return one row for each family and set of labels of *rows*."""
    found: dict[tuple[str, tuple[str, ...]], Sequence[float]] = {}
    for family, labels, numbers in rows:
        before = found.get((family, labels))
        if before is None:
            found[family, labels] = numbers
        else:
            join = max if FAMILIES[family].joins == "max" else _sum
            found[family, labels] = [join(pair) for pair in zip(before, numbers, strict=True)]
    return [Row(*key, numbers) for key, numbers in found.items()]


def _sum(pair: tuple[float, float]) -> float:
    return pair[0] + pair[1]


def lasting(rows: Iterable[Row]) -> list[Row]:
    """Return those of *rows* that still count when their process has ended: they only grow."""
    return [row for row in rows if FAMILIES[row.family].kind != "gauge"]
