"""A store that is away: whatever waits for it goes on by itself soon after it is back.

The clock is the test's, so "soon" is a promise that is counted and not a time that is
measured.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from attrs import frozen
from unit.worker.given import a_message
from unit.worker.stores import FaultyBroker, a_name

from stem_core.contracts.messages import ACK, Settlement
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.model.outcome import Record, State
from stem_core.testing.clock import FakeClock, LoadedDice
from stem_core.worker.backoff import Backoff, supervised
from stem_core.worker.decide import Books
from stem_core.worker.fetcher import Fetcher
from stem_core.worker.keeper import LeaseKeeper
from stem_core.worker.run import Run
from stem_core.worker.settler import Settler
from stem_core.worker.slots import Slots

SOON_MS = 3_000
STEP_MS = 50

outages = pytest.mark.parametrize("away_ms", [100, 10_000, 3_600_000])
rolls = pytest.mark.parametrize("roll", [0.0, 0.5, 0.999])


@frozen(kw_only=True)
class Stores:
    broker: FaultyBroker
    backend: InMemoryResultBackend | None
    atomic: bool


class Outage:
    """A broker that is away from the start, and a clock on which it may come back."""

    def __init__(self, roll: float) -> None:
        self.clock = FakeClock()
        self.dice = LoadedDice([roll])
        self.name = a_name()
        self.is_away = False
        self.broker = FaultyBroker(self.name, clock=self.clock)

    def begin(self) -> None:
        self.is_away = True
        for verb in ("fetch", "settle", "extend"):
            self.broker.before[verb] = math.inf  # type: ignore[assignment]

    def end(self) -> None:
        self.is_away = False
        self.broker.before.clear()

    def another_handle(self) -> FaultyBroker:
        """Return one for another loop, away at the same time."""
        handle = FaultyBroker(self.name, clock=self.clock)
        handle.before = self.broker.before
        return handle

    def backoff(self) -> Backoff:
        return Backoff(self.clock, self.dice)

    async def leased(self) -> Run:
        await self.broker.publish([a_message()])
        (delivery,) = await self.broker.fetch(["default"], limit=1, wait_ms=0, worker="w")
        return Run(delivery, None, self.clock.monotonic_ms())  # type: ignore[arg-type]

    async def last(self, away_ms: int) -> None:
        """Let the outage last, and end."""
        step_ms = max(STEP_MS, away_ms // 500)
        for _ in range(0, away_ms, step_ms):
            await self._pass(step_ms)
        self.end()

    async def ms_until(self, is_so: Callable[[], Any]) -> int:
        """Return how much time passes until *is_so*, looked at in small steps."""
        for passed_ms in range(0, 10 * SOON_MS, STEP_MS):
            if is_so():
                return passed_ms
            await self._pass(STEP_MS)
        raise AssertionError("it never went on")

    async def _pass(self, ms: int) -> None:
        self.clock.advance(ms / 1000)
        for _ in range(10):  # the sleepers wake in the loop, and do their work
            await asyncio.sleep(0)


async def beside(work: Callable[[], Awaitable[None]], body: Callable[[], Awaitable[int]]) -> int:
    working = asyncio.ensure_future(work())
    try:
        return await body()
    finally:
        working.cancel()
        await asyncio.wait([working])


@outages
@rolls
def test_work_is_taken_again_soon_after_the_broker_is_back(away_ms, roll):
    async def main() -> int:
        scene = Outage(roll)
        taken: list[Any] = []
        told: list[str] = []
        fetcher = Fetcher(
            scene.broker,
            {"default": 1},
            Slots(10),
            worker="w",
            clock=scene.clock,
            dice=scene.dice,
            backoff=scene.backoff(),
            take=taken.extend,
            failed=lambda error: None,
            lost=lambda error: told.append("lost"),
            back=lambda: told.append("back"),
        )
        await scene.broker.publish([a_message()])
        scene.begin()

        async def body() -> int:
            await scene.last(away_ms)
            assert not taken
            waited_ms = await scene.ms_until(lambda: taken)
            assert told == ["lost", "back"]
            return waited_ms

        return await beside(fetcher.run, body)

    assert asyncio.run(main()) <= SOON_MS


@outages
@rolls
@pytest.mark.parametrize("atomic", [True, False])
def test_what_has_ended_is_settled_soon_after_the_broker_is_back(away_ms, roll, atomic):
    async def main() -> int:
        scene = Outage(roll)
        backend = InMemoryResultBackend(scene.name if atomic else a_name(), clock=scene.clock)
        done: list[Any] = []
        settler = Settler(
            Stores(broker=scene.broker, backend=backend, atomic=atomic),
            scene.backoff(),
            Books(),
            lambda runs, status: done.extend(runs),
        )
        run = await scene.leased()
        receipt = run.delivery.receipt
        record = Record(id=run.id, state=State.SUCCEEDED, fence=receipt.fence, value=b"1")
        run.settlement = Settlement(receipt=receipt, outcome=ACK, record=record)
        scene.begin()
        settler.add(run)

        async def body() -> int:
            await scene.last(away_ms)
            assert not done
            return await scene.ms_until(lambda: done)

        return await beside(settler.run, body)

    assert asyncio.run(main()) <= SOON_MS


@pytest.mark.parametrize("away_ms", [100, 1_000, 12_000])  # its lease ends at 30 s
def test_leases_are_renewed_soon_after_the_broker_is_back(away_ms):
    class Asleep(Outage):
        async def _pass(self, ms: int) -> None:
            async with asyncio.timeout(30):
                while not self.clock.sleepers:  # the keeper has a thread of its own
                    await asyncio.sleep(0)
            await super()._pass(ms)

    async def main() -> int:
        scene = Asleep(0.0)
        ended: list[Any] = []
        keeper = LeaseKeeper(
            scene.another_handle,
            scene.clock,
            grace_ms=0,
            ended=lambda run, cause: ended.append(cause),
        )
        run = await scene.leased()
        due_ms = run.renew_at_ms
        scene.begin()
        keeper.start()
        keeper.hold(run)
        try:
            before_ms = run.ends_at_ms
            await scene.last(int(due_ms) + away_ms)
            waited_ms = await scene.ms_until(lambda: run.ends_at_ms > before_ms)
            assert not ended
            return waited_ms
        finally:
            await keeper.stop()

    assert asyncio.run(main()) <= SOON_MS


@outages
@rolls
def test_a_loop_that_a_store_makes_fail_is_run_again_soon_after_it_is_back(away_ms, roll):
    async def main() -> int:
        scene = Outage(roll)
        goes_on: list[bool] = []
        scene.begin()

        async def loop() -> None:
            if scene.is_away:
                raise ValueError("a driver that knows no better")
            goes_on.append(True)

        async def body() -> int:
            await scene.last(away_ms)
            return await scene.ms_until(lambda: goes_on)

        return await beside(lambda: supervised("fetch", loop, scene.backoff()), body)

    assert asyncio.run(main()) <= SOON_MS
