"""A store that fails as planned, and is itself in everything else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.producer.stores import Connection, Transactional, fresh_name

from stem_core.contracts.broker import TransactionalBroker
from stem_core.contracts.messages import (
    Cancellation,
    Extension,
    Message,
    PublishStatus,
    Settlement,
    SettleStatus,
)
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.model.errors import Fault, StoreFull, StoreUnavailable
from stem_core.model.outcome import Record, State
from stem_core.producer.client import Stem
from stem_core.testing.clock import FakeClock, LoadedDice
from stem_core.testing.faults import (
    EXECUTED_THEN_TIMEOUT,
    TIMEOUT,
    UNAVAILABLE,
    FaultPlan,
    FaultRule,
    FaultyBackend,
    FaultyBroker,
    Fired,
    SeededDice,
    Slow,
)

NO_WAY: Any = "timeout"
MESSAGE = Message(id="a", queue="q", task="t", body=b"{}")
RECORD = Record(id="a", state=State.SUCCEEDED, fence=1)


def faulty(*rules: FaultRule, clock: FakeClock | None = None) -> tuple[FaultyBroker, FaultPlan]:
    plan, clock = FaultPlan(*rules), clock or FakeClock()
    return FaultyBroker(InMemoryBroker(fresh_name(), clock=clock), plan, clock=clock), plan


async def is_there(broker: FaultyBroker, id: str = "a") -> bool:
    return (await broker.inner.lookup([id]))[0] is not None


@pytest.mark.parametrize(
    ("how", "is_done"), [(UNAVAILABLE, False), (TIMEOUT, False), (EXECUTED_THEN_TIMEOUT, True)]
)
def test_a_failure_comes_before_the_call_or_after_it(how, is_done: bool):
    async def main():
        broker, plan = faulty(FaultRule("publish", how, calls=[1]))
        with pytest.raises(StoreUnavailable, match="call 1 of publish") as raised:
            await broker.publish([MESSAGE])
        assert raised.value.fault is Fault.RECONNECT
        assert await is_there(broker) is is_done
        [reply] = await broker.publish([MESSAGE])
        assert reply.status is (PublishStatus.DUPLICATE if is_done else PublishStatus.CREATED)
        assert plan.fired == [Fired("publish", 1, how)]

    asyncio.run(main())


def test_any_error_of_a_store_may_be_raised_a_new_one_each_time():
    async def main():
        full = StoreFull("no room, on purpose")
        broker, _ = faulty(FaultRule("publish", full))
        seen = []
        for _ in range(2):
            with pytest.raises(StoreFull, match="no room") as raised:
                await broker.publish([MESSAGE])
            seen.append(raised.value)
        assert full is not seen[0] is not seen[1]
        assert seen[0].fault is Fault.FULL
        assert not await is_there(broker)

    asyncio.run(main())


def test_a_slow_call_begins_when_its_time_has_come():
    async def main():
        clock = FakeClock()
        broker, _ = faulty(FaultRule("publish", Slow(200)), clock=clock)
        asked = asyncio.create_task(broker.publish([MESSAGE]))
        await asyncio.sleep(0)
        clock.advance("199ms")
        assert (clock.sleepers, await is_there(broker)) == (1, False)
        clock.advance("1ms")
        [reply] = await asked
        assert reply.status is PublishStatus.CREATED

    asyncio.run(main())


def test_of_several_failures_the_first_one_happens_and_delays_add_up():
    plan = FaultPlan(
        FaultRule("save", Slow(20)),
        FaultRule("save", EXECUTED_THEN_TIMEOUT),
        FaultRule("save", UNAVAILABLE),
        FaultRule("save", Slow(3)),
    )
    met = plan.meet("save")
    assert (met.delay_ms, met.is_executed) == (23, True)
    assert [fired.how for fired in plan.fired] == [Slow(20), Slow(3), EXECUTED_THEN_TIMEOUT]


def test_every_verb_can_fail():
    async def main():
        verbs = ("publish", "fetch", "extend", "settle", "cancel", "lookup")
        broker, plan = faulty(*[FaultRule(verb, UNAVAILABLE, calls=[1]) for verb in verbs])

        async def use_all() -> list:
            asked = [
                lambda: broker.publish([MESSAGE]),
                lambda: broker.fetch(["q"], limit=1, wait_ms=0, worker="w"),
                lambda: broker.extend([Extension(receipt, 1000)]),
                lambda: broker.settle([Settlement(receipt=receipt)]),
                lambda: broker.cancel([Cancellation(id="a", record=RECORD)]),
                lambda: broker.lookup(["a"]),
            ]
            return [await outcome(each) for each in asked]

        await broker.inner.publish([MESSAGE])
        [delivery] = await broker.inner.fetch(["q"], limit=1, wait_ms=0, worker="w")
        receipt = delivery.receipt
        assert await use_all() == [StoreUnavailable] * 6
        assert [(fired.verb, fired.number) for fired in plan.fired] == [(verb, 1) for verb in verbs]
        assert StoreUnavailable not in await use_all()
        assert [plan.calls(verb) for verb in verbs] == [2] * 6

    asyncio.run(main())


async def outcome(ask):
    try:
        return await ask()
    except StoreUnavailable as error:
        return type(error)


def test_a_lost_reply_to_a_settlement_is_already_there_when_it_is_sent_again():
    async def main():
        broker, _ = faulty(FaultRule("settle", EXECUTED_THEN_TIMEOUT, calls=[1]))
        await broker.publish([MESSAGE])
        [delivery] = await broker.fetch(["q"], limit=1, wait_ms=0, worker="w")
        with pytest.raises(StoreUnavailable):
            await broker.settle([Settlement(receipt=delivery.receipt)])
        [again] = await broker.settle([Settlement(receipt=delivery.receipt)])
        assert again.status is SettleStatus.ALREADY

    asyncio.run(main())


def test_a_sibling_follows_the_same_plan_and_counts_with_it():
    async def main():
        broker, plan = faulty(FaultRule("lookup", UNAVAILABLE, calls=[2]))
        sibling = broker.sibling()
        assert isinstance(sibling, FaultyBroker)
        await broker.lookup(["a"])
        with pytest.raises(StoreUnavailable, match="call 2"):
            await sibling.lookup(["a"])
        await sibling.aclose()
        await broker.lookup(["a"])
        assert plan.calls("lookup") == 3

    asyncio.run(main())


def test_everything_else_is_that_of_the_store_inside():
    async def main():
        broker, _ = faulty()
        inner = broker.inner
        assert (broker.capabilities, broker.store_id) == (inner.capabilities, inner.store_id)
        assert broker.admin is not None
        assert [each.queue for each in await broker.admin.stats(["q"])] == ["q"]
        assert broker.control is not None
        assert broker.limits is not None
        await broker.aclose()
        assert isinstance(inner, InMemoryBroker)
        assert inner.is_closed

    asyncio.run(main())


def test_around_a_transactional_broker_it_is_one_and_leaves_the_callers_transaction_alone():
    async def main():
        broker = FaultyBroker(Transactional(), FaultPlan(FaultRule("publish", UNAVAILABLE)))
        connection = Connection()
        assert isinstance(broker, TransactionalBroker)
        assert isinstance(broker.sibling(), TransactionalBroker)
        assert broker.accepts(connection)
        await broker.publish_in(connection, [MESSAGE])
        broker.publish_in_sync(connection, [MESSAGE])
        assert connection.pending == [MESSAGE, MESSAGE]
        with pytest.raises(StoreUnavailable):
            await broker.publish([MESSAGE])

    asyncio.run(main())
    assert not isinstance(faulty()[0], TransactionalBroker)


def test_a_plan_may_change_while_it_runs():
    async def main():
        broker, plan = faulty()
        await broker.lookup(["a"])
        plan.add(FaultRule("lookup", UNAVAILABLE))
        with pytest.raises(StoreUnavailable, match="call 2"):
            await broker.lookup(["a"])
        plan.clear()
        await broker.lookup(["a"])

    asyncio.run(main())


def test_chance_is_what_the_dice_say():
    plan = FaultPlan(FaultRule("load", TIMEOUT, chance=0.5), dice=LoadedDice([0.49, 0.5, 0.9]))
    assert [plan.meet("load").error is not None for _ in range(4)] == [True, False, False, True]


@given(st.integers(), st.floats(0.01, 0.99))
def test_the_same_seed_fails_the_same_calls(seed: int, chance: float):
    def numbers() -> list[int]:
        plan = FaultPlan(FaultRule("load", TIMEOUT, chance=chance), dice=SeededDice(seed))
        for _ in range(50):
            plan.meet("load")
        return [fired.number for fired in plan.fired]

    assert numbers() == numbers()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: FaultRule("ack", TIMEOUT), "verb='ack' is none of publish, "),
        (lambda: FaultRule("settle", NO_WAY), "how='timeout'"),
        (lambda: FaultRule("settle", TIMEOUT, calls=[0]), r"calls=\[0\]"),
        (lambda: FaultRule("settle", TIMEOUT, chance=0), "chance=0"),
        (lambda: FaultRule("settle", TIMEOUT, chance=1.1), "chance=1.1"),
        (lambda: FaultPlan(FaultRule("settle", TIMEOUT, chance=0.5)), "dice="),
        (lambda: Slow(-1), "ms"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_by_name(make, told: str):
    with pytest.raises(ValueError, match=told):
        make()


def test_a_faulty_backend_saves_and_loses_the_reply():
    async def main():
        plan = FaultPlan(FaultRule("save", EXECUTED_THEN_TIMEOUT, calls=[1]))
        backend = FaultyBackend(InMemoryResultBackend(fresh_name()), plan)
        with pytest.raises(StoreUnavailable, match="call 1 of save"):
            await backend.save([RECORD])
        assert await backend.load(["a"]) == [RECORD]
        assert await backend.save([RECORD]) == [True]
        assert (await backend.list()).records == (RECORD,)
        assert await backend.wait("a", timeout_ms=0) == RECORD
        assert await backend.expire(["a"], ttl_ms=0) == [True]
        await backend.aclose()

    asyncio.run(main())


def test_every_verb_of_a_backend_can_fail():
    async def main():
        verbs = (
            "save", "load", "wait", "list", "progress", "progress_of", "reopen", "expire",
        )  # fmt: skip
        plan = FaultPlan(*[FaultRule(verb, UNAVAILABLE) for verb in verbs])
        backend = FaultyBackend(InMemoryResultBackend(fresh_name()), plan).sibling()
        asked = [
            lambda: backend.save([]),
            lambda: backend.load([]),
            lambda: backend.wait("a", timeout_ms=0),
            lambda: backend.list(),
            lambda: backend.progress([]),
            lambda: backend.progress_of([]),
            lambda: backend.reopen([]),
            lambda: backend.expire([], ttl_ms=0),
        ]
        assert [await outcome(each) for each in asked] == [StoreUnavailable] * 8
        assert [fired.verb for fired in plan.fired] == list(verbs)
        assert backend.heartbeats is not None
        assert backend.schedules is not None
        assert backend.locks is not None
        assert backend.store_id == backend.inner.store_id
        assert backend.capabilities == backend.inner.capabilities

    asyncio.run(main())


def test_an_enqueue_whose_reply_was_lost_ends_with_exactly_one_message():
    async def main():
        broker, plan = faulty(FaultRule("publish", EXECUTED_THEN_TIMEOUT, calls=[1]))
        async with Stem(broker) as stem:
            task_id = await stem.enqueue("mail.send", args={"to": "ada"})
            assert [fired.number for fired in plan.fired] == [1]
            assert plan.calls("publish") == 2
            deliveries = await broker.fetch(["default"], limit=10, wait_ms=0, worker="w")
            assert [delivery.message.id for delivery in deliveries] == [task_id]

    asyncio.run(main())
