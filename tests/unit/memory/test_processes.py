"""One store, many threads, loops and processes."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from stem_core.contracts.messages import Message, Settlement
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.embedded.memory.store import MemoryStore
from stem_core.model.errors import UsageError, WrongLoop
from stem_core.model.outcome import Record, State
from stem_core.testing.clock import FakeClock


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.node.name[:100].replace("[", "_").replace("]", "_")
    MemoryStore.forget(request.node.name[:100])


def message(id: str) -> Message:
    return Message(id=id, queue="q", task="t", body=b"{}")


def test_equal_names_meet_and_others_do_not(name):
    broker = InMemoryBroker(name)
    assert InMemoryResultBackend(name).store_id == broker.store_id
    assert InMemoryBroker(name).store_id == broker.sibling().store_id == broker.store_id
    assert InMemoryBroker(name, namespace="other").store_id != broker.store_id
    assert InMemoryBroker(name + "2").store_id != broker.store_id


def test_a_forgotten_store_begins_anew_and_its_handles_keep_the_old_one(name):
    old = InMemoryBroker(name)
    MemoryStore.forget(name)
    assert InMemoryBroker(name).store_id != old.store_id
    assert old.sibling().store_id == old.store_id


def test_one_store_has_one_clock(name):
    clock = FakeClock()
    broker = InMemoryBroker(name, clock=clock)
    assert InMemoryBroker(name).store is broker.store
    with pytest.raises(UsageError, match="another clock"):
        InMemoryBroker(name, clock=FakeClock())


def test_a_closed_handle_says_so_and_its_sibling_works(name):
    async def use() -> None:
        broker = InMemoryBroker(name)
        await broker.publish([message("m")])
        await broker.aclose()
        with pytest.raises(UsageError, match="closed"):
            await broker.lookup(["m"])
        assert await broker.sibling().lookup(["m"]) != [None]

    asyncio.run(use())


def test_a_handle_that_closes_while_it_waits_takes_nothing(name):
    async def use() -> None:
        broker, other = InMemoryBroker(name), InMemoryBroker(name)
        waiting = asyncio.ensure_future(broker.fetch(["q"], limit=1, wait_ms=60_000, worker="w"))
        await asyncio.sleep(0)
        await broker.aclose()
        await other.publish([message("m")])
        assert list(await waiting) == []
        assert len(await other.fetch(["q"], limit=1, wait_ms=0, worker="w")) == 1

    asyncio.run(use())


def test_many_threads_share_the_work_and_none_is_lost_or_doubled(name):
    count, workers = 2000, 4
    done: list[str] = []

    async def produce(number: int) -> None:
        broker = InMemoryBroker(name)
        for n in range(number, count, 2):
            await broker.publish([message(f"m{n}")])

    async def work() -> None:
        broker = InMemoryBroker(name)
        while len(done) < count:
            batch = await broker.fetch(["q"], limit=7, wait_ms=50, worker="w")
            await broker.settle([Settlement(receipt=d.receipt) for d in batch])
            done.extend(d.message.id for d in batch)

    jobs = [produce(0), produce(1), *(work() for _ in range(workers))]
    threads = [threading.Thread(target=asyncio.run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == sorted(f"m{n}" for n in range(count))


def test_a_waiter_is_woken_from_another_thread(name):
    async def wait_for_work() -> None:
        broker, backend = InMemoryBroker(name), InMemoryResultBackend(name)

        def elsewhere() -> None:
            async def publish() -> None:
                await InMemoryBroker(name).publish([message("m")])
                await InMemoryResultBackend(name).save([Record(id="m", state=State.DEAD)])

            asyncio.run(publish())

        fetching = asyncio.ensure_future(broker.fetch(["q"], limit=1, wait_ms=60_000, worker="w"))
        waiting = asyncio.ensure_future(backend.wait("m", timeout_ms=60_000))
        await asyncio.sleep(0)
        await asyncio.to_thread(elsewhere)
        (delivery,) = await asyncio.wait_for(fetching, 30)
        record = await asyncio.wait_for(waiting, 30)
        assert delivery.message.id == "m"
        assert record is not None

    asyncio.run(wait_for_work())


def test_a_waiter_whose_loop_was_closed_harms_nobody(name):
    loop = asyncio.new_event_loop()
    broker = InMemoryBroker(name)
    waiting = loop.create_task(broker.fetch(["q"], limit=1, wait_ms=60_000, worker="w"))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert broker.store.sleepers.count == 1

    async def publish() -> None:
        other = InMemoryBroker(name)
        await other.publish([message("m")])
        assert len(await other.fetch(["q"], limit=1, wait_ms=0, worker="w")) == 1

    asyncio.run(publish())
    assert not waiting.done()
    # As the garbage collector would, and as it may: in the middle of a step.
    broker.store.step(lambda _: waiting.get_coro().close())
    assert broker.store.sleepers.count == 0
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]


# ── forks ────────────────────────────────────────────────────────────────────

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def in_child(check: Callable[[], None]) -> None:
    """Run *check* in a forked child; fail with what it raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            check()
            os.write(writing, b"ok")
        except BaseException as error:
            os.write(writing, repr(error).encode()[:4000])
        finally:
            os._exit(0)
    os.close(writing)
    said = os.read(reading, 4096).decode()
    os.close(reading)
    os.waitpid(child, 0)
    assert said == "ok"


@needs_fork
def test_a_child_begins_with_an_empty_store_and_is_told_once(name, caplog):
    used, unused = InMemoryBroker(name), InMemoryBroker(name)
    parent_id = used.store_id

    async def check() -> None:
        with pytest.raises(WrongLoop):
            await used.lookup(["m"])
        assert await unused.lookup(["m"]) == [None]
        assert await InMemoryBroker(name).lookup(["m"]) == [None]
        assert unused.store_id != parent_id
        warned = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert len(warned) == 1
        assert "another process cannot see" in warned[0].getMessage()

    async def use() -> None:
        await used.publish([message("m")])

    asyncio.run(use())
    in_child(lambda: asyncio.run(check()))
    assert used.store_id == parent_id
    assert asyncio.run(used.sibling().lookup(["m"])) != [None]


@needs_fork
def test_a_handle_ends_with_a_fork_even_in_the_same_loop(name):
    loop, broker = asyncio.new_event_loop(), InMemoryBroker(name)
    loop.run_until_complete(broker.publish([message("m")]))

    def check() -> None:
        with pytest.raises(WrongLoop):
            loop.run_until_complete(broker.lookup(["m"]))

    in_child(check)
    assert loop.run_until_complete(broker.lookup(["m"])) != [None]
    loop.close()


@needs_fork
def test_a_fork_in_the_middle_of_other_threads_steps_leaves_no_lock_held(name):
    stop = threading.Event()

    async def publish_on_and_on() -> None:
        broker, n = InMemoryBroker(name), 0
        while not stop.is_set():
            n += 1
            await broker.publish([message(f"m{n}")])

    threads = [threading.Thread(target=asyncio.run, args=(publish_on_and_on(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            in_child(lambda: asyncio.run(publish_once()))
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert InMemoryBroker(name).store.machine.entries


async def publish_once() -> None:
    broker = InMemoryBroker("forked-anew")
    await broker.publish([message("mine")])
    await broker.aclose()
