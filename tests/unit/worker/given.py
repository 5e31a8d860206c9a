"""Values that the tests of the worker start from."""

from __future__ import annotations

from typing import Any

from stem_core.contracts.messages import Delivery, Message, Receipt
from stem_core.model.envelope import Envelope
from stem_core.model.options import Defaults, TaskOptions, resolve
from stem_core.producer.context import TaskContext
from stem_core.producer.registry import TaskRegistry
from stem_core.worker.plans import Plan, Plans
from stem_core.worker.run import Run

NOW_MS = 1_800_000_000_000

registry = TaskRegistry()


@registry.task(name="work")
async def work(x: int = 0) -> int:
    return x


@registry.task(name="plain")
def plain(x: int = 0) -> int:
    return x


def an_envelope(**changes: Any) -> Envelope:
    facts: dict[str, Any] = {
        "id": "id-1",
        "task": "work",
        "namespace": "stem",
        "queue": "default",
        "enqueued_at_ms": NOW_MS - 1000,
        "meta": {"by": "finance"},
    }
    return Envelope(**(facts | changes))


def a_message(**changes: Any) -> Message:
    facts: dict[str, Any] = {"id": "id-1", "queue": "default", "task": "work", "body": b"{}"}
    return Message(**(facts | changes))


def a_delivery(*, fence: int = 7, message: Message | None = None, **changes: Any) -> Delivery:
    return Delivery(
        message=message or a_message(), receipt=Receipt("id-1", "default", fence), **changes
    )


def a_plan(task: str = "work", **options: Any) -> Plan:
    plans = Plans(registry, Defaults())
    given = TaskOptions.of(**options)
    plan = plans.of(an_envelope(task=task, options=given.given()))
    assert plan is not None
    assert plan.effective == resolve(given, registry.get(task).options, Defaults())  # type: ignore[union-attr]
    return plan


def a_run(*, started: bool = True, delivery: Delivery | None = None, **options: Any) -> Run:
    """A run that was admitted, with these options."""
    run = Run(delivery or a_delivery(), None, 0)  # type: ignore[arg-type]  # it says nothing
    run.envelope = an_envelope()
    run.plan = a_plan(**options)
    if started:
        run.started_ms = NOW_MS - 80
        run.context = TaskContext(run.envelope, run.delivery, run)
    return run
