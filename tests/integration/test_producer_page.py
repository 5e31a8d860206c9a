"""The promises of the producer page, end to end on memory://: those that need one process."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from integration import shop
from integration.shop import stem

from stem_core.contracts.messages import Place
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.model.errors import InvalidOption, TaskFailed
from stem_core.model.options import TaskOptions
from stem_core.model.outcome import State
from stem_core.producer.client import Stem
from stem_core.producer.registry import SimpleTaskRegistry
from stem_core.testing.clock import FakeClock
from stem_core.worker.burst import burst
from stem_core.worker.worker import Worker

greetings = SimpleTaskRegistry()


@greetings.task(name="hello.print")
async def greet(name: str) -> str:
    return f"Hello, {name}!"


def test_s2_a_producer_without_task_code_reaches_a_worker_with_it():
    producer = Stem("memory://s2")
    worker_side = Stem("memory://s2", registry=greetings)

    async def main():
        task_id = await producer.enqueue("hello.print", args={"name": "Stem"})
        await burst(worker_side)
        return await producer.result(task_id, timeout=10)

    assert asyncio.run(main()) == "Hello, Stem!"


def test_s2_the_same_without_an_event_loop():
    with stem.override() as t:
        task_id = stem.blocking.enqueue("hello.print", {"name": "Stem"})
        t.drain()
        assert stem.blocking.result(task_id, timeout=10) == "Hello, Stem!"


def test_s4_s5_s6_a_name_that_nobody_registered_can_be_enqueued():
    async def main():
        producer = Stem(
            broker=InMemoryBroker("s5"),
            registry=SimpleTaskRegistry(),
            backend=InMemoryResultBackend("s5"),
        )
        return await producer.enqueue("hello.print", args={"name": "Stem"})

    assert isinstance(asyncio.run(main()), str)


def test_s7_ids_are_unique_and_sort_by_time():
    with stem.override(clock=(clock := FakeClock())):
        ids = []
        for _ in range(20):
            ids.append(stem.blocking.enqueue("hello.print", {"name": "x"}))
            clock.advance("1s")
    assert ids == sorted(set(ids))


def test_s8_a_stem_closes_as_often_as_one_likes():
    async def main():
        async with Stem("memory://s8") as here:
            await here.enqueue("hello.print", {"name": "x"})
        await here.aclose()
        await here.aclose()

    asyncio.run(main())


def test_s12_options_of_the_call_reach_the_queue_and_count_the_retries():
    with stem.override(clock=(clock := FakeClock())) as t:
        name = shop.always_fails.name
        options = TaskOptions(queue="reports", max_retries=3)
        meta = {"requestedBy": "finance"}
        task_id = stem.blocking.enqueue(name, {"key": "s12"}, options=options, meta=meta)
        for _ in range(10):
            t.drain()
            clock.advance("10m")
        assert shop.runs["s12"] == 4
        status = stem.blocking.status(task_id)
        assert status is not None
        assert (status.state, status.queue, status.attempt) == (State.DEAD, "reports", 4)
        assert status.reason == "max-retries-exhausted"


def test_s13_s22_meta_is_kept_with_every_state():
    meta = {"requestedBy": "finance"}

    def state_and_meta(id: str) -> tuple[State, dict[str, object]]:
        status = stem.blocking.status(id)
        assert status is not None
        return status.state, status.meta

    with stem.override(clock=FakeClock()) as t:
        good = shop.hello.using(meta=meta).blocking.enqueue("x").id
        later = shop.hello.using(meta=meta, delay="1m").blocking.enqueue("x").id
        bad = shop.says.using(meta=meta).blocking.enqueue("reject").id
        assert state_and_meta(good) == (State.QUEUED, meta)
        assert state_and_meta(later) == (State.SCHEDULED, meta)
        t.drain()
        assert state_and_meta(good) == (State.SUCCEEDED, meta)
        assert state_and_meta(bad) == (State.DEAD, meta)


def test_s18_s24_not_before_keeps_a_task_back_until_then_and_not_longer():
    with stem.override(clock=(clock := FakeClock())) as t:
        args = {"customer_id": "cust_123", "amount": 4200}
        soon = clock.now() + timedelta(minutes=5)
        task_id = stem.blocking.enqueue("billing.charge", args, not_before=soon)
        t.drain()
        clock.advance("4m59s")
        t.drain()
        assert shop.runs["charge"] == 0
        clock.advance("1s")
        t.drain()
        assert stem.blocking.result(task_id, timeout=10) == "cust_123:4200"


def test_s18_a_time_that_has_passed_means_at_once():
    with stem.override(clock=(clock := FakeClock())) as t:
        past = clock.now() - timedelta(days=1)
        shop.hello.using(not_before=past).blocking.enqueue("late")
        t.drain()
    assert shop.runs["late"] == 1


def test_s18_a_naive_datetime_is_refused():
    with stem.override(), pytest.raises(InvalidOption, match="time zone"):
        stem.blocking.enqueue("hello.print", {"name": "x"}, not_before=datetime(2030, 1, 1))


def test_s19_a_thousand_concurrent_calls_on_one_instance():
    async def main():
        jobs = await asyncio.gather(*(shop.add.enqueue(n) for n in range(1000)))
        async with Worker(stem):
            return [await job.result(timeout=30) for job in jobs]

    with stem.override():
        assert asyncio.run(main()) == list(range(1, 1001))


def test_s20_an_unknown_id_has_no_status():
    with stem.override():
        assert stem.blocking.status("never-seen") is None


def test_s21_priority_decides_who_is_first():
    with stem.override() as t:
        for priority in (0, 9, 5, 9, 1):
            shop.note.using(priority=priority).blocking.enqueue(str(priority))
        asyncio.run(_one_after_the_other())
        assert t.drain() == 0
    assert shop.seen == ["9", "9", "5", "1", "0"]


async def _one_after_the_other():
    async with Worker(stem, concurrency=1):
        async with asyncio.timeout(10):
            while len(shop.seen) < 5:
                await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("task", "isolation", "in_thread"),
    [
        (shop.which_thread, None, True),
        (shop.which_thread, "inline", False),
        (shop.which_thread_async, None, False),
        (shop.which_thread_async, "thread", True),
    ],
)
def test_s21_isolation_of_the_call_takes_effect(task, isolation, in_thread):
    call = task if isolation is None else task.using(isolation=isolation)

    async def main():
        job = await call.enqueue()
        async with Worker(stem, name="me"):
            return await job.result(timeout=10)

    with stem.override():
        assert asyncio.run(main()).startswith("me-task") is in_thread


def test_s21_the_visibility_timeout_of_the_call_is_the_length_of_its_lease():
    async def main():
        await shop.add.using(visibility_timeout="7m").enqueue(1)
        lane = await stem.lane()
        (delivery,) = await lane.broker.fetch(["default"], limit=1, wait_ms=0, worker="w")
        return delivery.message.lease_ms, delivery.lease_ms

    with stem.override(clock=FakeClock()):
        assert asyncio.run(main()) == (420_000, 420_000)


def test_s23_headers_reach_the_handler_and_survive_retry_and_replay():
    headers = {"traceparent": "00-1-2-01"}

    async def replay(id: str):
        lane = await stem.lane()
        assert lane.broker.admin is not None
        return await lane.broker.admin.replay([id])

    with stem.override(clock=(clock := FakeClock())) as t:
        job = shop.who_am_i.using(headers=headers, delay="5m").blocking.enqueue()
        clock.advance("5m")
        t.drain()
        assert job.result(timeout=10)["headers"] == headers
        dead = shop.says.using(headers=headers).blocking.enqueue("reject")
        t.drain()
        with pytest.raises(TaskFailed):
            dead.result(timeout=10)
        asyncio.run(replay(dead.id))
        t.drain()
        assert dead.result(timeout=10) == "came back"
        assert [each.headers for each in t.enqueued] == [headers, headers]


def test_a_message_is_visible_on_its_own_queue_only():
    async def main():
        job = await shop.charge.enqueue("c", 1)
        lane = await stem.lane()
        elsewhere = await lane.broker.fetch(["default"], limit=5, wait_ms=0, worker="w")
        (located,) = await lane.broker.lookup([job.id])
        return elsewhere, located

    with stem.override():
        elsewhere, located = asyncio.run(main())
    assert elsewhere == []
    assert located is not None
    assert (located.place, located.message.queue) == (Place.READY, "billing")


def test_timestamps_of_a_status_are_aware_and_in_order():
    with stem.override() as t:
        job = shop.hello.blocking.enqueue("x")
        t.drain()
        status = job.status()
    assert status is not None
    times = [status.enqueued_at, status.started_at, status.finished_at]
    assert all(each is not None and each.tzinfo is UTC for each in times)
    assert times == sorted(times)  # type: ignore[type-var]
