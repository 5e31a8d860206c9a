from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from attrs import frozen
from unit.worker.given import a_message
from unit.worker.stores import FaultyBroker, a_name

from stem_core.contracts.clock import SYSTEM_CLOCK
from stem_core.contracts.messages import (
    ACK,
    DeadLetter,
    Place,
    Receipt,
    RetryLater,
    Settled,
    Settlement,
    SettleStatus,
)
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.model.errors import Fault, StoreError, StoreUnavailable
from stem_core.model.outcome import Record, State
from stem_core.model.value import replace
from stem_core.testing.clock import FakeClock, LoadedDice
from stem_core.worker.backoff import Backoff
from stem_core.worker.decide import Books
from stem_core.worker.outcomes import Returned
from stem_core.worker.run import Run
from stem_core.worker.settler import Settler

FAILURE_MS, DEAD_MS = 7_000_000, 30_000_000


@frozen(kw_only=True)
class TwoStores:
    broker: FaultyBroker
    backend: InMemoryResultBackend | None
    atomic: bool


class Scene:
    """A settler over a broker with faults, and what it said was done."""

    def __init__(self, *, atomic: bool = True) -> None:
        name = a_name()
        self.broker: Any = FaultyBroker(name)  # or what a test makes of it
        self.backend = InMemoryResultBackend(name if atomic else a_name())
        self.store = TwoStores(broker=self.broker, backend=self.backend, atomic=atomic)
        self.done: list[tuple[str, SettleStatus]] = []
        self.settler = Settler(
            self.store,
            Backoff(SYSTEM_CLOCK, LoadedDice([0.0])),
            Books(failure_ms=FAILURE_MS, dead_ms=DEAD_MS),
            lambda runs, status: self.done.extend((run.id, status) for run in runs),
        )

    async def leased(self, count: int) -> list[Any]:
        messages = [a_message(id=f"id-{n}") for n in range(count)]
        await self.broker.publish(messages)
        deliveries = await self.broker.fetch(["default"], limit=count, wait_ms=0, worker="w")
        runs = [Run(each, None, 0) for each in deliveries]  # type: ignore[arg-type]
        for run in runs:
            fence = run.delivery.receipt.fence
            record = Record(id=run.id, state=State.SUCCEEDED, fence=fence, value=b"1")
            run.outcome = Returned(b"1")
            run.settlement = Settlement(receipt=run.delivery.receipt, outcome=ACK, record=record)
        return runs

    async def settle(self, runs: list[Run]) -> None:
        settling = asyncio.create_task(self.settler.run())
        for run in runs:
            self.settler.add(run)
        async with asyncio.timeout(10):
            while len(self.done) < len(runs):
                await asyncio.sleep(0.001)
        settling.cancel()
        await asyncio.wait([settling])


def settle(scene: Scene, count: int = 3) -> list[tuple[str, SettleStatus]]:
    async def main():
        await scene.settle(await scene.leased(count))
        return scene.done

    return asyncio.run(main())


def test_settlements_that_come_together_share_one_call():
    scene = Scene()
    assert {status for _, status in settle(scene, 50)} == {SettleStatus.DONE}
    assert scene.broker.calls == [("settle", 50)]


def test_a_store_that_is_away_is_asked_again_until_it_answers():
    scene = Scene()
    scene.broker.before["settle"] = 4
    assert {status for _, status in settle(scene)} == {SettleStatus.DONE}


def test_a_lost_reply_is_sent_again_and_settles_nothing_twice():
    scene = Scene()
    scene.broker.after["settle"] = 1
    assert {status for _, status in settle(scene)} == {SettleStatus.ALREADY}


def test_two_stores_hold_the_lease_save_and_only_then_settle():
    scene = Scene(atomic=False)
    scene.broker.before["extend"] = 1
    scene.broker.after["settle"] = 1

    async def main():
        await scene.settle(await scene.leased(2))
        return await scene.backend.load(["id-0", "id-1"])

    records = asyncio.run(main())
    assert [record and record.value for record in records] == [b"1", b"1"]
    assert [verb for verb, _ in scene.broker.calls] == ["extend", "extend", "settle", "settle"]


def test_with_two_stores_a_lost_lease_saves_no_record():
    scene = Scene(atomic=False)

    async def main():
        (run,) = await scene.leased(1)
        await scene.broker.settle([Settlement(receipt=run.delivery.receipt)])
        await scene.settle([run])
        return await scene.backend.load([run.id])

    assert asyncio.run(main()) == [None]


class OneBadApple(FaultyBroker):
    """Refuses whole batches for one message in them, without saying which."""

    async def settle(self, settlements):
        self.calls.append(("settle", len(settlements)))
        if any(each.record and each.receipt.id == "id-1" for each in settlements):
            raise StoreError("a value with a NUL in it", fault=Fault.DATA)
        return await super().settle(settlements)


def test_one_settlement_that_cannot_be_kept_does_not_harm_its_neighbours():
    scene = Scene()
    scene.broker.__class__ = OneBadApple

    async def main():
        runs = await scene.leased(3)
        runs[1].settlement = Settlement(
            receipt=runs[1].delivery.receipt,
            record=Record(id="id-1", state=State.SUCCEEDED, fence=1, value=b"bad"),
        )
        await scene.settle(runs)

    asyncio.run(main())
    assert dict(scene.done)["id-0"] is SettleStatus.DONE
    assert dict(scene.done)["id-2"] is SettleStatus.DONE


class Forgetful(FaultyBroker):
    """Does as it is told, forgets who did it, and loses the first reply."""

    async def settle(self, settlements):
        replies = await super().settle(settlements)
        if any(reply.status is SettleStatus.ALREADY for reply in replies):
            return [Settled(SettleStatus.GONE) for _ in replies]
        return replies


def test_what_is_gone_when_it_is_sent_again_has_ended_and_was_not_lost():
    scene = Scene()
    scene.broker.__class__ = Forgetful
    scene.broker.after["settle"] = 1
    assert {status for _, status in settle(scene)} == {SettleStatus.ALREADY}


def test_what_is_gone_at_the_first_try_was_lost():
    async def main(scene):
        (run,) = await scene.leased(1)
        unknown = Receipt("nobody", "default", 1)
        run.settlement = Settlement(receipt=unknown)
        await scene.settle([run])
        return scene.done

    assert asyncio.run(main(Scene())) == [("id-0", SettleStatus.GONE)]


def lose_everything(broker: FaultyBroker) -> None:
    """Let *broker* go on with a store that holds nothing."""
    broker.__dict__.update(FaultyBroker(a_name()).__dict__)


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("failing", [0, 2])
def test_the_result_of_a_task_whose_message_is_gone_is_kept_as_an_orphan(
    atomic: bool, failing: int
):
    scene = Scene(atomic=atomic)

    async def main():
        runs = await scene.leased(2)
        lose_everything(scene.broker)
        scene.broker.before["settle"] = failing
        await scene.settle(runs)
        records = await scene.backend.load([run.id for run in runs])
        return [run.is_orphan for run in runs], [record and record.value for record in records]

    assert asyncio.run(main()) == ([True, True], [b"1", b"1"])
    assert [status for _, status in scene.done] == [SettleStatus.GONE] * 2


def test_of_a_task_whose_message_is_gone_nobody_is_told_that_it_will_be_retried():
    scene = Scene()

    async def main():
        (run,) = await scene.leased(1)
        lose_everything(scene.broker)
        run.settlement = Settlement(
            receipt=run.delivery.receipt,
            outcome=RetryLater(1_000),
            record=Record(id=run.id, state=State.SCHEDULED, fence=1),
        )
        await scene.settle([run])
        return run.is_orphan, await scene.backend.load([run.id])

    assert asyncio.run(main()) == (False, [None])
    assert scene.done == [("id-0", SettleStatus.GONE)]


class EmptiedInBetween(FaultyBroker):
    """Loses what it holds once it has said that it is held."""

    async def extend(self, extensions):
        replies = await super().extend(extensions)
        lose_everything(self)
        return replies


def test_a_result_that_was_saved_before_the_message_was_lost_is_an_orphan_too():
    scene = Scene(atomic=False)

    async def main():
        (run,) = await scene.leased(1)
        scene.broker.__class__ = EmptiedInBetween
        await scene.settle([run])
        return run.is_orphan

    assert asyncio.run(main())
    assert scene.done == [("id-0", SettleStatus.GONE)]


def test_an_orphan_never_overwrites_a_later_record():
    scene = Scene()

    async def main():
        (run,) = await scene.leased(1)
        later = Record(id=run.id, state=State.SUCCEEDED, fence=9, value=b"later")
        await scene.backend.save([later])
        lose_everything(scene.broker)
        await scene.settle([run])
        return run.is_orphan, await scene.backend.load([run.id])

    is_orphan, [record] = asyncio.run(main())
    assert (is_orphan, record.value) == (False, b"later")
    assert scene.done == [("id-0", SettleStatus.GONE)]


class Unreliable(InMemoryResultBackend):
    """Is away when it is first asked to save something."""

    failures = 1

    async def save(self, records):
        self.failures -= 1
        if self.failures >= 0:
            raise StoreUnavailable("cut")
        return await super().save(records)


def test_an_orphan_is_offered_again_when_its_backend_was_away():
    scene = Scene()

    async def main():
        (run,) = await scene.leased(1)
        scene.backend.__class__ = Unreliable
        lose_everything(scene.broker)
        await scene.settle([run])
        return await scene.backend.load([run.id])

    [record] = asyncio.run(main())
    assert record.value == b"1"


def test_a_retry_whose_message_is_gone_is_not_said_to_be_kept():
    scene = Scene()

    async def main():
        (run,) = await scene.leased(1)
        run.settlement = Settlement(receipt=run.delivery.receipt, outcome=RetryLater(0))
        lose_everything(scene.broker)
        scene.broker.before["settle"] = 1
        await scene.settle([run])

    asyncio.run(main())
    assert scene.done == [("id-0", SettleStatus.GONE)]


class Picky(FaultyBroker):
    """Answers `invalid` to every acknowledgement with a record."""

    async def settle(self, settlements):
        for each in settlements:
            if isinstance(each.outcome, DeadLetter):
                self.kept_ms = (each.outcome.keep_ms, each.record.ttl_ms)
        return [
            Settled(SettleStatus.INVALID, "too wide for a column")
            if each.outcome == ACK
            else (await super(Picky, self).settle([each]))[0]
            for each in settlements
        ]


def test_what_the_store_cannot_keep_ends_in_the_dead_letters_with_its_reason():
    scene = Scene()
    scene.broker.__class__ = Picky

    async def main():
        await scene.settle(await scene.leased(1))
        (located,) = await scene.broker.lookup(["id-0"])
        (record,) = await scene.backend.load(["id-0"])
        return located, record

    located, record = asyncio.run(main())
    assert located is not None
    assert (located.place, located.reason) == (Place.DEAD, "result-encode-error")
    assert record is not None
    assert record.state is State.DEAD
    assert record.error is not None
    assert "too wide for a column" in record.error.message
    assert scene.broker.kept_ms == (DEAD_MS, FAILURE_MS)


def test_a_settler_that_is_stopped_midway_forgets_nothing():
    scene = Scene()

    async def main():
        runs = await scene.leased(2)
        scene.broker.before["settle"] = 1
        settling = asyncio.create_task(scene.settler.run())
        for run in runs:
            scene.settler.add(run)
        while not scene.broker.calls:
            await asyncio.sleep(0)
        settling.cancel()  # while it waits to ask again
        await asyncio.wait([settling])
        again = asyncio.create_task(scene.settler.run())
        async with asyncio.timeout(10):
            while len(scene.done) < 2:
                await asyncio.sleep(0.001)
        again.cancel()
        await asyncio.wait([again])

    asyncio.run(main())
    assert {status for _, status in scene.done} == {SettleStatus.DONE}


class Small(FaultyBroker):
    """Takes three items, or ten bytes of values and follow-ups, in one call."""

    sizes: list[int]

    @property
    def capabilities(self):
        return replace(super().capabilities, max_batch=3, max_batch_bytes=10)

    async def settle(self, settlements):
        assert len(settlements) <= 3
        size = sum(
            len(each.record.value) + sum(len(message.body) for message in each.follow_ups)
            for each in settlements
        )
        self.sizes.append(size)
        if size > 10:
            assert len(settlements) == 1
            return [Settled(SettleStatus.INVALID, "too large for one call")]
        return await super().settle(settlements)

    async def publish(self, messages):
        assert len(messages) <= 3
        assert sum(len(message.body) for message in messages) <= 10
        return await super().publish(messages)


def small(scene: Scene) -> Small:
    scene.broker.__class__ = Small
    scene.broker.sizes = []
    scene.settler = Settler(
        scene.store,
        Backoff(SYSTEM_CLOCK, LoadedDice([0.0])),
        Books(),
        lambda runs, status: scene.done.extend((run.id, status) for run in runs),
    )
    return scene.broker


def test_no_call_holds_more_items_or_bytes_than_the_broker_takes():
    scene = Scene()

    async def main():
        runs = await scene.leased(7)
        broker = small(scene)
        for run in runs[:3]:
            run.settlement = replace(
                run.settlement, record=replace(run.settlement.record, value=b"123456")
            )
        await scene.settle(runs)
        return broker.sizes

    # 6, then 6, then 6 + 1 + 1 (three items), then 1 + 1
    assert asyncio.run(main()) == [6, 6, 8, 2]
    assert {status for _, status in scene.done} == {SettleStatus.DONE}


def test_one_settlement_that_is_too_large_publishes_its_follow_ups_apart():
    scene = Scene()
    follow_ups = tuple(a_message(id=f"next-{n}", body=b"{    }") for n in range(4))

    async def main():
        (run,) = await scene.leased(1)
        broker = small(scene)
        run.settlement = replace(run.settlement, follow_ups=follow_ups)
        await scene.settle([run])
        found = await broker.lookup([each.id for each in follow_ups])
        return [each is not None for each in found], run.published_apart

    assert asyncio.run(main()) == ([True] * 4, follow_ups)
    assert scene.done == [("id-0", SettleStatus.DONE)]


@pytest.mark.parametrize("count", [1, 501, 1200])
def test_large_batches_are_cut(count):
    scene = Scene()

    async def main():
        runs: list[Run] = []
        for start in range(0, count, 500):
            size = min(500, count - start)
            ids = [f"id-{n}" for n in range(start, start + size)]
            await scene.broker.publish([a_message(id=id) for id in ids])
            came = await scene.broker.fetch(["default"], limit=size, wait_ms=0, worker="w")
            runs += [Run(each, None, 0) for each in came]  # type: ignore[arg-type]
        for run in runs:
            run.settlement = Settlement(receipt=run.delivery.receipt)
        await scene.settle(runs)

    asyncio.run(main())
    assert max(size for _, size in scene.broker.calls) <= 500
    assert len(scene.done) == count


def test_what_is_settled_otherwise_holds_up_nobody():
    scene = Scene()
    taken = a_message(id="taken")
    scene.settler = Settler(  # on a clock that stands still: whoever waits, waits for ever
        scene.store,
        Backoff(FakeClock(), LoadedDice([0.0])),
        Books(),
        lambda runs, status: scene.done.extend((run.id, status) for run in runs),
    )

    async def main():
        await scene.broker.publish([replace(taken, queue="elsewhere")])
        runs = await scene.leased(2)
        other = replace(taken, queue="elsewhere", body=b'{"another": "body"}')
        runs[0].settlement = replace(runs[0].settlement, follow_ups=(other,))
        await scene.settle(runs)

    asyncio.run(main())
    assert sorted(scene.done) == [("id-0", SettleStatus.DONE), ("id-1", SettleStatus.DONE)]


def test_what_is_locked_is_settled_after_a_while_apart_and_holds_up_nobody():
    scene = Scene()
    scene.broker.locked = ["id-1"] * 3
    assert [id for id, _ in settle(scene, 4)] == ["id-0", "id-2", "id-3", "id-1"]
    assert {status for _, status in scene.done} == {SettleStatus.DONE}
    assert scene.broker.calls == [("settle", 4), *[("settle", 1)] * 3]


def test_what_is_locked_waits_longer_each_time_until_all_are_free():
    clock = FakeClock()
    scene = Scene()
    scene.settler = Settler(
        scene.store,
        Backoff(clock, LoadedDice([0.0])),
        Books(),
        lambda runs, status: scene.done.extend((run.id, status) for run in runs),
    )

    async def main():
        scene.broker.locked = ["id-0"] * 2
        runs = await scene.leased(2)
        settling = asyncio.create_task(scene.settler.run())
        for run in runs:
            scene.settler.add(run)
        for passed_ms, calls in ((0, 1), (24, 1), (1, 2), (49, 2), (1, 3)):
            clock.advance(timedelta(milliseconds=passed_ms))
            for _ in range(50):
                await asyncio.sleep(0)
            assert len(scene.broker.calls) == calls
        settling.cancel()
        await asyncio.wait([settling])

    asyncio.run(main())
    assert [id for id, _ in scene.done] == ["id-1", "id-0"]


def test_a_settler_that_is_stopped_keeps_what_was_locked_for_its_next_run():
    scene = Scene()
    scene.broker.locked = ["id-0"]

    async def main():
        runs = await scene.leased(1)
        settling = asyncio.create_task(scene.settler.run())
        scene.settler.add(runs[0])
        while scene.broker.locked:
            await asyncio.sleep(0)
        settling.cancel()
        await asyncio.wait([settling])
        settling = asyncio.create_task(scene.settler.run())
        async with asyncio.timeout(10):
            while not scene.done:
                await asyncio.sleep(0.001)
        settling.cancel()

    asyncio.run(main())
    assert scene.done == [("id-0", SettleStatus.DONE)]
