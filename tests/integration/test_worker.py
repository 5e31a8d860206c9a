"""One worker's life, and one delivery's way through it, over memory://."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from integration import shop
from integration.shop import gate, stem

from stem_core.contracts.hookspecs import AppInfo, hookimpl
from stem_core.contracts.messages import CancelStatus, Message, Place
from stem_core.contracts.observer import Event
from stem_core.model.errors import (
    InvalidOption,
    StoreUnavailable,
    TaskCancelled,
    TaskFailed,
    UsageError,
)
from stem_core.model.options import TaskOptions
from stem_core.model.outcome import State
from stem_core.model.settings import StemConfig
from stem_core.producer.client import Stem
from stem_core.producer.registry import TaskRegistry
from stem_core.testing.clock import FakeClock
from stem_core.worker.burst import burst
from stem_core.worker.exits import DRAINED, HANDED_BACK, STUCK
from stem_core.worker.worker import Worker

looking = Stem(broker="memory://looking")
mine = contextvars.ContextVar("mine", default=-1)
sights: list[tuple[int, int, asyncio.Task[Any] | None]] = []


@looking.task
async def looks(n: int, waits: bool) -> None:
    before = mine.get()
    mine.set(n)
    if waits:
        await asyncio.sleep(0)
    sights.append((before, mine.get(), asyncio.current_task()))


def run(main: Callable[[], Awaitable[Any]], **how: Any) -> Any:
    """Run *main* on a store of its own."""

    async def in_time() -> Any:
        async with asyncio.timeout(30):
            return await main()

    with stem.override(**how):
        return asyncio.run(in_time())


async def begun() -> None:
    """Return when the task of the gate runs."""
    while not gate.begun.is_set():
        await asyncio.sleep(0.001)


async def located(id: str):
    lane = await stem.lane()
    (where,) = await lane.broker.lookup([id])
    assert where is not None
    return where


# ── how a task ends ──────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", [shop.add, shop.add_in_thread])
def test_a_value_comes_back(task):
    async def main():
        async with Worker(stem):
            return await (await task.enqueue(2, b=3)).result(timeout=10)

    assert run(main) == 5


def test_a_failing_task_is_tried_again_until_it_succeeds():
    async def main():
        async with Worker(stem):
            job = await shop.fails_twice.enqueue("twice")
            value = await job.result(timeout=10)
            return value, await job.status()

    value, status = run(main)
    assert (value, status.attempt, status.state) == (3, 3, State.SUCCEEDED)


@pytest.mark.parametrize("what", ["exit", "interrupt", "cancel itself"])
def test_a_worker_survives_what_a_task_raises(what):
    with stem.override(clock=(clock := FakeClock())) as t:
        job = shop.says.blocking.enqueue(what)
        t.drain()
        clock.advance("10m")
        t.drain()
        assert job.result(timeout=10) == "came back"


def test_retry_waits_as_long_as_the_task_says():
    with stem.override(clock=(clock := FakeClock())) as t:
        job = shop.says.blocking.enqueue("retry")
        t.drain()
        clock.advance("59s")
        assert t.drain() == 0
        clock.advance("1s")
        t.drain()
        status = job.status()
    assert status is not None
    assert (status.state, status.attempt, status.value) == (State.SUCCEEDED, 2, "came back")


def test_snooze_uses_no_attempt():
    with stem.override(clock=(clock := FakeClock())) as t:
        job = shop.says.using(max_retries=0).blocking.enqueue("snooze")
        t.drain()
        clock.advance("1m")
        t.drain()
        status = job.status()
    assert status is not None
    assert (status.state, status.attempt, status.value) == (State.SUCCEEDED, 1, "came back")


@pytest.mark.parametrize(
    ("what", "state", "place", "reason"),
    [
        ("discard", State.DISCARDED, None, "nobody needs it"),
        ("reject", State.DEAD, Place.DEAD, "rejected"),
    ],
)
def test_a_task_chooses_its_end(what, state, place, reason):
    async def main():
        job = await shop.says.enqueue(what)
        await burst(stem)
        lane = await stem.lane()
        (where,) = await lane.broker.lookup([job.id])
        return await job.status(), where and where.place

    status, found = run(main)
    assert (status.state, status.reason, found) == (state, reason, place)
    assert shop.runs[what] == 1


def test_a_result_that_nobody_wants_is_not_kept():
    async def main():
        job = await shop.add.using(ignore_result=True).enqueue(1)
        taken = await burst(stem)
        return taken, await job.status()

    assert run(main) == (1, None)


def test_without_a_backend_tasks_run_all_the_same():
    async def main():
        await shop.note.enqueue("ran")
        await burst(stem)

    run(main, backend=None)
    assert shop.seen == ["ran"]


def test_broker_and_backend_may_be_two_stores():
    async def main():
        async with Worker(stem):
            good = await shop.add.enqueue(1)
            bad = await shop.says.enqueue("reject")
            value = await good.result(timeout=10)
            with pytest.raises(TaskFailed):
                await bad.result(timeout=10)
            return value

    assert run(main, broker="memory://one", backend="memory://two") == 2


# ── what a task knows and asks for ───────────────────────────────────────────


def test_a_task_knows_who_it_is():
    async def main():
        call = shop.who_am_i.using(headers={"h": "1"}, meta={"m": 2}, queue="special")
        async with Worker(stem, queues=["special"]):
            job = await call.enqueue()
            return job.id, await job.result(timeout=10)

    id, told = run(main)
    assert told == {
        "id": id,
        "task": shop.who_am_i.name,
        "queue": "special",
        "attempt": 1,
        "headers": {"h": "1"},
        "meta": {"m": 2},
        "is_current": True,
    }


@pytest.mark.parametrize("waits", [False, True])
def test_each_delivery_has_an_asyncio_task_and_context_variables_of_its_own(waits):
    async def main():
        sights.clear()
        async with Worker(looking, concurrency=4):
            jobs = await looking.enqueue_many([looks.call(n, waits) for n in range(20)])
            for job in jobs:
                await job.result(timeout=10)
        return asyncio.current_task()

    mains = asyncio.run(main())
    tasks = {task for _, _, task in sights}
    assert [(before, after) for before, after, _ in sights] == [(-1, n) for n in range(20)]
    assert len(tasks) == 20
    assert not tasks & {mains, None}


def test_a_task_in_a_thread_knows_too():
    async def main():
        async with Worker(stem, name="me"):
            job = await shop.who_am_i_in_a_thread.using(headers={"h": "1"}).enqueue()
            return await job.result(timeout=10)

    told = run(main)
    assert told["is_current"]
    assert told["headers"] == {"h": "1"}
    assert told["thread"].startswith("me-task")


def test_progress_is_seen_while_the_task_runs():
    async def main():
        async with Worker(stem):
            job = await shop.reports.enqueue()
            await begun()
            while (status := await job.status()) is None or status.progress != {"step": 2}:
                await asyncio.sleep(0.001)
            gate.open.set()
            return status.state

    assert run(main) is State.RUNNING


def test_follow_ups_are_published_when_the_task_succeeds():
    async def main():
        job = await shop.with_follow_ups.enqueue()
        await burst(stem)
        return [await stem.status(id) for id in await job.result(timeout=10)]

    statuses = run(main)
    assert sorted(shop.seen) == ["at once", "later"]
    assert [status.state for status in statuses] == [State.SUCCEEDED, State.SUCCEEDED]


def test_an_attempt_that_runs_again_enqueues_nothing_twice():
    async def main():
        await shop.with_follow_ups.enqueue(fail_first=True)
        return await burst(stem)

    # two attempts and two follow-ups
    assert run(main) == 4
    assert sorted(shop.seen) == ["at once", "later"]


def test_a_follow_up_under_an_id_that_is_taken_does_not_harm_its_parent():
    async def main():
        await shop.note.using(task_id="taken").enqueue("the first")
        job = await shop.enqueues_under.enqueue("taken")
        await burst(stem)
        return await job.result(timeout=10)

    assert run(main) == "done"
    assert shop.seen == ["the first"]


# ── time limits ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", [shop.too_long, shop.too_long_in_thread])
@pytest.mark.parametrize("cleans_up", [True, False])
def test_the_soft_limit_is_raised_inside_the_task(task, cleans_up):
    clock = FakeClock()

    async def main():
        async with Worker(stem):
            job = await task.enqueue(cleans_up)
            await begun()
            while clock.sleepers < 3:  # the watches of the limit and of the polls, and the keeper
                await asyncio.sleep(0.001)
            clock.advance("10s")
            if cleans_up:
                return await job.result()
            with pytest.raises(TaskFailed, match=r"soft time limit|SoftTimeLimitExceeded"):
                await job.result()
            return await job.status()

    ended = run(main, clock=clock)
    if cleans_up:
        assert ended == "cleaned up in time"
    else:
        assert (ended.state, ended.reason) == (State.DEAD, "timed-out")


def test_time_begins_when_a_thread_is_free_and_not_in_the_queue():
    clock, observer = FakeClock(), Remembering()

    async def main():
        async with Worker(stem, threads=1, observers=[observer]) as worker:
            await shop.waits_in_thread.enqueue()
            await begun()
            job = await shop.too_long_in_thread.enqueue(True)
            while worker.running < 2:
                await asyncio.sleep(0.001)
            clock.advance("15s")  # more than the limit of what waits in the queue
            began_ms = clock.wall_ms()
            gate.begun.clear()
            gate.open.set()
            await begun()
            while clock.sleepers < 3:
                await asyncio.sleep(0.001)
            clock.advance("10s")
            value, lane = await job.result(), await stem.lane()
            assert lane.backend is not None
            (record,) = await lane.backend.load([job.id])
            assert record is not None
            return value, record.started_at_ms - began_ms

    assert run(main, clock=clock) == ("cleaned up in time", 0)
    (started,) = [
        event
        for event in observer.events
        if (event.name, event.task) == ("task-started", shop.too_long_in_thread.name)
    ]
    assert started.detail["wait_ms"] == 15_000


def test_the_hard_limit_ends_the_task():
    clock = FakeClock()

    async def main():
        async with Worker(stem):
            job = await shop.runs_into_its_hard_limit.enqueue()
            await begun()
            while clock.sleepers < 3:
                await asyncio.sleep(0.001)
            clock.advance("10s")
            with pytest.raises(TaskFailed, match="hard time limit"):
                await job.result()
            return await job.status()

    status = run(main, clock=clock)
    assert (status.state, status.reason) == (State.DEAD, "timed-out")


def test_a_task_that_does_not_end_at_its_hard_limit_ends_the_worker():
    clock = FakeClock()

    async def main():
        worker = Worker(stem)
        running = asyncio.create_task(worker.run())
        call = shop.ignores_cancellation.using(hard_time_limit="10s", max_retries=0)
        job = await call.enqueue()
        await begun()
        while not running.done():
            await asyncio.sleep(0.001)
            clock.advance("1s")
        gate.open.set()
        return await running, (await located(job.id)).place

    assert run(main, clock=clock) == (STUCK, Place.DEAD)
    assert "ignored" in shop.seen


# ── cancelling ───────────────────────────────────────────────────────────────


def test_a_waiting_task_is_cancelled_at_once():
    async def main():
        job = await shop.hello.enqueue("never")
        assert await job.cancel() is CancelStatus.CANCELLED
        await burst(stem)
        with pytest.raises(TaskCancelled):
            await job.result(timeout=10)

    run(main)
    assert shop.runs["never"] == 0


def test_a_running_task_is_cancelled_where_it_waits():
    clock = FakeClock()

    async def main():
        async with Worker(stem):
            job = await shop.waits.enqueue()
            await begun()
            assert await job.cancel() is CancelStatus.REQUESTED
            await _let_the_keeper_renew(clock)
            with pytest.raises(TaskCancelled):
                await job.result()
            return await job.status()

    assert run(main, clock=clock).state is State.CANCELLED


def test_the_record_of_a_cancelled_task_says_why_in_the_words_of_whoever_did_it():
    clock = FakeClock()

    async def main():
        async with Worker(stem):
            job = await shop.waits.enqueue()
            await begun()
            await job.cancel("the order was withdrawn")
            await _let_the_keeper_renew(clock)
            with pytest.raises(TaskCancelled, match="the order was withdrawn"):
                await job.result()

    run(main, clock=clock)


def test_a_task_in_a_thread_is_asked_to_end():
    clock = FakeClock()

    async def main():
        async with Worker(stem):
            job = await shop.waits_in_thread.enqueue()
            await begun()
            assert await job.cancel() is CancelStatus.REQUESTED
            await _let_the_keeper_renew(clock)
            with pytest.raises(TaskCancelled):
                await job.result()

    run(main, clock=clock)
    assert shop.seen == ["noticed"]


async def _let_the_keeper_renew(clock: FakeClock) -> None:
    for _ in range(12):
        while not clock.sleepers:
            await asyncio.sleep(0.001)
        clock.advance("1s")
        await asyncio.sleep(0.001)


# ── admission ────────────────────────────────────────────────────────────────


def test_what_expired_is_not_run():
    with stem.override(clock=(clock := FakeClock())) as t:
        job = shop.hello.using(expires="1m").blocking.enqueue("late")
        clock.advance("2m")
        t.drain()
        status = job.status()
        where = asyncio.run(located(job.id))
    assert shop.runs["late"] == 0
    assert status is not None
    assert (status.state, status.reason) == (State.EXPIRED, "expired")
    assert (where.place, where.reason) == (Place.DEAD, "expired")


def test_an_unknown_task_is_parked_and_runs_once_somebody_knows_it():
    with stem.override(clock=(clock := FakeClock())) as t:
        task_id = stem.blocking.enqueue("hello.wave", {"name": "x"})
        t.drain()
        status = stem.blocking.status(task_id)
        assert status is not None
        assert status.state is State.PARKED
        stem.registry._aliases["hello.wave"] = shop.hello
        try:
            clock.advance("1m")
            t.drain()
            assert stem.blocking.result(task_id, timeout=10) == "Hello, x!"
        finally:
            del stem.registry._aliases["hello.wave"]


def test_a_task_that_stays_unknown_ends_in_the_dead_letters():
    with stem.override(clock=(clock := FakeClock())) as t:
        task_id = stem.blocking.enqueue("helo.print", {"name": "x"})
        rounds = 0
        while asyncio.run(located(task_id)).place is not Place.DEAD:
            t.drain()
            clock.advance("1m")
            rounds += 1
            assert rounds < 100
        status = stem.blocking.status(task_id)
    assert 55 < rounds < 75
    assert status is not None
    assert (status.state, status.reason, status.attempt) == (State.DEAD, "unregistered-task", 0)
    assert status.error is not None
    assert "hello.print" in status.error.message


def test_a_call_that_this_worker_cannot_run_is_parked_with_a_word_and_ends_as_rejected(caplog):
    with stem.override(clock=(clock := FakeClock())) as t:
        aside = Stem("memory://", config=stem.config)
        message = aside.pipeline.prepare(
            aside.call(shop.add_in_thread.name, {"a": 1}, options=TaskOptions(hard_time_limit="5s"))
        )

        async def publish() -> None:
            await (await stem.lane()).broker.publish([message])

        asyncio.run(publish())
        t.drain()
        assert "is parked: this worker cannot run" in caplog.text
        clock.advance("2h")
        t.drain()
        status = stem.blocking.status(message.id)
    assert caplog.text.count("is parked") == 1
    assert status is not None
    assert (status.state, status.reason) == (State.DEAD, "rejected")
    assert status.error is not None
    assert status.error.type.endswith("CapabilityMissing")


def test_poison_is_counted_by_lapses_and_nothing_else():
    async def lapse() -> None:
        lane = await stem.lane()
        (taken,) = await lane.broker.fetch(["default"], limit=1, wait_ms=0, worker="dies")
        assert taken.attempt == 1

    with stem.override(clock=(clock := FakeClock())) as t:
        job = shop.hello.blocking.enqueue("poison")
        for _ in range(5):
            asyncio.run(lapse())
            clock.advance("31s")
        t.drain()
        status = job.status()
    assert shop.runs["poison"] == 0
    assert status is not None
    assert (status.state, status.reason) == (State.DEAD, "poison")


# ── stopping ─────────────────────────────────────────────────────────────────


def test_draining_lets_a_running_task_finish():
    async def main():
        observer = Remembering()
        worker = Worker(stem, observers=[observer])
        running = asyncio.create_task(worker.run())
        job = await shop.waits.enqueue()
        await begun()
        worker.drain()
        while "worker-draining" not in [event.name for event in observer.events]:
            await asyncio.sleep(0)
        later = await shop.hello.enqueue("after the drain")
        gate.open.set()
        code = await running
        return code, await job.result(timeout=10), (await located(later.id)).place

    assert run(main) == (DRAINED, "gate open", Place.READY)


@pytest.mark.parametrize("task", [shop.waits, shop.waits_in_thread])
def test_what_does_not_finish_in_the_grace_is_handed_back_without_blame(task):
    async def main():
        worker = Worker(stem, grace=0)
        running = asyncio.create_task(worker.run())
        job = await task.enqueue("handed back")
        await begun()
        worker.drain()
        code = await running
        where = await located(job.id)
        gate.open.set()
        async with Worker(stem):
            value = await job.result(timeout=10)
        return code, where, value

    code, where, value = run(main)
    assert code == HANDED_BACK
    assert (where.place, where.attempt, where.lapses, where.releases) == (Place.READY, 0, 0, 1)
    assert value == "gate open"
    assert shop.runs["handed back"] == 2


def test_a_second_wish_hands_back_at_once():
    async def main():
        worker = Worker(stem, grace="1h")
        running = asyncio.create_task(worker.run())
        await shop.waits.enqueue()
        await begun()
        worker.drain()
        await asyncio.sleep(0)
        worker.stop_now()
        return await running

    assert run(main) == HANDED_BACK


def test_a_task_that_ignores_cancellation_does_not_hold_up_a_shutdown():
    async def main():
        worker = Worker(stem, grace=0)
        running = asyncio.create_task(worker.run())
        job = await shop.ignores_cancellation.enqueue()
        await begun()
        worker.drain()
        code = await running
        place = (await located(job.id)).place
        gate.open.set()
        await asyncio.sleep(0.01)
        return code, place

    assert run(main) == (HANDED_BACK, Place.READY)


def test_calls_that_wait_for_a_thread_are_handed_back_when_draining():
    async def main():
        worker = Worker(stem, threads=1)
        running = asyncio.create_task(worker.run())
        first = await shop.waits_in_thread.enqueue("first")
        await begun()
        waiting = await shop.add_in_thread.enqueue(1)
        while worker.running < 2:
            await asyncio.sleep(0.001)
        worker.drain()
        while (await located(waiting.id)).place is not Place.READY:
            await asyncio.sleep(0.001)
        gate.open.set()
        return await running, await first.result(timeout=10)

    assert run(main) == (DRAINED, "gate open")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_a_second_one_hands_back(number):
    async def main():
        worker = Worker(stem, grace="1h")
        await worker.start()
        worker.install_signals()
        job = await shop.waits.enqueue()
        await begun()
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.01)
        assert (await located(job.id)).place is Place.LEASED
        os.kill(os.getpid(), number)
        return await worker.ended()

    before = signal.getsignal(number)
    assert run(main) == HANDED_BACK
    assert signal.getsignal(number) == before


def test_a_program_that_is_cancelled_stops_its_worker_first():
    async def main():
        job = await shop.waits.enqueue()
        running = asyncio.create_task(Worker(stem, grace="1h").run())
        await begun()
        running.cancel()
        await asyncio.wait([running])
        return running.cancelled(), (await located(job.id)).place

    assert run(main) == (True, Place.READY)


def test_a_worker_is_started_once():
    async def main():
        worker = Worker(stem)
        async with worker:
            with pytest.raises(UsageError, match="started before"):
                await worker.start()

    run(main)


def assert_no_keeper_is_left() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("stem-leases"):
            thread.join(10)
            assert not thread.is_alive()


def test_a_worker_leaves_no_thread_behind():
    async def main():
        async with Worker(stem):
            await (await shop.add_in_thread.enqueue(1)).result(timeout=10)

    run(main)
    assert_no_keeper_is_left()


# ── concurrency ──────────────────────────────────────────────────────────────


def test_no_more_is_taken_than_can_be_run():
    async def main():
        jobs = [await shop.waits.enqueue(f"job {n}") for n in range(5)]
        async with Worker(stem, concurrency=2) as worker:
            await begun()
            await asyncio.sleep(0.01)
            held = [(await located(job.id)).place for job in jobs]
            running = worker.running
            gate.open.set()
            for job in jobs:
                await job.result(timeout=10)
        return running, held.count(Place.LEASED)

    assert run(main) == (2, 2)


def test_functions_that_wait_for_a_thread_do_not_hold_up_coroutines():
    async def main():
        async with Worker(stem, threads=1):
            for _ in range(3):
                await shop.waits_in_thread.enqueue()
            await begun()
            value = await (await shop.add.enqueue(1)).result(timeout=10)
            gate.open.set()
            return value

    assert run(main) == 2


FROZEN = """
import asyncio, threading, time
from stem_core.producer.client import Stem
from stem_core.worker.worker import Worker

stem, begun = Stem("memory://"), threading.Event()

@stem.task
def blocks() -> None:
    begun.set()
    time.sleep(600)

async def main() -> None:
    async with Worker(stem, grace=0):
        await blocks.enqueue()
        while not begun.is_set():
            await asyncio.sleep(0.001)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_process_ends_although_a_thread_of_its_worker_does_not(tmp_path):
    program = tmp_path / "frozen.py"
    program.write_text(FROZEN)
    ended = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    assert "does not end" in ended.stderr


hoarding = Stem(
    "memory://hoarding",
    config=StemConfig(prefetch_multiplier=3),
    registry=(hoarded := TaskRegistry()),
)


@hoarded.task(name="hoarded")
async def hoarded_task(number: int) -> int:
    gate.begun.set()
    while not gate.open.is_set():
        await asyncio.sleep(0.001)
    return number


def test_what_was_fetched_ahead_runs_in_its_turn_or_is_handed_back_when_draining():
    async def main():
        jobs = [await hoarded_task.enqueue(number) for number in range(4)]
        worker = Worker(hoarding, concurrency=1)
        running = asyncio.create_task(worker.run())
        await begun()
        held = worker.running
        worker.drain()
        while worker.running > 1:
            await asyncio.sleep(0.001)
        gate.open.set()
        code = await running
        async with Worker(hoarding, concurrency=1):
            return code, held, [await job.result(timeout=10) for job in jobs]

    assert asyncio.run(main()) == (DRAINED, 3, [0, 1, 2, 3])


def test_a_worker_that_nobody_stops_does_not_hold_up_the_end_of_its_loop():
    async def main():
        await Worker(stem, grace="1h").start()
        await shop.waits.enqueue()
        await begun()

    run(main)
    assert_no_keeper_is_left()


def test_a_worker_whose_stem_was_closed_says_so():
    async def main():
        lane = await stem.lane()
        worker = Worker(stem)
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(0.01)
        aside = lane.broker.sibling()
        await lane.broker.aclose()
        await aside.publish([Message(id="wakes it", queue="default", task="x", body=b"{}")])
        with pytest.raises(UsageError, match="closed"):
            await running

    run(main)


def test_a_block_is_left_with_an_error_when_its_worker_ends_by_itself(caplog):
    clock = FakeClock()

    async def turn_the_clock() -> None:
        while True:
            await asyncio.sleep(0.001)
            clock.advance("1s")

    async def main():
        async with Worker(stem) as worker:
            await shop.ignores_cancellation.using(hard_time_limit="10s").enqueue()
            await begun()
            turning = asyncio.create_task(turn_the_clock())
            try:
                await asyncio.Event().wait()
            finally:
                turning.cancel()
                gate.open.set()
                assert worker.running == 0

    async def go():
        with pytest.raises(UsageError, match=f"exit code {STUCK} although nobody told it"):
            await main()
        me = asyncio.current_task()
        assert me is not None
        return me.cancelling()

    assert run(go, clock=clock) == 0
    assert "stopped although nobody told it to: exit code 70" in caplog.text


def test_a_block_whose_stem_is_closed_says_what_ended_its_worker():
    async def main():
        async with Worker(stem):
            lane = await stem.lane()
            aside = lane.broker.sibling()
            await lane.broker.aclose()
            await aside.publish([Message(id="wakes it", queue="default", task="x", body=b"{}")])
            await asyncio.Event().wait()

    with pytest.raises(UsageError, match="closed"):
        run(main)


def test_an_error_of_the_block_is_not_hidden_by_its_worker():
    async def main():
        async with Worker(stem, grace=0):
            await shop.waits.enqueue()
            await begun()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)


def test_each_queue_gets_its_turn():
    async def main():
        for n in range(50):
            await shop.note.using(queue="busy").enqueue(f"busy {n}")
        await shop.note.using(queue="quiet").enqueue("quiet")
        async with Worker(stem, queues=["busy", "quiet"], concurrency=1):
            while len(shop.seen) < 51:
                await asyncio.sleep(0.001)

    run(main)
    assert shop.seen.index("quiet") < 50


@pytest.mark.parametrize("queues", [[], {}, ""])
def test_no_queue_at_all_is_refused_and_is_not_the_default(queues):
    with stem.override(), pytest.raises(InvalidOption, match="queues is empty"):
        Worker(stem, queues=queues)


@pytest.mark.parametrize("given", [{"concurrency": 0}, {"threads": -1}, {"concurrency": True}])
def test_impossible_settings_are_refused(given):
    with stem.override(), pytest.raises(InvalidOption):
        Worker(stem, **given)


def test_without_queues_a_worker_serves_those_of_its_tasks():
    with stem.override():
        assert Worker(stem).queues == ("default", "billing")


# ── a store that is away ─────────────────────────────────────────────────────


def test_a_worker_survives_an_outage_and_goes_on(caplog):
    async def main():
        async with Worker(stem):
            await (await shop.add.enqueue(1)).result(timeout=10)
            lane = await stem.lane()
            broker = lane.broker
            fetch, failures = broker.fetch, 0

            async def cut(*args: Any, **more: Any) -> Any:
                nonlocal failures
                failures += 1
                raise StoreUnavailable("cut")

            object.__setattr__(broker, "fetch", cut)
            await shop.add.enqueue(0)  # wakes the fetch that waits
            while failures < 3:
                await asyncio.sleep(0.001)
            object.__setattr__(broker, "fetch", fetch)
            return await (await shop.add.enqueue(2)).result(timeout=10)

    caplog.set_level("INFO")
    assert run(main) == 3
    assert caplog.text.count("the broker is away") == 1
    assert "the broker is back" in caplog.text


def test_running_what_is_ready_says_when_the_store_is_away():
    async def main():
        lane = await stem.lane()

        async def cut(*args: Any, **more: Any) -> Any:
            raise StoreUnavailable("cut")

        object.__setattr__(lane.broker, "fetch", cut)
        with pytest.raises(StoreUnavailable):
            await burst(stem)

    run(main)


# ── watching ─────────────────────────────────────────────────────────────────


class Remembering:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event, /) -> None:
        self.events.append(event)


def test_observers_are_told_of_each_step_once():
    observer = Remembering()

    async def main():
        async with Worker(stem, observers=[observer]):
            await (await shop.fails_twice.enqueue("watched")).result(timeout=10)
            job = await shop.says.enqueue("reject")
            with pytest.raises(TaskFailed):
                await job.result(timeout=10)

    run(main)
    names = [event.name for event in observer.events]
    assert names[0] == "worker-started"
    assert names[-2:] == ["worker-draining", "worker-stopped"]
    tasks = [event for event in observer.events if event.task == shop.fails_twice.name]
    assert [(event.name, event.attempt) for event in tasks] == [
        ("task-started", 1),
        ("task-retried", 1),
        ("task-started", 2),
        ("task-retried", 2),
        ("task-started", 3),
        ("task-succeeded", 3),
    ]
    (failed,) = [event for event in observer.events if event.name == "task-failed"]
    assert failed.detail["reason"] == "rejected"
    assert "look at this" in failed.detail["error"]


def test_observers_are_told_of_follow_ups_once():
    observer = Remembering()

    async def main():
        async with Worker(stem, observers=[observer]):
            job = await shop.with_follow_ups.enqueue()
            ids = await job.result(timeout=10)
            for id in ids:
                await stem.result(id, timeout=10)
            return ids

    ids = run(main)
    told = [event.task_id for event in observer.events if event.name == "task-enqueued"]
    assert sorted(told) == sorted(ids)


def test_plugins_are_asked_for_observers_once():
    asked: list[str] = []

    class Watching:
        STEM_PLUGIN_API = (1, 0)

        @hookimpl
        def stem_observers(self, app: AppInfo) -> list[Remembering]:
            asked.append(app.role)
            return [observer]

    observer = Remembering()
    watched = Stem("memory://")
    watched.plugins.register(Watching())

    async def main():
        for _ in range(3):
            await burst(watched)
        Worker(watched)

    with watched.override():
        asyncio.run(main())
    assert asked.count("worker") == 1
    assert [event.name for event in observer.events].count("worker-started") == 3


def test_a_follow_up_of_an_earlier_attempt_is_no_error(caplog):
    async def main():
        await shop.with_follow_ups.enqueue(fail_first=True)
        return await burst(stem)

    assert run(main) == 4
    assert "was not published" not in caplog.text


def test_a_follow_up_at_once_under_an_id_that_is_taken_is_told_of(caplog):
    async def main():
        await shop.note.using(task_id="taken").enqueue("the first")
        await shop.enqueues_under.enqueue("taken", now=True)
        await burst(stem)

    run(main)
    assert "was not published: another call has that id" in caplog.text
    assert shop.seen == ["the first"]


@pytest.mark.parametrize(
    ("how", "said", "warned"),
    [
        ({}, "durability memory; a result commits in one step", False),
        ({"backend": None}, "durability memory; no results are kept", False),
        ({"broker": "memory://one", "backend": "memory://two"}, "in a step of its own", True),
    ],
)
def test_a_worker_says_at_its_start_what_is_sure(how, said, warned, caplog):
    caplog.set_level("INFO")

    async def main():
        async with Worker(stem):
            pass

    run(main, **how)
    assert said in caplog.text
    assert ("different stores" in caplog.text) == warned


def test_burst_serves_every_queue_that_the_broker_knows():
    async def main():
        await shop.note.using(queue="elsewhere").enqueue("elsewhere")
        await stem.enqueue(shop.note.name, {"what": "here"}, options=TaskOptions(queue="here"))
        return await burst(stem)

    assert run(main) == 2
    assert sorted(shop.seen) == ["elsewhere", "here"]
