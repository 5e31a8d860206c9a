from __future__ import annotations

import asyncio
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
from unit.producer.stores import Skipping, Willful, fresh_name

from stem_core.contracts.hookspecs import BackendSpec, BrokerSpec, PluginContext, hookimpl
from stem_core.discovery.host import PluginHost
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.embedded.memory.broker import CAPABILITIES
from stem_core.model.errors import StoreFull, StoreUnavailable
from stem_core.model.urls import StemURL
from stem_core.model.value import replace
from stem_core.producer.client import Stem


def fresh() -> Stem:
    return Stem(f"memory://{fresh_name()}")


def test_a_loop_has_one_lane_however_many_ask_for_it_at_once() -> None:
    async def main() -> None:
        stem = fresh()
        lanes = await asyncio.gather(*(stem.lane() for _ in range(20)))
        assert len(set(map(id, lanes))) == 1

    asyncio.run(main())


def test_two_loops_one_after_the_other_both_work() -> None:
    stem = fresh()
    first = asyncio.run(stem.enqueue("a"))
    assert asyncio.run(stem.status(first)) is not None
    assert asyncio.run(stem.enqueue("a")) != first


def test_the_lane_of_a_loop_that_is_closed_is_dropped() -> None:
    stem = fresh()
    asyncio.run(stem.enqueue("a"))
    asyncio.run(stem.enqueue("a"))
    assert len(stem._runtime.lanes.loops) == 1


def test_an_object_is_used_by_the_first_lane_and_its_siblings_by_the_others() -> None:
    broker = Willful()
    stem = Stem(broker)

    async def main() -> Any:
        return (await stem.lane()).broker

    first = asyncio.run(main())
    second = asyncio.run(main())
    assert first is broker
    assert second is not broker
    assert second.store_id == broker.store_id


def test_a_lane_that_could_not_be_opened_is_opened_by_the_next_who_asks() -> None:
    class Shy(Willful):
        attempts = 0

        def sibling(self) -> Any:
            Shy.attempts += 1
            raise StoreFull("not now")

    async def main() -> None:
        stem = Stem(Shy())
        stem._runtime.lanes._take_first()
        results = await asyncio.gather(*(stem.lane() for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in results] == [StoreFull] * 3
        assert Shy.attempts == 3

    asyncio.run(main())


class Watched(Willful):
    """A broker that notes who was opened and who was closed."""

    opened: ClassVar[list[Watched]] = []

    @classmethod
    async def open(cls, url: StemURL, options: object, context: PluginContext) -> Watched:
        broker = cls()
        cls.opened.append(broker)
        return broker


class Unreachable(InMemoryResultBackend):
    """A backend that no connection leads to."""

    @classmethod
    async def open(cls, url: StemURL, options: object, context: PluginContext) -> Unreachable:
        raise StoreFull("no room")


class Stores:
    """A plugin that opens these two."""

    STEM_PLUGIN_API = (1, 0)

    @hookimpl
    def stem_register_brokers(self) -> list[BrokerSpec]:
        return [BrokerSpec(schemes=("watched",), factory=f"{__name__}:Watched")]

    @hookimpl
    def stem_register_backends(self) -> list[BackendSpec]:
        return [BackendSpec(schemes=("unreachable",), factory=f"{__name__}:Unreachable")]


def test_a_broker_is_closed_again_when_the_backend_beside_it_cannot_be_opened() -> None:
    Watched.opened.clear()
    plugins = PluginHost()
    plugins.register(Stores())
    stem = Stem("watched://h", backend="unreachable://h", plugins=plugins)

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(StoreFull):
                await stem.enqueue("a")

    asyncio.run(main())
    assert [each.is_closed for each in Watched.opened] == [True, True]


class Dawdler(Willful):
    """A broker that takes most of ten seconds to open, and never answers after that."""

    def sibling(self) -> Any:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Skipping)
        loop.skip(9.99)
        other = Dawdler()
        other.gate = asyncio.Event()
        return other


@pytest.mark.parametrize("verb", ["enqueue", "enqueue_many"])
def test_opening_and_publishing_share_one_deadline(verb: str) -> None:
    async def main() -> None:
        stem = Stem(Dawdler(), backend=None)
        stem._runtime.lanes._take_first()
        with pytest.raises(StoreUnavailable, match="within 10s"):
            async with asyncio.timeout(15):  # two deadlines would be twenty seconds
                await (
                    stem.enqueue("a") if verb == "enqueue" else stem.enqueue_many([stem.call("a")])
                )

    with asyncio.Runner(loop_factory=Skipping) as runner:
        runner.run(main())


def test_a_broker_that_was_given_is_kept_for_the_next_try() -> None:
    plugins = PluginHost()
    plugins.register(Stores())
    broker = Willful()
    stem = Stem(broker, backend="unreachable://h", plugins=plugins)

    async def main() -> None:
        with pytest.raises(StoreFull):
            await stem.enqueue("a")
        assert not broker.is_closed
        assert stem._runtime.lanes._take_first()

    asyncio.run(main())


def test_many_loops_in_many_threads_work_at_once() -> None:
    stem = fresh()

    def enqueue_some(_: int) -> list[str]:
        async def main() -> list[str]:
            return await asyncio.gather(*(stem.enqueue("a") for _ in range(25)))

        return asyncio.run(main())

    with ThreadPoolExecutor(8) as pool:
        ids = [each for some in pool.map(enqueue_some, range(16)) for each in some]
    assert len(set(ids)) == 400


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
@pytest.mark.parametrize("way", ["async", "blocking"])
def test_a_stem_works_in_a_child_after_a_fork_and_goes_on_in_the_parent(way: str) -> None:
    stem = fresh()

    def enqueue() -> str:
        return asyncio.run(stem.enqueue("a")) if way == "async" else stem.blocking.enqueue("a")

    mine = {enqueue(), enqueue()}
    receive, send = os.pipe()
    if (child := os.fork()) == 0:
        try:  # nothing of pytest may run in the child
            logging.disable(logging.CRITICAL)
            os.write(send, enqueue().encode())
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive) as answers:
        theirs = answers.read()
    os.waitpid(child, 0)
    assert len(theirs) == 36
    mine.add(enqueue())
    assert len(mine | {theirs}) == 4


def test_closing_closes_the_lanes_of_all_loops_that_run() -> None:
    stem = Stem(Willful(), backend=None)
    ready, over = threading.Event(), threading.Event()
    brokers: list[Any] = []

    def elsewhere() -> None:
        async def main() -> None:
            brokers.append((await stem.lane()).broker)
            ready.set()
            await asyncio.to_thread(over.wait)

        asyncio.run(main())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    ready.wait()

    async def main() -> None:
        brokers.append((await stem.lane()).broker)
        await stem.aclose()
        await stem.aclose()

    asyncio.run(main())
    over.set()
    thread.join()
    assert [broker.is_closed for broker in brokers] == [True, True]


def test_a_stem_that_was_closed_connects_again_when_it_is_used() -> None:
    async def main() -> None:
        async with Stem(Willful(), backend=InMemoryResultBackend(fresh_name())) as stem:
            await stem.enqueue("a")
        assert await stem.enqueue("a")

    asyncio.run(main())


def test_a_backend_of_this_process_alone_is_said_once_beside_a_broker_for_many(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = Willful(capabilities=replace(CAPABILITIES, multiprocess=True))
    stem = Stem(broker, backend=InMemoryResultBackend(fresh_name()))
    for _ in range(2):
        asyncio.run(stem.enqueue("a"))
    told = [each for each in caplog.messages if "will not be seen here" in each]
    assert len(told) == 1
    assert "InMemoryResultBackend" in told[0]
