from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest
from unit.producer.shop import Colour, Order, charge, describe, tasks
from unit.producer.stores import Connection, Transactional, Willful, fresh_name

from stem_core.contracts.backend import Progress
from stem_core.contracts.capabilities import BackendCapabilities, Support
from stem_core.contracts.clock import SYSTEM_CLOCK
from stem_core.contracts.hookspecs import AppInfo, hookimpl
from stem_core.contracts.messages import (
    ACK,
    CancelStatus,
    DeadLetter,
    Delivery,
    RetryLater,
    Settlement,
)
from stem_core.contracts.observer import Event
from stem_core.discovery.host import PluginHost
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.model.codec import encode_value
from stem_core.model.errors import (
    CapabilityMissing,
    ConfigError,
    Fault,
    IdConflict,
    InvalidArguments,
    InvalidName,
    InvalidOption,
    InvalidURL,
    MissingSetting,
    NoResultBackend,
    NotEncodable,
    PublishRefused,
    ResultExpired,
    ResultTimeout,
    StoreError,
    TaskCancelled,
    TaskFailed,
    UnknownScheme,
    UsageError,
)
from stem_core.model.options import TaskOptions
from stem_core.model.outcome import Reason, Record, State, TaskError
from stem_core.model.settings import StemConfig, TlsConfig
from stem_core.model.value import replace
from stem_core.producer.client import Stem
from stem_core.producer.job import Job
from stem_core.producer.lane import Lane
from stem_core.producer.registry import SimpleTaskRegistry
from stem_core.testing.clock import FakeClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ORDER = Order(number=7, colour=Colour.RED, at=NOON)


def fresh(**given: Any) -> Stem:
    return Stem(f"memory://{fresh_name()}", **given)


def shop_stem(**given: Any) -> Stem:
    stem = fresh(**given)
    stem.include(tasks)
    return stem


async def take(stem: Stem, queue: str = "default") -> Delivery:
    """Lease the next message, as a worker does."""
    broker = (await stem.lane()).broker
    [delivery] = await broker.fetch([queue], limit=1, wait_ms=0, worker="w")
    return delivery


async def settle(
    stem: Stem, delivery: Delivery, state: State, outcome: Any = ACK, **facts: Any
) -> None:
    """End a delivery with a record, as a worker does."""
    lane: Lane = await stem.lane()
    message = delivery.message
    record = Record(
        id=message.id,
        state=state,
        fence=delivery.receipt.fence,
        task=message.task,
        queue=message.queue,
        **facts,
    )
    if not lane.atomic:
        assert lane.backend is not None
        await lane.backend.save([record])
    settlement = Settlement(
        receipt=delivery.receipt, outcome=outcome, record=record if lane.atomic else None
    )
    await lane.broker.settle([settlement])


# ── the page of the original, row by row ─────────────────────────────────────


def test_an_empty_registry_is_enough_to_enqueue_by_name() -> None:
    async def main() -> None:
        name = fresh_name()
        async with Stem(
            broker=InMemoryBroker(name),
            registry=SimpleTaskRegistry(),
            backend=InMemoryResultBackend(name),
        ) as stem:
            task_id = await stem.enqueue("hello.print", args={"name": "Stem"})
            assert type(task_id) is str
            status = await stem.status(task_id)
            assert status is not None
            assert (status.id, status.task, status.queue) == (task_id, "hello.print", "default")
            delivery = await take(stem)
            assert delivery.message.id == task_id
            assert stem.pipeline.open_message(delivery.message).args == {"name": "Stem"}

    asyncio.run(main())


def test_options_headers_and_meta_of_a_call_by_name_arrive() -> None:
    async def main() -> None:
        stem = fresh()
        await stem.enqueue(
            "reports.generate",
            args={"report_id": "monthly-2025-10"},
            options=TaskOptions(queue="reports", max_retries=3),
            headers={"traceparent": "00-1"},
            meta={"requested_by": "finance"},
        )
        envelope = stem.pipeline.open_message((await take(stem, "reports")).message)
        assert envelope.options == {"queue": "reports", "max_retries": 3}
        assert envelope.headers == {"traceparent": "00-1"}
        assert envelope.meta == {"requested_by": "finance"}

    asyncio.run(main())


def test_meta_is_in_the_status_wherever_the_task_stands() -> None:
    async def main() -> None:
        stem, meta = fresh(), {"requested_by": "finance"}

        async def state(id: str) -> str:
            status = await stem.status(id)
            assert status is not None
            assert status.meta == meta
            return status.state.value

        seen = []
        done = await stem.enqueue("a", meta=meta)
        seen.append(await state(done))
        delivery = await take(stem)
        seen.append(await state(done))
        await settle(stem, delivery, State.SUCCEEDED, meta=meta)
        seen.append(await state(done))
        dead = await stem.enqueue("a", meta=meta)
        await settle(stem, await take(stem), State.DEAD, DeadLetter(Reason.REJECTED), meta=meta)
        seen.append(await state(dead))
        later = await stem.enqueue("a", meta=meta, delay="5m")
        seen.append(await state(later))
        await stem.cancel(later)
        seen.append(await state(later))
        assert seen == ["queued", "running", "succeeded", "dead", "scheduled", "cancelled"]

    asyncio.run(main())


def test_nothing_starts_before_its_time_and_everything_does_after() -> None:
    async def main() -> None:
        clock = FakeClock(NOON)
        stem = fresh(clock=clock)
        broker = (await stem.lane()).broker
        await stem.enqueue("instant", not_before=NOON + timedelta(minutes=5))
        await stem.enqueue("delay", delay="5m")
        await stem.enqueue("past", not_before=NOON - timedelta(days=1))
        taken = await broker.fetch(["default"], limit=9, wait_ms=0, worker="w")
        assert [each.message.task for each in taken] == ["past"]
        await broker.settle([Settlement(receipt=taken[0].receipt)])
        clock.advance("299s")
        assert not await broker.fetch(["default"], limit=9, wait_ms=0, worker="w")
        clock.advance("1s")
        taken = await broker.fetch(["default"], limit=9, wait_ms=0, worker="w")
        assert sorted(each.message.task for each in taken) == ["delay", "instant"]

    asyncio.run(main())


def test_a_thousand_calls_at_once_on_one_stem() -> None:
    async def main() -> None:
        stem = fresh()
        ids = await asyncio.gather(*(stem.enqueue("a", {"n": n}) for n in range(1000)))
        assert len(set(ids)) == 1000
        admin = (await stem.lane()).broker.admin
        assert admin is not None
        assert [stats.ready for stats in await admin.stats(["default"])] == [1000]

    asyncio.run(main())


def test_an_unknown_id_has_no_status() -> None:
    assert asyncio.run(fresh().status("0199-never")) is None


# ── typed calls ──────────────────────────────────────────────────────────────


def test_a_typed_call_arrives_bound_and_gives_a_job() -> None:
    async def main() -> None:
        stem = shop_stem()
        job = await charge.enqueue("ada", amount=4200)
        assert job.created
        delivery = await take(stem, "billing")
        assert delivery.message.id == job.id
        assert stem.pipeline.open_message(delivery.message).args == {
            "customer": "ada",
            "amount": 4200,
        }

    asyncio.run(main())


def test_a_wrong_call_fails_in_the_producer_and_nothing_is_published() -> None:
    async def main() -> None:
        stem = shop_stem()
        with pytest.raises(InvalidArguments, match="Did you mean 'amount'"):
            await charge.enqueue("ada", amonut=4200)  # type: ignore[call-arg]
        with pytest.raises(NotEncodable, match=r"args\.x"):
            await stem.enqueue("a", {"x": float("inf")})
        admin = (await stem.lane()).broker.admin
        assert admin is not None
        assert await admin.stats() == []

    asyncio.run(main())


def test_an_id_that_the_caller_chose_runs_its_task_once_however_often_it_is_asked_for() -> None:
    async def main() -> None:
        clock = FakeClock(NOON)
        stem = shop_stem(clock=clock)
        first = await charge.using(task_id="order-1").enqueue("ada")
        clock.advance("1s")
        live = await charge.using(task_id="order-1", headers={"traceparent": "x"}).enqueue("ada")
        assert (first.created, live.created, live.id) == (True, False, "order-1")
        await settle(stem, await take(stem, "billing"), State.SUCCEEDED, value=encode_value("paid"))
        clock.advance("1s")
        ended = await charge.using(task_id="order-1").enqueue("ada")
        assert not ended.created
        assert await ended.result(timeout=5) == "paid"

    asyncio.run(main())


def test_an_id_that_another_call_has_is_a_conflict() -> None:
    async def main() -> None:
        stem = shop_stem()
        await charge.using(task_id="order-1").enqueue("ada")
        with pytest.raises(IdConflict, match="order-1"):
            await charge.using(task_id="order-1").enqueue("bob")
        with pytest.raises(IdConflict, match="order-1"):
            await stem.enqueue("another.task", {"customer": "ada"}, task_id="order-1")
        calls = [charge.using(task_id="order-1").call(name) for name in ("ada", "bob")]
        same, other = await stem.enqueue_many(calls, return_exceptions=True)
        assert isinstance(same, Job)
        assert isinstance(other, IdConflict)

    asyncio.run(main())


def test_the_id_of_a_task_that_has_ended_is_not_another_tasks() -> None:
    async def main() -> None:
        stem = shop_stem()
        await charge.using(task_id="order-1").enqueue("ada")
        await settle(stem, await take(stem, "billing"), State.SUCCEEDED, value=encode_value("paid"))
        with pytest.raises(IdConflict, match="order-1"):
            await stem.enqueue("billing.refund", {"customer": "ada"}, task_id="order-1")

    asyncio.run(main())


def test_a_chosen_id_finds_its_task_also_above_the_usual_size() -> None:
    async def main() -> None:
        stem, args = fresh(config=StemConfig(max_payload=4_000_000)), {"x": "y" * 2_000_000}
        assert await stem.enqueue("a", args, task_id="mine") == "mine"
        assert await stem.enqueue("a", args, task_id="mine", headers={"trace": "2"}) == "mine"
        with pytest.raises(IdConflict):
            await stem.enqueue("a", {**args, "z": 1}, task_id="mine")

    asyncio.run(main())


def test_a_unique_call_finds_the_one_that_holds_its_key() -> None:
    async def main() -> None:
        shop_stem()
        once = charge.using(unique=True)
        first, second = await once.enqueue("ada"), await once.enqueue("ada")
        other = await once.enqueue("bob")
        assert (second.id, second.created) == (first.id, False)
        assert other.created

    asyncio.run(main())


def test_what_the_broker_refuses_is_an_error_with_its_reason() -> None:
    async def main() -> None:
        broker = Willful()
        broker.refused = {"bad"}
        with pytest.raises(PublishRefused, match="bad: the broker refused it: not today"):
            await Stem(broker).enqueue("bad")

    asyncio.run(main())


# ── many at once ─────────────────────────────────────────────────────────────


def test_many_calls_are_one_round_trip_and_jobs_by_position() -> None:
    async def main() -> None:
        broker = Willful()
        stem = Stem(broker)
        stem.include(tasks)
        jobs = await stem.enqueue_many(
            [charge.call("a", 1), stem.call("other", {"x": 1}), charge.using(priority=5).call("b")]
        )
        assert broker.batches == [3]
        located = await broker.lookup([job.id for job in jobs])
        found = [each.message for each in located if each]
        assert [each.task for each in found] == ["billing.charge", "other", "billing.charge"]
        assert [each.priority for each in found] == [0, 0, 5]
        assert await stem.enqueue_many([]) == []

    asyncio.run(main())


def test_one_wrong_call_of_many_means_that_none_is_published() -> None:
    async def main() -> None:
        broker = Willful()
        stem = Stem(broker)
        with pytest.raises(NotEncodable) as caught:
            await stem.enqueue_many([stem.call("a"), stem.call("b", {"x": b""})])
        assert caught.value.__notes__ == ["call 1 of enqueue_many; none of them was published"]
        assert broker.batches == []

    asyncio.run(main())


@pytest.mark.parametrize(
    ("calls", "says"),
    [
        (lambda: [charge.call("a"), 1], "call 1 of enqueue_many is of type int, not a call"),
        (lambda: [charge.enqueue("a")], r"call 0 of enqueue_many is a coroutine.*\.call\(…\)"),
        (lambda: charge.call("a"), r"takes calls, got one Call.*\[task\.call\(…\)"),
    ],
)
@pytest.mark.parametrize("way", ["async", "blocking"])
def test_what_is_no_call_is_refused_before_anything_is_sent(
    calls: Any, says: str, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Willful()
    stem = Stem(broker)
    stem.include(tasks)
    send: Any = stem.blocking.enqueue_many
    if way == "async":
        send = lambda given: asyncio.run(stem.enqueue_many(given))  # noqa: E731
    with pytest.raises(UsageError, match=f"(?s){says}"):
        send(calls())
    gc.collect()  # what was never awaited would be said now, and was said by the error
    assert broker.batches == []
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"broker": 5}, r"broker= takes a URL or a Broker, got int"),
        ({"broker": InMemoryBroker}, r"broker= .* got the class InMemoryBroker"),
        ({"backend": 5}, r"backend= takes a URL or a ResultBackend, got int"),
        ({"signer": b"key"}, r"signer= takes a URL or a Signer, got bytes"),
    ],
)
def test_what_can_be_no_store_is_refused_where_it_is_given(given: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Stem(**given)


def test_a_refusal_of_some_of_many_does_not_stop_the_others() -> None:
    async def main() -> None:
        broker = Willful()
        broker.refused = {"bad"}
        stem = Stem(broker)
        calls = [stem.call("good"), stem.call("bad"), stem.call("good")]
        with pytest.raises(ExceptionGroup) as caught:
            await stem.enqueue_many(calls)
        assert [type(each) for each in caught.value.exceptions] == [PublishRefused]
        jobs = await stem.enqueue_many(calls, return_exceptions=True)
        assert [isinstance(each, PublishRefused) for each in jobs] == [False, True, False]
        assert broker.admin is not None
        assert [stats.ready for stats in await broker.admin.stats()] == [4]

    asyncio.run(main())


# ── results ──────────────────────────────────────────────────────────────────


def test_a_result_is_the_type_that_the_task_declares_and_json_by_id_alone() -> None:
    async def main() -> None:
        stem = shop_stem()
        job = await describe.enqueue(ORDER)
        wire = describe.binding.result_to_wire(ORDER)
        await settle(stem, await take(stem), State.SUCCEEDED, value=encode_value(wire))
        assert await job.result(timeout=5) == ORDER
        assert await stem.job(job.id, describe).result() == ORDER
        assert await stem.result(job.id) == wire

    asyncio.run(main())


def test_a_waiting_caller_is_woken_by_the_result() -> None:
    async def main() -> None:
        stem = shop_stem()
        job = await charge.enqueue("ada")
        waiting = asyncio.create_task(job.result(timeout=30))
        delivery = await take(stem, "billing")
        await settle(stem, delivery, State.SUCCEEDED, value=encode_value("paid"))
        assert await waiting == "paid"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("state", "outcome", "facts", "says"),
    [
        (
            State.DEAD,
            DeadLetter(Reason.MAX_RETRIES_EXHAUSTED),
            {"error": TaskError(type="builtins.ValueError", message="no luck")},
            "is dead: builtins.ValueError: no luck",
        ),
        (
            State.DEAD,
            DeadLetter(Reason.ARGUMENTS_MISMATCH),
            {
                "reason": "arguments-mismatch",
                "error": TaskError(type="a.B", message="no 'x'\n  Did you mean 'y'?"),
            },
            r"is dead \(arguments-mismatch\): a\.B: no 'x'\n  Did you mean 'y'\?$",
        ),
        (
            State.DEAD,
            DeadLetter(Reason.POISON),
            {"reason": "poison", "error": TaskError(type="stem.poison", message="it lapsed")},
            r"is dead \(poison\): it lapsed$",
        ),
        (
            State.DEAD,
            DeadLetter(Reason.MAX_RETRIES_EXHAUSTED),
            {"reason": "max-retries-exhausted", "error": TaskError(type="shop.Silent")},
            r"is dead \(max-retries-exhausted\): shop\.Silent$",
        ),
        (State.DISCARDED, ACK, {"reason": "nobody needs it"}, "is discarded: nobody needs it"),
        (State.EXPIRED, DeadLetter(Reason.EXPIRED), {"reason": "expired"}, "is expired: expired"),
        (
            State.EXPIRED,
            DeadLetter(Reason.EXPIRED),
            {"reason": "expired", "error": TaskError(type="stem.expired", message="5 ms late")},
            "is expired: 5 ms late$",
        ),
    ],
)
def test_a_task_that_ended_without_a_value_raises_how(
    state: State, outcome: Any, facts: Any, says: str
) -> None:
    async def main() -> None:
        stem = shop_stem()
        job = await charge.enqueue("ada")
        await settle(stem, await take(stem, "billing"), state, outcome, **facts)
        with pytest.raises(TaskFailed, match=says) as caught:
            await job.result(timeout=5)
        assert (caught.value.task_id, caught.value.state) == (job.id, state.value)

    asyncio.run(main())


def test_a_task_that_died_without_a_record_raises_how_it_died() -> None:
    async def main() -> None:
        stem = shop_stem()
        job = await charge.enqueue("ada")
        error = TaskError(type="builtins.ValueError", message="no luck")
        outcome = DeadLetter(Reason.MAX_RETRIES_EXHAUSTED, error)
        broker = (await stem.lane()).broker
        receipt = (await take(stem, "billing")).receipt
        await broker.settle([Settlement(receipt=receipt, outcome=outcome)])
        says = r"is dead \(max-retries-exhausted\): builtins.ValueError: no luck$"
        with pytest.raises(TaskFailed, match=says) as caught:
            await job.result(timeout=5)  # at once, and not when the patience is over
        assert (caught.value.task_id, caught.value.state) == (job.id, "dead")

    asyncio.run(main())


def test_a_cancelled_task_raises_that_it_was_cancelled() -> None:
    async def main() -> None:
        shop_stem()
        job = await charge.enqueue("ada")
        assert await job.cancel("changed my mind") is CancelStatus.CANCELLED
        with pytest.raises(TaskCancelled, match="changed my mind"):
            await job.result(timeout=5)

    asyncio.run(main())


def test_no_result_in_time_leaves_the_task_as_it_is() -> None:
    async def main() -> None:
        # The clock stands still: patience is the caller's own, in real time.
        shop_stem(clock=FakeClock(NOON))
        job = await charge.enqueue("ada")
        with pytest.raises(ResultTimeout, match="within 10ms; the task goes on"):
            await job.result(timeout=0.01)
        status = await job.status()
        assert status is not None
        assert status.state is State.QUEUED

    asyncio.run(main())


class Untold(InMemoryResultBackend):
    """A backend that tells nobody of an end: its `wait` fails each time."""

    fault = Fault.BACKOFF

    async def wait(self, id: str, *, timeout_ms: int) -> Record | None:
        raise StoreError("nobody can be told", fault=self.fault)

    def sibling(self) -> Self:
        other = super().sibling()
        other.fault = self.fault
        return other


def test_who_cannot_be_told_of_a_result_looks_for_it() -> None:
    async def main() -> None:
        name = fresh_name()
        stem = Stem(InMemoryBroker(name), backend=Untold(name))
        stem.include(tasks)
        job = await charge.enqueue("ada")
        waiting = asyncio.create_task(job.result(timeout=30))
        for _ in range(5):
            await asyncio.sleep(0)
        await settle(stem, await take(stem, "billing"), State.SUCCEEDED, value=encode_value("paid"))
        async with asyncio.timeout(10):
            assert await waiting == "paid"

    asyncio.run(main())


def test_a_backend_that_refuses_for_good_is_not_asked_again() -> None:
    async def main() -> None:
        name = fresh_name()
        backend = Untold(name)
        backend.fault = Fault.FATAL_CONFIG
        stem = Stem(InMemoryBroker(name), backend=backend)
        stem.include(tasks)
        job = await charge.enqueue("ada")
        with pytest.raises(StoreError, match="nobody can be told"):
            await job.result(timeout=30)

    asyncio.run(main())


def test_a_result_that_nobody_knows_is_expired() -> None:
    async def main() -> None:
        stem = fresh()
        with pytest.raises(ResultExpired, match="never-enqueued"):
            await stem.result("never-enqueued")
        task_id = await stem.enqueue("a")
        lane = await stem.lane()
        await lane.broker.settle([Settlement(receipt=(await take(stem)).receipt)])
        with pytest.raises(ResultExpired):
            await stem.result(task_id)

    asyncio.run(main())


@pytest.mark.parametrize("backend", [None, "none://"])
def test_without_a_backend_nobody_remembers_results(backend: Any) -> None:
    async def main() -> None:
        stem = fresh(backend=backend)
        task_id = await stem.enqueue("a")
        with pytest.raises(NoResultBackend):
            await stem.result(task_id, timeout=1)
        status = await stem.status(task_id)
        assert status is not None
        assert status.state is State.QUEUED

    asyncio.run(main())


def test_a_retry_shows_in_the_status_with_its_error_and_its_time() -> None:
    async def main() -> None:
        clock = FakeClock(NOON)
        stem = fresh(clock=clock)
        task_id = await stem.enqueue("a")
        delivery, lane = await take(stem), await stem.lane()
        error = TaskError(type="x.Y", message="no")
        await lane.broker.settle(
            [Settlement(receipt=delivery.receipt, outcome=RetryLater(60_000, error))]
        )
        status = await stem.status(task_id)
        assert status is not None
        assert (status.state, status.attempt, status.error) == (State.SCHEDULED, 1, error)
        assert status.run_at == NOON + timedelta(minutes=1)

    asyncio.run(main())


def test_progress_is_in_the_status_of_what_runs() -> None:
    async def main() -> None:
        stem = fresh()
        task_id = await stem.enqueue("a")
        delivery, lane = await take(stem), await stem.lane()
        assert lane.backend is not None
        await lane.backend.progress([Progress(task_id, delivery.receipt.fence, b'{"done":3}')])
        status = await stem.status(task_id)
        assert status is not None
        assert (status.progress, status.worker) == ({"done": 3}, "w")

    asyncio.run(main())


# ── listing ──────────────────────────────────────────────────────────────────


async def ended(stem: Stem, count: int, **facts: Any) -> list[str]:
    """Enqueue *count* tasks and let each succeed; return their ids."""
    ids = [await stem.enqueue("a", meta=facts.get("meta")) for _ in range(count)]
    for _ in ids:
        await settle(stem, await take(stem), State.SUCCEEDED, **facts)
    return ids


def test_statuses_are_found_by_their_meta() -> None:
    async def main() -> None:
        stem = fresh()
        await ended(stem, 2, meta={"requested_by": "sales"})
        wanted = await ended(stem, 2, meta={"requested_by": "finance", "n": 1})
        page = await stem.list(meta={"requested_by": "finance"})
        assert sorted(each.id for each in page.items) == sorted(wanted)
        assert page.cursor is None
        assert not (await stem.list(meta={"requested_by": "finance"}, states=["dead"])).items
        everything = await stem.list(states=[State.SUCCEEDED], tasks=["a"], queues=["default"])
        assert len(everything.items) == 4

    asyncio.run(main())


def test_a_cursor_leads_through_all_pages_and_shows_none_twice() -> None:
    async def main() -> None:
        stem = fresh()
        ids, seen, cursor = await ended(stem, 5), [], None
        for _ in range(3):
            page = await stem.list(limit=2, cursor=cursor)
            seen += [each.id for each in page.items]
            cursor = page.cursor
        assert cursor is None
        assert sorted(seen) == sorted(ids)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"states": ["lost"]}, "'lost' is none"),
        ({"tasks": "a"}, r"Write tasks=\['a'\]"),
        ({"limit": 0}, "limit=0"),
    ],
)
def test_a_list_that_cannot_be_is_refused(asked: Any, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        asyncio.run(fresh().list(**asked))


def test_a_backend_that_cannot_list_is_said_to_lack_it() -> None:
    class Mute(InMemoryResultBackend):
        @property
        def capabilities(self) -> BackendCapabilities:
            return replace(super().capabilities, listing=Support.ABSENT)

    async def main() -> None:
        with pytest.raises(CapabilityMissing, match="'listing', which Mute"):
            await fresh(backend=Mute(fresh_name())).list()
        with pytest.raises(NoResultBackend):
            await fresh(backend=None).list()

    asyncio.run(main())


# ── cancelling ───────────────────────────────────────────────────────────────


def test_cancelling_says_what_became_of_it() -> None:
    async def main() -> None:
        stem = fresh()
        waiting, running = await stem.enqueue("a"), await stem.enqueue("a")
        assert await stem.cancel(waiting) is CancelStatus.CANCELLED
        delivery = await take(stem)
        assert delivery.message.id == running
        assert await stem.cancel(running) is CancelStatus.REQUESTED
        await settle(stem, delivery, State.SUCCEEDED)
        assert await stem.cancel(running) is CancelStatus.FINISHED
        assert await stem.cancel("never") is CancelStatus.UNKNOWN

    asyncio.run(main())


def test_a_cancellation_reaches_a_backend_that_is_another_store() -> None:
    async def main() -> None:
        stem = fresh(backend=f"memory://{fresh_name()}")
        assert not (await stem.lane()).atomic
        task_id = await stem.enqueue("a", meta={"by": "finance"})
        await stem.cancel(task_id, "enough")
        status = await stem.status(task_id)
        assert status is not None
        assert (status.state, status.reason, status.meta) == (
            State.CANCELLED,
            "enough",
            {"by": "finance"},
        )

    asyncio.run(main())


# ── in the caller's transaction ──────────────────────────────────────────────


def test_a_call_with_a_connection_waits_for_its_commit() -> None:
    async def main() -> None:
        broker, connection = Transactional(), Connection()
        stem = Stem(broker)
        stem.include(tasks)
        job = await charge.using(connection=connection).enqueue("ada")
        by_name = await stem.enqueue("a", connection=connection)
        many = await stem.enqueue_many(
            [charge.using(connection=connection).call(name) for name in "xy"]
        )
        ids = [job.id, by_name, *(each.id for each in many)]
        assert [each.id for each in connection.pending] == ids
        assert await broker.lookup(ids) == [None] * 4

    asyncio.run(main())


def test_a_blocking_call_with_a_connection_publishes_in_this_thread() -> None:
    connection = Connection()
    stem = Stem(Transactional())
    stem.include(tasks)
    job = charge.using(connection=connection).blocking.enqueue("ada")
    stem.blocking.enqueue("a", connection=connection)
    assert [each.task for each in connection.pending] == ["billing.charge", "a"]
    assert connection.pending[0].id == job.id
    stem.close()


def test_a_connection_needs_a_broker_that_shares_it() -> None:
    async def main() -> None:
        with pytest.raises(CapabilityMissing, match="transactional"):
            await fresh().enqueue("a", connection=Connection())
        stem = Stem(Transactional())
        with pytest.raises(InvalidOption, match="connection=str is none"):
            await stem.enqueue("a", connection="dsn")
        stem.include(tasks)
        calls = [charge.using(connection=Connection()).call("x") for _ in range(2)]
        with pytest.raises(InvalidOption, match="different connections"):
            await stem.enqueue_many(calls)

    asyncio.run(main())


# ── where things come from ───────────────────────────────────────────────────


def test_a_stem_is_made_without_any_environment_and_asks_for_it_on_first_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("STEM_BROKER_URL", raising=False)
    stem = Stem()
    with pytest.raises(MissingSetting, match="STEM_BROKER_URL"):
        asyncio.run(stem.enqueue("a"))
    monkeypatch.setenv("STEM_BROKER_URL", f"memory://{fresh_name()}")
    assert asyncio.run(Stem().enqueue("a"))


def test_from_environment_checks_at_once() -> None:
    with pytest.raises(MissingSetting, match="STEM_BROKER_URL"):
        Stem.from_environment({})
    with pytest.raises(UnknownScheme, match="mqtt"):
        Stem.from_environment({"STEM_BROKER_URL": "mqtt://h"})
    with pytest.raises(UnknownScheme, match="mqtt"):
        Stem.from_environment(
            {"STEM_BROKER_URL": "memory://", "STEM_RESULT_BACKEND_URL": "mqtt://h"}
        )
    stem = Stem.from_environment({"STEM_BROKER_URL": "memory://x", "STEM_NAMESPACE": "shop"})
    assert stem.config.namespace == "shop"


def test_what_is_given_in_code_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEM_BROKER_URL", "mqtt://nowhere")
    monkeypatch.setenv("STEM_NAMESPACE", "environment")
    monkeypatch.setenv("STEM_DEFAULT_QUEUE", "low")
    stem = fresh(namespace="code", routes={"a.*": "routed"})
    assert (stem.config.namespace, stem.config.origins["namespace"]) == ("code", "code")
    assert stem.pipeline.prepare(stem.call("b")).queue == "low"
    assert stem.pipeline.prepare(stem.call("a.b")).queue == "routed"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"broker": "no url"}, InvalidURL),
        ({"broker": "memory://", "backend": "://"}, InvalidURL),
        ({"broker": "memory://", "namespace": "no namespace"}, InvalidName),
        ({"broker": "memory://", "routes": "x"}, InvalidOption),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_given(given: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Stem(**given)


def test_a_stem_shows_itself_without_secrets() -> None:
    assert repr(Stem("redis://me:hunter2@h/0")) == "Stem('redis://me:***@h/0')"
    assert repr(Stem()) == "Stem()"


def test_tls_settings_for_a_url_without_tls_are_an_error() -> None:
    config = StemConfig(tls=TlsConfig(ca_certificate_file="/ca.pem"))
    with pytest.raises(ConfigError, match="rediss"):
        _ = Stem("redis://h", config=config).pipeline


def test_warnings_of_the_environment_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    _ = fresh(config=StemConfig(warnings=("STEM_BROKR_URL does nothing",))).config
    assert "STEM_BROKR_URL does nothing" in caplog.text


def test_observers_of_plugins_are_told_of_what_is_enqueued() -> None:
    class Watch:
        STEM_PLUGIN_API = (1, 0)

        def __init__(self) -> None:
            self.events: list[Event] = []

        def on_event(self, event: Event, /) -> None:
            self.events.append(event)

    watch = Watch()

    class Plugin:
        STEM_PLUGIN_API = (1, 0)

        @hookimpl
        def stem_observers(self, app: AppInfo) -> list[Watch]:
            return [watch]

    plugins = PluginHost()
    plugins.register(Plugin())

    async def main() -> None:
        stem = fresh(plugins=plugins)
        task_id = await stem.enqueue("a")
        [event] = watch.events
        assert (event.name, event.task_id, event.task) == ("task-enqueued", task_id, "a")

    asyncio.run(main())


def test_a_task_of_no_stem_cannot_be_sent() -> None:
    registry = SimpleTaskRegistry()
    task = registry.task(name="lonely")(describe.fn)
    with pytest.raises(UsageError, match="belongs to no Stem"):
        asyncio.run(task.enqueue(ORDER))


def test_the_lifespan_of_an_asgi_application_opens_and_closes() -> None:
    async def main() -> None:
        broker = Willful()
        stem = Stem(broker, backend=None)
        async with stem.lifespan(object()) as state:
            assert state is None
            await stem.enqueue("a")
        assert broker.is_closed

    asyncio.run(main())


def test_the_clock_is_the_systems_unless_another_is_given() -> None:
    clock = FakeClock(NOON)
    assert fresh().clock is SYSTEM_CLOCK
    assert fresh(clock=clock).clock is clock
