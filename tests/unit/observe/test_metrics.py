"""What is counted of what a worker tells, and what Prometheus makes of the page."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stem_core.contracts.observer import Event
from stem_core.observe.exposition import exposition
from stem_core.observe.families import BUCKETS_S, FAMILIES, Row, joined, lasting
from stem_core.observe.metrics import Metrics

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(page: str) -> Samples:
    """Return what Prometheus' own library finds on *page*."""
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def an_event(name: str, *, task: str = "pay", queue: str = "default", attempt: int = 1, **detail):
    return Event(name=name, at_ms=1, task_id="1", task=task, queue=queue, attempt=attempt,
                 detail=detail)  # fmt: skip


def counted(*events: Event) -> Samples:
    metrics = Metrics(tasks={"pay", "mail"}, queues={"default", "low"})
    for event in events:
        metrics.on_event(event)
    return read(exposition(metrics.rows()))


def tasks(samples: Samples) -> dict[tuple[str, ...], float]:
    return {
        tuple(value for _, value in labels): number
        for (name, labels), number in samples.items()
        if name == "stem_tasks_total"
    }


@pytest.mark.parametrize(
    ("name", "detail", "outcome"),
    [
        ("task-succeeded", {"run_ms": 5}, "succeeded"),
        ("task-succeeded", {"discarded": "", "run_ms": 5}, "discarded"),
        ("task-retried", {"after_ms": 5}, "retried"),
        ("task-failed", {"reason": "poison"}, "failed"),
        ("task-released", {"why": "snooze"}, "released"),
        ("task-cancelled", {"reason": "bored"}, "cancelled"),
        ("lease-lost", {}, "lost"),
    ],
)
def test_deliveries_are_counted_by_what_became_of_them(name, detail, outcome):
    event = an_event(name, **detail)
    assert tasks(counted(event, event)) == {("pay", "default", outcome): 2}


def test_a_name_that_nobody_here_has_given_makes_no_row_of_its_own():
    strange = [
        an_event("task-released", task=f"task-{n}", queue=f"queue-{n}", why="parked")
        for n in range(1_000)
    ]
    assert tasks(counted(*strange)) == {("unknown", "unknown", "released"): 1_000}


def test_a_message_that_is_refused_is_not_held_against_the_task_that_it_names():
    refused = an_event("message-refused", reason="signature-invalid", key_id="k")
    samples = counted(refused)
    assert tasks(samples) == {("unknown", "default", "refused"): 1}
    dead = ("stem_dead_letters_total", (("queue", "default"), ("reason", "signature-invalid")))
    assert samples[dead] == 1


def test_run_times_are_counted_in_the_bucket_that_they_fit():
    ends = [an_event("task-succeeded", run_ms=ms) for ms in (0, 5, 6, 400_000_000)]
    samples = counted(*ends)

    def bucket(end: str) -> float:
        return samples["stem_task_run_seconds_bucket", (("task", "pay"), ("le", end))]

    assert [bucket(end) for end in ("0.005", "0.01", "1800", "+Inf")] == [2, 3, 3, 4]
    assert samples["stem_task_run_seconds_count", (("task", "pay"),)] == 4
    assert samples["stem_task_run_seconds_sum", (("task", "pay"),)] == pytest.approx(400_000.011)


def test_only_a_first_attempt_tells_how_long_tasks_wait_for_a_worker():
    samples = counted(
        an_event("task-started", wait_ms=1_500),
        an_event("task-started", wait_ms=90_000, attempt=2),
        an_event("task-started", wait_ms=90_000, releases=1),
        an_event("task-started", wait_ms=90_000, lapses=1),
    )
    assert samples["stem_task_wait_seconds_count", (("queue", "default"),)] == 1
    assert samples["stem_task_wait_seconds_sum", (("queue", "default"),)] == 1.5
    assert samples["stem_lapses_total", (("queue", "default"),)] == 1


def test_what_the_worker_does_with_its_stores_is_counted():
    back = Event(name="broker-back", at_ms=1)
    failed = Event(name="store-failed", at_ms=1, detail={"during": "settle", "fault": "reconnect"})
    renewed = Event(name="leases-renewed", at_ms=1, detail={"count": 7})
    samples = counted(back, failed, failed, renewed, renewed)
    assert samples["stem_reconnects_total", ()] == 1
    assert samples["stem_lease_renewals_total", ()] == 14
    assert samples[
        "stem_store_errors_total", (("during", "settle"), ("fault", "reconnect"))
    ] == 2  # fmt: skip


def test_counts_without_labels_are_there_before_anything_happens():
    samples = counted(Event(name="a-name-of-a-later-release", at_ms=1))
    names = ("lease_renewals", "reconnects", "messages_vanished", "store_emptied")
    assert samples == {(f"stem_{name}_total", ()): 0 for name in names}


def test_what_a_store_has_lost_is_counted():
    vanished = Event(name="messages-vanished", at_ms=1, detail={"count": 3})
    samples = counted(vanished, vanished, Event(name="store-emptied", at_ms=1))
    assert samples["stem_messages_vanished_total", ()] == 6
    assert samples["stem_store_emptied_total", ()] == 1


def test_a_label_can_hold_any_text():
    text = 'a "quoted"\\\nname'
    row = Row("stem_queue_depth", (text, "ready"), [3])
    (labels,) = [labels for _, labels in read(exposition([row]))]
    assert dict(labels) == {"queue": text, "state": "ready"}


def test_every_family_can_be_on_the_page():
    def numbers(kind: str) -> list[float]:
        return [0.5] * (len(BUCKETS_S) + 2) if kind == "histogram" else [0.5]

    rows = [
        Row(family.name, tuple("x" for _ in family.labels), numbers(family.kind))
        for family in FAMILIES.values()
    ]
    page = exposition(rows)
    found = {family.name: family for family in text_string_to_metric_families(page)}
    for family in FAMILIES.values():
        read_as = found[family.name.removesuffix("_total")]
        assert (read_as.type, read_as.documentation) == (family.kind, family.help)


# ── several processes ────────────────────────────────────────────────────────


def test_counts_of_processes_are_added_and_what_they_see_alike_is_not():
    span: list[Any] = [1] * (len(BUCKETS_S) + 2)
    one = [
        Row("stem_tasks_total", ("pay", "default", "succeeded"), [3]),
        Row("stem_task_run_seconds", ("pay",), span),
        Row("stem_queue_depth", ("default", "ready"), [50]),
        Row("stem_worker_busy_slots", (), [2]),
    ]
    other = [
        Row("stem_tasks_total", ("pay", "default", "succeeded"), [4]),
        Row("stem_task_run_seconds", ("pay",), span),
        Row("stem_queue_depth", ("default", "ready"), [49]),
        Row("stem_worker_busy_slots", (), [5]),
    ]
    both = {row.family: list(row.numbers) for row in joined([*one, *other])}
    assert both == {
        "stem_tasks_total": [7],
        "stem_task_run_seconds": [2] * len(span),
        "stem_queue_depth": [50],
        "stem_worker_busy_slots": [7],
    }


def test_what_a_process_has_counted_outlives_it_and_how_it_was_does_not():
    rows = [
        Row("stem_reconnects_total", (), [3]),
        Row("stem_worker_busy_slots", (), [2]),
        Row("stem_queue_depth", ("default", "ready"), [50]),
    ]
    assert [row.family for row in lasting(rows)] == ["stem_reconnects_total"]
