"""A desk does what it is asked, together, in order, and for those who are still there."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from stem_core.embedded.sqlite.desk import Desk


class Scene:
    """A desk whose work waits for a gate, and notes what it did with what."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.left = 0
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.desk = Desk("test-desk", self.work, self.leave)

    def work(self, jobs, gather) -> None:
        self.begun.set()
        self.gate.wait(10)
        gather()
        done = [job for job in jobs if job.is_wanted]
        self.batches.append([job.args[0] for job in done])
        for job in done:
            try:
                job.made(job.verb(*job.args))
            except ValueError as error:
                job.error = error

    def leave(self) -> None:
        self.left += 1


def shout(text: str) -> str:
    if text == "bad":
        raise ValueError(text)
    return text.upper()


async def begun(scene: Scene, *texts: str) -> list[asyncio.Task]:
    tasks = [asyncio.ensure_future(scene.desk.ask(shout, text)) for text in texts]
    await asyncio.sleep(0)
    await asyncio.to_thread(scene.begun.wait, 10)
    return tasks


def stopped(scene: Scene) -> None:
    thread = scene.desk.stop()
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()


def test_what_is_asked_for_meanwhile_is_done_together():
    scene = Scene()

    async def main():
        first = await begun(scene, "a")
        more = [asyncio.ensure_future(scene.desk.ask(shout, text)) for text in "bcd"]
        await asyncio.sleep(0)
        scene.gate.set()
        assert await asyncio.gather(*first, *more) == ["A", "B", "C", "D"]

    asyncio.run(main())
    assert scene.batches == [["a", "b", "c", "d"]]
    stopped(scene)


def test_an_error_is_told_to_its_caller_alone():
    scene = Scene()
    scene.gate.set()

    async def main():
        replies: Any = await asyncio.gather(
            scene.desk.ask(shout, "good"), scene.desk.ask(shout, "bad"), return_exceptions=True
        )
        assert replies[0] == "GOOD"
        assert isinstance(replies[1], ValueError)

    asyncio.run(main())
    stopped(scene)


def test_what_nobody_waits_for_any_more_is_not_done():
    scene = Scene()

    async def main():
        first = await begun(scene, "a")
        gone = asyncio.ensure_future(scene.desk.ask(shout, "gone"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        scene.gate.set()
        await asyncio.gather(*first)

    asyncio.run(main())
    assert scene.batches == [["a"]]
    stopped(scene)


def test_an_outcome_that_comes_too_late_is_told_as_lost():
    scene = Scene()
    lost: list[str] = []

    async def main():
        asked = asyncio.ensure_future(scene.desk.ask(shout, "a", lost=lost.append))
        await asyncio.sleep(0)
        await asyncio.to_thread(scene.begun.wait, 10)
        scene.gate.set()
        while not scene.batches:  # without a turn of the loop: the reply waits outside
            time.sleep(0.001)  # noqa: ASYNC251
        asked.cancel()
        await asyncio.wait([asked])
        while not lost:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 10))
    assert lost == ["A"]
    stopped(scene)


def test_an_outcome_for_a_loop_that_has_closed_is_told_as_lost():
    scene = Scene()
    lost: list[str] = []

    async def main():
        asked.append(asyncio.ensure_future(scene.desk.ask(shout, "a", lost=lost.append)))
        await asyncio.sleep(0)
        await asyncio.to_thread(scene.begun.wait, 10)

    asked: list[asyncio.Task] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    scene.gate.set()
    stopped(scene)
    assert lost == ["A"]


def test_a_desk_that_was_stopped_begins_again_when_it_is_asked():
    scene = Scene()
    scene.gate.set()

    async def main():
        assert await scene.desk.ask(shout, "a") == "A"
        await asyncio.to_thread(stopped, scene)
        assert await scene.desk.ask(shout, "b") == "B"

    asyncio.run(main())
    stopped(scene)
    assert scene.left == 2


def test_nothing_is_done_here_while_the_desk_is_busy():
    scene = Scene()

    async def main():
        first = await begun(scene, "a")
        assert not scene.desk.begin_here()
        scene.gate.set()
        await asyncio.gather(*first)

    asyncio.run(main())
    stopped(scene)
    assert scene.desk.begin_here()
    assert not scene.desk.begin_here()
    scene.desk.end_here()
    assert scene.desk.begin_here()
