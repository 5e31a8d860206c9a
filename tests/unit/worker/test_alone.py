"""Who may have ended a worker is run with nothing beside it, and nobody is blamed for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from unit.worker.given import a_delivery, a_run

from stem_core.testing.clock import FakeClock
from stem_core.worker.isolation.alone import Alone
from stem_core.worker.run import Run
from stem_core.worker.slots import Slots


class Scene:
    """A worker reduced to its slots."""

    def __init__(self, *, elsewhere: bool = False) -> None:
        self.clock = FakeClock()
        self.slots = Slots(10)
        self.started: list[Run] = []
        self.back: list[tuple[Run, int]] = []
        self.alone = Alone(
            self.slots,
            self.clock,
            is_elsewhere=lambda run: elsewhere,
            start=self.started.append,
            hand_back=self._hand_back,
        )

    def _hand_back(self, run: Run, after_ms: int) -> None:
        self.back.append((run, after_ms))
        self.ended(run)

    def take(self, *runs: Run) -> list[Run]:
        self.slots.start(len(runs))
        return self.alone.sort(runs)

    def ended(self, run: Run) -> None:
        self.slots.end()
        self.slots.settled()
        if run is self.alone.suspect:
            self.alone.over()

    async def settle_down(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


def a_suspect(lapses: int = 1) -> Run:
    return a_run(started=False, delivery=a_delivery(lapses=lapses))


def an_innocent() -> Run:
    return a_suspect(0)


def play(body: Callable[[Scene], Coroutine[Any, Any, None]], **how: Any) -> None:
    async def main() -> None:
        await body(Scene(**how))

    asyncio.run(main())


def test_who_never_lapsed_starts_at_once():
    async def body(scene: Scene) -> None:
        runs = [an_innocent(), an_innocent()]
        assert scene.take(*runs) == runs
        assert scene.slots.free == 8

    play(body)


def test_a_suspect_waits_until_nothing_else_is_held_and_nothing_comes_meanwhile():
    async def body(scene: Scene) -> None:
        innocent, suspect = an_innocent(), a_suspect()
        assert scene.take(innocent, suspect) == [innocent]
        await scene.settle_down()
        assert scene.started == []
        assert scene.slots.free == 0
        scene.slots.end()  # its settlement is on the way: its lease is still held
        await scene.settle_down()
        assert scene.started == []
        scene.slots.settled()
        await scene.settle_down()
        assert scene.started == [suspect]
        assert scene.slots.free == 0
        scene.ended(suspect)
        assert scene.slots.free == 10

    play(body)


def test_of_several_suspects_the_one_that_lapsed_most_is_kept_and_the_others_go_back():
    async def body(scene: Scene) -> None:
        mild, worst, other = a_suspect(1), a_suspect(3), a_suspect(2)
        assert scene.take(mild, worst, other) == []
        assert scene.back == [(mild, 0), (other, 0)]
        await scene.settle_down()
        assert scene.started == [worst]

    play(body)


def test_what_a_fetch_brings_while_a_suspect_waits_goes_back():
    async def body(scene: Scene) -> None:
        scene.take(a_suspect())
        late, later = an_innocent(), a_suspect(4)
        assert scene.take(late, later) == []
        assert scene.back == [(late, 0), (later, 0)]

    play(body)


def test_poison_is_no_suspect_for_nothing_of_it_is_run():
    async def body(scene: Scene) -> None:
        poison = a_suspect(5)
        assert scene.take(poison) == [poison]
        scene.take(a_suspect(1))
        assert scene.take(poison) == [poison]

    play(body)


def test_who_has_a_process_of_its_own_is_no_suspect():
    async def body(scene: Scene) -> None:
        suspect = a_suspect()
        assert scene.take(suspect) == [suspect]

    play(body, elsewhere=True)


def test_a_suspect_that_waits_too_long_goes_back():
    async def body(scene: Scene) -> None:
        suspect = a_suspect()
        scene.take(an_innocent(), suspect)
        await scene.settle_down()
        scene.clock.advance(30_000)
        await scene.settle_down()
        assert scene.back == [(suspect, 30_000)]
        assert scene.slots.free == 9

    play(body)


@pytest.mark.parametrize("is_alone", [False, True])
def test_a_worker_that_takes_nothing_more_hands_a_waiting_suspect_back(is_alone):
    async def body(scene: Scene) -> None:
        suspect = a_suspect()
        scene.take(*([] if is_alone else [an_innocent()]), suspect)
        await scene.settle_down()
        scene.alone.leave()
        assert scene.back == ([] if is_alone else [(suspect, 0)])

    play(body)
