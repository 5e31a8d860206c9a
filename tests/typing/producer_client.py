"""The client, as a type checker sees it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, assert_type

import stem_core
from stem_core import (
    BlockingJob,
    Call,
    CancelStatus,
    Envelope,
    InMemoryBroker,
    InMemoryResultBackend,
    Job,
    Middleware,
    PayloadSigner,
    State,
    Stem,
    StemConfig,
    TaskOptions,
    TaskStatus,
    Worker,
)
from stem_core.plugin import Signer

stem = Stem(broker=InMemoryBroker(), backend=InMemoryResultBackend(), signer=None)
Stem("memory://", backend=None, routes={"billing.*": "billing"}, namespace="shop")
Stem(7)  # E: a URL or a broker
Stem("memory://", backend=InMemoryBroker())  # E: a broker is no backend
Stem("memory://", brokr="x")  # E: a typo
assert_type(PayloadSigner.maybe(StemConfig().signing), Signer | None)
assert_type(stem_core.__version__, str)
stem_core.Stemm  # E: a typo


@stem.task
async def double(number: int) -> int:
    return 2 * number


@stem.task
async def shout(text: str) -> str:
    return text.upper()


class Stamp(Middleware):
    def on_enqueue(self, envelope: Envelope) -> Envelope:
        return envelope


async def by_name() -> None:
    task_id = await stem.enqueue(
        "reports.generate",
        args={"report_id": "monthly"},
        options=TaskOptions(queue="reports", max_retries=3),
        headers={"traceparent": "x"},
        meta={"requested_by": "finance"},
        not_before=datetime.now(UTC),
    )
    assert_type(task_id, str)
    assert_type(await stem.status(task_id), TaskStatus | None)
    assert_type(await stem.cancel(task_id, "reason"), CancelStatus)
    assert_type(await stem.result(task_id, timeout=10), Any)
    page = await stem.list(meta={"requested_by": "finance"}, states=[State.DEAD, "failed"])
    assert_type(page.items, tuple[TaskStatus, ...])
    assert_type(page.cursor, str | None)
    await stem.list(limit="50")  # E: an int
    await stem.list(state="dead")  # E: a typo
    assert_type(stem.call("a", {"x": 1}, delay="5m"), Call[Any])
    await stem.enqueue_many([stem.call("a"), double.call(1)])
    stem.call("a", {"x": 1}, dealy="5m")  # E: a typo
    stem.call("a", ["x"])  # E: arguments by name
    stem.call(double)  # E: a name
    stem.call("a", connection=object())  # E: only what is sent at once can join one
    await stem.enqueue("a", not_before="tomorrow")  # E: a datetime
    await stem.enqueue("a", options={"queue": "q"})  # E: TaskOptions
    await stem.enqueue("a", headers={"n": 1})  # E: headers are text
    await stem.enqueue("a", queue="q")  # E: through options
    stem.enqueue("a")  # E: nobody awaits it


async def many() -> None:
    jobs = await stem.enqueue_many([double.call(1), double.call(2)])
    assert_type(jobs, list[Job[int]])
    assert_type(await jobs[0].result(), int)
    tried = await stem.enqueue_many([shout.call("a")], return_exceptions=True)
    assert_type(tried, list[Job[str] | stem_core.EnqueueError])
    await stem.enqueue_many([double.enqueue(1)])  # E: a call, not a coroutine
    async with asyncio.TaskGroup() as group:
        sent = group.create_task(double.enqueue(1))
    assert_type(await sent.result().result(), int)


def waiting() -> None:
    assert_type(stem.blocking.enqueue("a", {"x": 1}), str)
    assert_type(stem.blocking.enqueue_many([double.call(1)])[0].result(timeout="1s"), int)
    assert_type(stem.blocking.status("id"), TaskStatus | None)
    assert_type(stem.blocking.enqueue_many([double.call(1)]), list[BlockingJob[int]])
    tried = stem.blocking.enqueue_many([shout.call("a")], return_exceptions=True)
    assert_type(tried, list[BlockingJob[str] | stem_core.EnqueueError])
    stem.blocking.enqueue_many([double.enqueue(1)])  # E: a call, not a coroutine
    stem.blocking.enqueue_many([1])  # E: a call
    assert_type(stem.blocking.list(states=["dead"]).items, tuple[TaskStatus, ...])
    with stem.override(backend=None) as t:
        assert_type(t.enqueued, list[Envelope])
        assert_type(t.drain(), int)


async def working() -> None:
    async with Worker(stem, queues=["default", "billing"], concurrency=4) as worker:
        assert_type(worker, Worker)
    Worker(stem, concurency=4)  # E: a typo
    Worker(stem, concurrency="4")  # E: an int
    Worker(stem, queues=[1])  # E: names
    Worker("memory://")  # E: a Stem


async def opened() -> None:
    async with Stem.from_environment({"STEM_BROKER_URL": "memory://"}) as other:
        assert_type(other, Stem)
