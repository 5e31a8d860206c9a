from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest
from unit.worker.given import a_message, a_plan
from unit.worker.stores import FaultyBroker, a_name

from stem_core.contracts.messages import Cancellation, Delivery, Receipt, Settlement
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.model.value import replace
from stem_core.testing.clock import FakeClock
from stem_core.worker.keeper import LeaseKeeper, patience_ms
from stem_core.worker.outcomes import Cause
from stem_core.worker.run import Run


class Scene:
    """A keeper over a memory store, both on a clock that the test turns."""

    def __init__(self, broker: type[InMemoryBroker] = InMemoryBroker) -> None:
        self.kind = broker
        self.clock = FakeClock()
        self.name = a_name()
        self.broker = broker(self.name, clock=self.clock)
        self.ended: list[tuple[str, Cause]] = []
        self.handles: list[Any] = []
        self.faults = 0
        self.keeper = LeaseKeeper(
            self.handle,
            self.clock,
            grace_ms=0,
            ended=lambda run, cause: self.ended.append((run.id, cause)),
        )

    def handle(self) -> InMemoryBroker:
        handle = self.kind(self.name, clock=self.clock)
        if isinstance(handle, FaultyBroker):
            handle.before["extend"] = self.faults
        self.handles.append(handle)
        return handle

    async def leased(self, *ids: str, lease_ms: int = 30_000) -> list[Run]:
        await self.broker.publish([a_message(id=id, lease_ms=lease_ms) for id in ids])
        came = await self.broker.fetch(["default"], limit=len(ids), wait_ms=0, worker="w")
        return [Run(each, None, self.clock.monotonic_ms()) for each in came]  # type: ignore[arg-type]

    async def pass_by(self, seconds: float) -> None:
        """Let time pass in small steps, each seen by the keeper."""
        for _ in range(int(seconds)):
            await self.asleep()
            self.clock.advance(1)
        await self.asleep()

    async def asleep(self) -> None:
        async with asyncio.timeout(10):
            while not self.clock.sleepers:
                await asyncio.sleep(0)

    async def lease_left_ms(self, id: str) -> int:
        (located,) = await self.broker.lookup([id])
        assert located is not None
        return located.lease_ms


def keeping(body, scene: Scene) -> None:
    async def main():
        scene.keeper.start()
        try:
            await body()
        finally:
            await scene.keeper.stop()

    asyncio.run(main())


def test_a_held_lease_never_lapses():
    scene = Scene()

    async def body():
        (run,) = await scene.leased("a")
        scene.keeper.hold(run)
        await scene.pass_by(95)
        assert await scene.lease_left_ms("a") > 15_000
        assert not await scene.broker.fetch(["default"], limit=1, wait_ms=0, worker="other")

    keeping(body, scene)
    assert scene.ended == []


def test_a_dropped_lease_is_left_to_lapse():
    scene = Scene()

    async def body():
        (run,) = await scene.leased("a")
        scene.keeper.hold(run)
        await scene.pass_by(15)
        scene.keeper.drop(run)
        await scene.pass_by(31)
        (taken,) = await scene.broker.fetch(["default"], limit=1, wait_ms=0, worker="other")
        assert taken.lapses == 1

    keeping(body, scene)


def test_a_short_lease_is_kept_beside_a_long_one():
    scene = Scene()

    async def body():
        (long,) = await scene.leased("long", lease_ms=600_000)
        scene.keeper.hold(long)
        await scene.pass_by(2)
        (short,) = await scene.leased("short", lease_ms=6_000)
        scene.keeper.hold(short)
        await scene.pass_by(30)
        assert await scene.lease_left_ms("short") > 1_000

    keeping(body, scene)
    assert scene.ended == []


def test_a_lost_lease_is_reported():
    scene = Scene()

    async def body():
        (run,) = await scene.leased("a")
        await scene.broker.settle([Settlement(receipt=run.delivery.receipt)])
        scene.keeper.hold(run)
        await scene.pass_by(12)

    keeping(body, scene)
    assert scene.ended == [("a", Cause.LEASE_LOST)]


def test_a_request_to_cancel_is_reported_and_the_lease_kept():
    scene = Scene()

    async def body():
        (run,) = await scene.leased("a")
        scene.keeper.hold(run)
        await scene.broker.cancel([Cancellation(id="a")])
        await scene.pass_by(12)
        assert run.wants_end
        run.cause = Cause.CANCEL  # as the worker's loop notes it
        await scene.pass_by(40)
        assert await scene.lease_left_ms("a") > 0

    keeping(body, scene)
    assert scene.ended == [("a", Cause.CANCEL)]


def test_a_store_that_is_away_ends_the_run_before_its_lease_does():
    scene = Scene(FaultyBroker)
    scene.faults = 1_000_000

    async def body():
        (run,) = await scene.leased("a")
        scene.keeper.hold(run)
        await scene.pass_by(26)
        assert scene.ended == []
        await scene.pass_by(3)
        assert scene.ended == [("a", Cause.LEASE_LOST)]
        assert await scene.lease_left_ms("a") > 0

    keeping(body, scene)


def test_a_store_that_comes_back_in_time_costs_nothing():
    scene = Scene(FaultyBroker)
    scene.faults = 5

    async def body():
        (run,) = await scene.leased("a")
        scene.keeper.hold(run)
        await scene.pass_by(60)

    keeping(body, scene)
    assert scene.ended == []


class Small(FaultyBroker):
    """Takes two extensions in one call."""

    @property
    def capabilities(self):
        return replace(super().capabilities, max_batch=2)


def test_no_more_leases_are_renewed_in_one_call_than_the_broker_takes():
    scene = Scene(Small)

    async def body():
        for id in "abcde":
            scene.keeper.hold(*await scene.leased(id))
        await scene.pass_by(12)

    keeping(body, scene)
    sizes = [size for handle in scene.handles for _, size in handle.calls]
    assert sum(sizes) >= 5
    assert max(sizes) <= 2
    assert scene.ended == []


def test_a_store_that_was_not_heard_is_not_asked_again_when_the_lease_is_nearly_over():
    scene = Scene(FaultyBroker)
    scene.faults = 1

    async def body():
        (run,) = await scene.leased("a")
        scene.keeper.hold(run)
        async with asyncio.timeout(10):
            while not (scene.handles and scene.handles[0].calls):
                await scene.pass_by(1)
        scene.clock.advance(25)  # as in a machine that was too busy to look
        await scene.pass_by(1)

    keeping(body, scene)
    assert scene.ended == [("a", Cause.LEASE_LOST)]
    assert [verb for verb, _ in scene.handles[0].calls] == ["extend"]


class Clinging(InMemoryBroker):
    """One that never answers, and whose driver clings to a call that is given up."""

    let_go = threading.Event()

    async def extend(self, extensions):
        while not self.let_go.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)


def test_a_driver_that_does_not_let_go_of_a_call_delays_no_end():
    scene = Scene(Clinging)

    async def body():
        (run,) = await scene.leased("a", lease_ms=300)
        scene.keeper.hold(run)
        try:
            async with asyncio.timeout(10):
                while not scene.ended:
                    scene.clock.advance(0.01)
                    await asyncio.sleep(0.01)
        finally:
            Clinging.let_go.set()

    keeping(body, scene)
    assert scene.ended == [("a", Cause.LEASE_LOST)]


@pytest.mark.parametrize(("options", "longest_s"), [({}, 3600), ({"hard_time_limit": "100s"}, 100)])
def test_a_lease_is_not_renewed_for_ever(options, longest_s, caplog):
    scene = Scene()
    scene.clock.advance(1)

    async def body():
        (run,) = await scene.leased("a", lease_ms=600_000)
        run.plan, run.started_ms = a_plan(**options), 1
        scene.keeper.hold(run)
        await scene.pass_by(longest_s - 90 if longest_s > 3000 else 0)
        assert scene.ended == []
        await scene.pass_by(450)  # two renewals: the first may come a moment before the limit

    keeping(body, scene)
    assert scene.ended == [("a", Cause.LEASE_LOST)]
    assert "longest time" in caplog.text


def test_what_waits_for_its_turn_is_renewed_for_as_long_as_that_takes():
    scene = Scene()

    async def body():
        (run,) = await scene.leased("a", lease_ms=600_000)
        scene.keeper.hold(run)
        await scene.pass_by(4_500)
        assert await scene.lease_left_ms("a") > 0
        run.started_ms = 1
        await scene.pass_by(3_000)
        assert scene.ended == []

    keeping(body, scene)


class Broken(InMemoryBroker):
    """Fails once with what no adapter may raise."""

    has_failed = False

    async def extend(self, extensions):
        if not Broken.has_failed:
            Broken.has_failed = True
            raise ZeroDivisionError
        return await super().extend(extensions)


@pytest.fixture
def soon(monkeypatch):
    """A keeper that failed starts again by the machine's time, whatever the clock says."""
    monkeypatch.setattr("stem_core.worker.keeper._PAUSE_S", 0.01)


@pytest.mark.usefixtures("soon")
def test_a_keeper_that_fails_starts_again(caplog):
    scene = Scene(Broken)

    async def body():
        (run,) = await scene.leased("a")
        scene.keeper.hold(run)
        await scene.pass_by(40)
        assert await scene.lease_left_ms("a") > 15_000

    keeping(body, scene)
    assert "the lease keeper failed" in caplog.text
    assert len(scene.handles) == 2


class Hopeless(InMemoryBroker):
    """Fails always with what no adapter may raise."""

    async def extend(self, extensions):
        raise ZeroDivisionError


@pytest.mark.usefixtures("soon")
def test_a_store_with_a_bug_ends_the_run_before_its_lease_does(caplog):
    scene = Scene(Hopeless)

    async def body():
        (run,) = await scene.leased("a", lease_ms=12_000)
        scene.keeper.hold(run)
        async with asyncio.timeout(20):
            while not scene.ended:
                await scene.pass_by(1)
        assert await scene.lease_left_ms("a") > 0

    keeping(body, scene)
    assert scene.ended == [("a", Cause.LEASE_LOST)]
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("now_ms", "patience"),
    [(0, 10_000), (10_000, 10_000), (20_000, 7_000), (26_990, 50), (40_000, 50)],
)
def test_a_renewal_is_not_awaited_beyond_the_moment_when_its_task_must_end(now_ms, patience):
    delivery = Delivery(message=a_message(lease_ms=30_000), receipt=Receipt("a", "q", 1))
    long = Delivery(
        message=a_message(lease_ms=90_000), receipt=Receipt("b", "q", 1), lease_ms=90_000
    )
    outlet: Any = None
    runs = [Run(each, outlet, 0) for each in (delivery, long)]
    assert patience_ms(runs, now_ms) == pytest.approx(patience)
