from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from unit.producer.shop import charge, export, tasks
from unit.producer.stores import Connection

from stem_core.contracts.messages import Delivery, Message, Receipt
from stem_core.model.codec import decode
from stem_core.model.envelope import Envelope
from stem_core.model.errors import InvalidOption, NotEncodable, UsageError
from stem_core.model.ids import derived_id
from stem_core.model.settings import StemConfig
from stem_core.producer.client import Stem
from stem_core.producer.context import CURRENT, TaskContext
from stem_core.producer.job import Job
from stem_core.producer.pipeline import Pipeline
from stem_core.producer.tasks import AnyTask


class Sink:
    """Takes note of what a task asks for; makes messages as production does."""

    def __init__(self) -> None:
        self.pipeline = Pipeline(StemConfig(), tasks)
        self.progressed: list[tuple[str, int, bytes]] = []
        self.published: list[Message] = []
        self.completed: list[tuple[object, object]] = []
        self.is_over = False

    def progress(self, id: str, fence: int, value: bytes, /) -> None:
        self.progressed.append((id, fence, value))

    def is_cancelled(self) -> bool:
        return self.is_over

    def prepare(self, call: Any, /, **lineage: Any) -> Message:
        return self.pipeline.prepare(call, **lineage)

    def publish_now(self, message: Message, /) -> None:
        self.published.append(message)

    def job(self, id: str, task: AnyTask | None, /) -> Job[Any]:
        return Job(id, Stem("memory://"), task)

    async def complete(self, connection: object, value: object, /) -> None:
        self.completed.append((connection, value))


def running(sink: Sink, **facts: Any) -> TaskContext:
    envelope = Envelope(
        id="parent", task="t", namespace="stem", queue="q", enqueued_at_ms=1, **facts
    )
    delivery = Delivery(
        message=Message(id="parent", queue="q", task="t", body=b""),
        receipt=Receipt("parent", "q", 7),
        attempt=2,
        lapses=1,
    )
    return TaskContext(envelope, delivery, sink)


def test_a_task_knows_who_it_is() -> None:
    context = running(Sink(), headers={"h": "1"}, meta={"m": 1}, parent="p", root="r")
    assert (context.id, context.task, context.queue) == ("parent", "t", "q")
    assert (context.attempt, context.fence, context.lapses) == (2, 7, 1)
    assert (context.headers, context.meta) == ({"h": "1"}, {"m": 1})
    assert (context.parent, context.root) == ("p", "r")


def test_progress_is_any_value_that_json_can_carry() -> None:
    sink = Sink()
    context = running(sink)
    context.progress({"done": 3})
    assert sink.progressed == [("parent", 7, b'{"done":3}')]
    with pytest.raises(NotEncodable):
        context.progress(b"raw")


def test_a_task_sees_that_it_should_end() -> None:
    sink = Sink()
    context = running(sink)
    assert not context.cancelled
    sink.is_over = True
    assert context.cancelled


def test_follow_ups_wait_for_the_end_and_have_the_same_ids_on_every_attempt() -> None:
    attempts = []
    for _ in range(2):
        context = running(Sink())
        jobs = [context.enqueue(charge.call("a")), context.enqueue(charge.call("b"))]
        assert [job.id for job in jobs] == [message.id for message in context.follow_ups]
        attempts.append([job.id for job in jobs])
    assert attempts[0] == attempts[1] == [derived_id("parent", 1), derived_id("parent", 2)]


def test_a_follow_up_knows_its_line_and_inherits_the_trace_alone() -> None:
    headers = {"traceparent": "00-1", "x-group": "secret"}
    for root in (None, "grandparent"):
        context = running(Sink(), headers=headers, meta={"m": 1}, root=root)
        context.enqueue(charge.call("a"))
        envelope = decode(context.follow_ups[0].body)
        assert (envelope.parent, envelope.root) == ("parent", root or "parent")
        assert (envelope.headers, envelope.meta) == ({"traceparent": "00-1"}, {})


def test_a_follow_up_at_once_is_not_sent_again_at_the_end() -> None:
    sink = Sink()
    context = running(sink)
    context.enqueue(charge.call("a"))
    job = context.enqueue(charge.call("b"), now=True)
    assert [message.id for message in sink.published] == [job.id] == [derived_id("parent", 2)]
    assert len(context.follow_ups) == 1


def test_an_id_that_the_call_chose_is_kept() -> None:
    context = running(Sink())
    assert context.enqueue(charge.using(task_id="mine").call("a")).id == "mine"


def test_a_follow_up_cannot_join_a_transaction() -> None:
    call = charge.using(connection=Connection()).call("a")
    with pytest.raises(InvalidOption, match="cannot join"):
        running(Sink()).enqueue(call)


def test_what_is_no_call_is_no_follow_up(caplog: pytest.LogCaptureFixture) -> None:
    ctx = TaskContext.for_testing()
    with pytest.raises(UsageError, match=r"ctx.enqueue was given is a coroutine"):
        ctx.enqueue(charge.enqueue("ada"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"is of type str(?s:.*)task\.call"):
        ctx.enqueue("billing.charge")  # type: ignore[arg-type]
    gc.collect()
    assert caplog.messages == []
    assert ctx.enqueued == []


def test_completing_hands_connection_and_value_on_once() -> None:
    sink, connection = Sink(), Connection()
    ctx = running(sink)
    asyncio.run(ctx.complete(connection, 1))
    assert sink.completed == [(connection, 1)]
    with pytest.raises(UsageError, match="twice"):
        asyncio.run(ctx.complete(connection, 2))


def test_a_task_that_is_completed_enqueues_no_more() -> None:
    ctx = running(Sink())
    asyncio.run(ctx.complete(Connection()))
    with pytest.raises(UsageError, match=r"after ctx\.complete"):
        ctx.enqueue(charge.call("ada"))
    assert ctx.follow_ups == []


def test_a_context_for_testing_remembers_what_it_was_completed_with() -> None:
    ctx = TaskContext.for_testing()
    asyncio.run(ctx.complete(Connection(), {"paid": 1}))
    assert ctx.completed == [{"paid": 1}]


def test_library_code_finds_the_context_of_the_task_around_it() -> None:
    assert TaskContext.current() is None
    context = running(Sink())
    token = CURRENT.set(context)
    assert TaskContext.current() is context
    CURRENT.reset(token)


def test_a_context_for_testing_remembers_what_the_task_did() -> None:
    context = TaskContext.for_testing(id="x", attempt=3, meta={"m": 1}, cancelled=True)
    assert asyncio.run(export(context, 2025)) == 2025
    assert (context.id, context.attempt, context.meta) == ("x", 3, {"m": 1})
    assert context.cancelled
    assert context.reported == [{"year": 2025}]
    assert [(call.name, call.args) for call in context.enqueued] == [
        ("billing.charge", {"customer": "follow-up", "amount": 2025})
    ]


def test_a_follow_up_of_a_test_has_nobody_to_ask() -> None:
    job = TaskContext.for_testing().enqueue(charge.call("a"), now=True)
    with pytest.raises(UsageError, match=r"stem\.override"):
        asyncio.run(job.result())
