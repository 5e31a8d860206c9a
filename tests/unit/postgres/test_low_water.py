"""Where looks begin while something open keeps what has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from stem_core.plugin import StoreUnavailable
from stem_core.testing import FakeClock
from stem_postgres.low_water import LowWater

QUEUES = ["a", "b"]
MUCH, LITTLE = 5_000, 10
SLOW, QUICK = 50.0, 1.0


class Scene:
    """A low water, the clock that it looks at, and a server that says how much it passed by."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.water = LowWater(self.clock, self.ask)
        self.asked: list[tuple[bool, bool]] = []
        """Of each call: whether it was from the very start, and whether it may take long."""

        self.passed = MUCH
        self.takes_ms = 0
        self.is_away = False

    async def ask(self, queues: Sequence[str], low: Any, is_long: bool) -> Any:
        self.asked.append((low is None, is_long))
        self.clock.advance(timedelta(milliseconds=self.takes_ms))
        if self.is_away:
            raise StoreUnavailable("it did not answer in time")
        return list(range(10 * len(queues))), self.passed

    async def look(self, took_ms: float, after_ms: int = 0, count: int = 1) -> None:
        self.clock.advance(timedelta(milliseconds=after_ms))
        self.water.looked(QUEUES, took_ms, count)
        for _ in range(5):
            await asyncio.sleep(0)

    def begins(self, *queues: str) -> list[int] | None:
        found = self.water.of(queues)
        return None if found is None else list(found)


def test_quick_looks_ask_nothing_and_neither_does_one_that_brings_much():
    async def work(scene: Scene) -> None:
        await scene.look(QUICK)
        await scene.look(SLOW, count=500)
        assert scene.asked == []
        assert scene.begins("a") is None

    asyncio.run(work(Scene()))


def test_a_slow_look_that_passed_by_little_changes_nothing():
    async def work(scene: Scene) -> None:
        scene.passed = LITTLE
        await scene.look(SLOW)
        assert scene.asked == [(True, False)]
        assert scene.begins("a") is None
        await scene.look(SLOW, after_ms=300)
        assert scene.begins("a") is None

    asyncio.run(work(Scene()))


def test_looks_begin_where_the_first_of_each_priority_stood_in_whatever_order_queues_come():
    async def work(scene: Scene) -> None:
        await scene.look(SLOW)
        assert scene.begins("b", "a", "new") == [*range(10, 20), *range(10), *[0] * 10]

    asyncio.run(work(Scene()))


def test_slow_looks_move_on_at_most_four_times_a_second_and_ask_from_the_start_every_second():
    async def work(scene: Scene) -> None:
        for _ in range(25):
            await scene.look(SLOW, after_ms=100)
        assert scene.asked.count((True, False)) == 3
        assert 5 <= len(scene.asked) <= 9

    asyncio.run(work(Scene()))


def test_from_the_start_is_asked_a_twentieth_of_the_time_and_looks_are_quick_meanwhile():
    async def work(scene: Scene) -> None:
        scene.takes_ms = 500
        await scene.look(SLOW)
        for _ in range(99):
            await scene.look(QUICK, after_ms=100)
        assert len(scene.asked) == 1
        await scene.look(QUICK, after_ms=200)
        assert scene.asked == [(True, False)] * 2

    asyncio.run(work(Scene()))


def test_when_little_is_passed_by_from_the_start_looks_begin_there_again():
    async def work(scene: Scene) -> None:
        await scene.look(SLOW)
        scene.passed = LITTLE
        await scene.look(SLOW, after_ms=300)  # from where it was
        assert scene.begins("a") is not None
        await scene.look(QUICK, after_ms=1_000)
        assert scene.begins("a") is None

    asyncio.run(work(Scene()))


def test_what_was_given_up_is_asked_again_with_more_time():
    async def work(scene: Scene) -> None:
        scene.is_away = True
        await scene.look(SLOW)
        scene.is_away = False
        await scene.look(SLOW, after_ms=1_000)
        assert scene.asked == [(True, False), (True, True)]
        assert scene.begins("a") is not None

    asyncio.run(work(Scene()))
