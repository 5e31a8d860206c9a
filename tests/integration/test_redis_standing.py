"""A look that stands at the server: one trip to work, and nothing lost with whoever left it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from integration.test_redis_faults import MINIMAL, message, run, take
from services.redis import RedisServer

from stem_core.plugin import (
    Delivery,
    Extension,
    Place,
    Settlement,
    SettleStatus,
    StoreError,
    StoreUnavailable,
    UsageError,
)
from stem_redis import RedisStreamsBroker

LONG_MS = 60_000

SLEEPER = """
import asyncio, sys
from stem_core.plugin import Settlement
from stem_redis import RedisStreamsBroker

async def main():
    broker = await RedisStreamsBroker.connect(sys.argv[1])
    hand_back = broker._fetching._hand_back

    async def told(deliveries):
        for each in deliveries:
            print("back", each.message.id, flush=True)
        await hand_back(deliveries)

    broker._fetching._hand_back = told
    fetching = asyncio.ensure_future(broker.fetch(["q"], limit=10, wait_ms=60_000, worker="w"))
    while not broker._fetching._standing.is_asleep:
        await asyncio.sleep(0.01)
    print("asleep", flush=True)
    while True:
        for each in await fetching:
            print("took", each.message.id, "lapses", each.lapses, flush=True)
            await broker.settle([Settlement(receipt=each.receipt)])
        fetching = asyncio.ensure_future(broker.fetch(["q"], limit=1, wait_ms=60_000, worker="w"))

asyncio.run(main())
"""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def asleep(broker: RedisStreamsBroker) -> asyncio.Task[list[Delivery]]:
    """Return a fetch whose look stands at the server."""
    fetching = asyncio.ensure_future(take(broker, wait_ms=LONG_MS))
    while not broker._fetching._standing.is_asleep:
        await asyncio.sleep(0.01)
    await blocked(broker)
    return fetching


async def blocked(broker: RedisStreamsBroker) -> None:
    """Return once the server has begun with the read of somebody."""
    while b"blocked_clients:0" in await broker.enter().command("INFO", "clients"):
        await asyncio.sleep(0.01)


async def place_of(broker: RedisStreamsBroker, id: str) -> tuple[Place, int] | None:
    (found,) = await broker.lookup([id])
    return None if found is None else (found.place, found.lapses)


@asynccontextmanager
async def two(server: RedisServer) -> AsyncIterator[tuple[RedisStreamsBroker, RedisStreamsBroker]]:
    """Give a worker's broker and a producer's."""
    worker = await RedisStreamsBroker.connect(server.url)
    producer = worker.sibling()
    yield worker, producer
    await worker.aclose()
    await producer.aclose()


def test_whoever_sleeps_gets_work_without_asking_for_it(server: RedisServer):
    async def play() -> None:
        async with two(server) as (worker, producer):
            sleeping = await asleep(worker)
            calls = worker.enter().calls
            await producer.publish([message("m")])
            (delivery,) = await sleeping
            assert (delivery.message.id, delivery.receipt.queue) == ("m", "q")
            assert worker.enter().calls == calls
            await worker.settle([Settlement(receipt=delivery.receipt)])
            assert await place_of(producer, "m") is None

    run(play())


def test_it_takes_one_task_and_leaves_the_rest_to_all(server: RedisServer):
    async def play() -> None:
        async with two(server) as (worker, producer):
            sleeping = await asleep(worker)
            await producer.publish([message("a"), message("b"), message("c")])
            assert [each.message.id for each in await sleeping] == ["a"]
            assert [each.message.id for each in await take(producer)] == ["b", "c"]

    run(play())


def test_whoever_holds_a_task_leaves_no_look_behind(server: RedisServer):
    """His loop may be busy, and somebody else should have the next task."""

    async def play() -> None:
        async with two(server) as (worker, producer):
            await producer.publish([message("held")])
            (held,) = await take(worker)
            sleeping = asyncio.ensure_future(take(worker, wait_ms=LONG_MS))
            while not worker._fetching._wakes._is_reading:
                await asyncio.sleep(0.01)
            assert not worker._fetching._standing.is_asleep
            await producer.publish([message("a"), message("b")])
            assert [each.message.id for each in await sleeping] == ["a", "b"]
            await worker.settle([Settlement(receipt=held.receipt)])

    run(play())


@pytest.mark.parametrize("end", ["cancelled", "cut"])
def test_a_look_that_nobody_waits_for_any_more_takes_nothing(end: str, server: RedisServer):
    async def play() -> None:
        async with two(server) as (worker, producer):
            sleeping = await asleep(worker)
            if end == "cancelled":
                sleeping.cancel()
            else:
                id = worker._fetching._standing._client
                await producer.enter().command("CLIENT", "KILL", "ID", id)
            with pytest.raises((asyncio.CancelledError, StoreError)):
                await sleeping
            await producer.publish([message("m")])
            assert await place_of(producer, "m") == (Place.READY, 0)
            assert [each.message.id for each in await take(worker)] == ["m"]

    run(play())


def test_what_a_cancelled_look_takes_in_that_moment_is_handed_back(server: RedisServer):
    async def play() -> None:
        async with two(server) as (worker, producer):
            for number in range(40):
                sleeping = await asleep(worker)
                publishing = asyncio.ensure_future(producer.publish([message(f"m{number}")]))
                await asyncio.sleep(number % 8 * 0.000_2)
                sleeping.cancel()
                await publishing
                try:
                    deliveries = await sleeping
                except asyncio.CancelledError:
                    deliveries = await take(worker)
                (delivery,) = deliveries
                assert (delivery.attempt, delivery.lapses) == (1, 0)
                await worker.settle([Settlement(receipt=delivery.receipt)])

    run(play())


def test_a_task_is_looked_for_when_it_is_due_and_no_later(server: RedisServer):
    async def play() -> None:
        async with two(server) as (worker, producer):
            await take(worker)  # connects
            await producer.publish([message("m", delay_ms=2_000)])
            (delivery,) = await take(worker, wait_ms=LONG_MS)
            assert delivery.message.id == "m"
            assert worker._fetching._standing._ending is not None  # it was had by ending the read

    run(play())


def test_a_fetch_ends_when_its_time_is_over(server: RedisServer):
    async def play() -> None:
        async with two(server) as (worker, _):
            await take(worker)  # connects
            assert await take(worker, wait_ms=2_000) == []
            standing = worker._fetching._standing
            assert standing.is_free
            assert standing._ending is not None  # it was over before the read

    run(play())


def test_two_who_sleep_at_one_handle_both_get_work(server: RedisServer):
    async def play() -> None:
        async with two(server) as (worker, producer):
            first = await asleep(worker)
            second = asyncio.ensure_future(take(worker, wait_ms=LONG_MS))
            while not worker._fetching._wakes._is_reading:
                await asyncio.sleep(0.01)
            await producer.publish([message("a")])
            await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
            await producer.publish([message("b")])
            taken = [each.message.id for each in (*await first, *await second)]
            assert sorted(taken) == ["a", "b"]

    run(play())


def test_who_may_not_end_a_read_of_his_own_is_told_and_then_asks(server: RedisServer):
    rights = MINIMAL.replace(" +client|id +client|unblock", "")

    async def play(server: RedisServer) -> None:
        worker = await RedisStreamsBroker.connect(server.url_of("bob", "secret"))
        producer = worker.sibling()
        sleeping = asyncio.ensure_future(take(worker, wait_ms=LONG_MS))
        while not worker._fetching._wakes._is_reading:
            await asyncio.sleep(0.01)
        await producer.publish([message("m")])
        assert [each.message.id for each in await sleeping] == ["m"]
        await worker.aclose()
        await producer.aclose()

    with RedisServer(config={"user": ["default off", rights]}) as server:
        run(play(server))


@asynccontextmanager
async def sleeper(server: RedisServer) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process whose look stands at the server."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SLEEPER, server.url), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"asleep\n"
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def test_a_process_that_is_killed_in_its_sleep_takes_no_task_with_it(server: RedisServer):
    async def play() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        async with sleeper(server) as process:
            await blocked(broker)
            process.kill()
            await process.wait()
        while b"blocked_clients:0" not in await broker.enter().command("INFO", "clients"):
            await asyncio.sleep(0.01)
        await broker.publish([message("m")])
        assert await place_of(broker, "m") == (Place.READY, 0)
        await broker.aclose()

    run(play())


async def frozen_with_first(broker: RedisStreamsBroker, process: asyncio.subprocess.Process):
    """Let *process* stand still, and the server lease it a task in its sleep."""
    for number in range(20):  # its read may end by itself before there is a task
        await blocked(broker)
        os.kill(process.pid, signal.SIGSTOP)
        first = message(f"first{number}", lease_ms=2_000)
        await broker.publish([first, message(f"other{number}")])
        taken = await take(broker)
        if [each.message.id for each in taken] == [f"other{number}"]:
            return
        await broker.settle([Settlement(receipt=each.receipt) for each in taken])
        os.kill(process.pid, signal.SIGCONT)
    raise AssertionError("it was never asleep when there was work")


def test_a_process_that_stands_still_keeps_one_task_until_its_lease_has_lapsed(
    server: RedisServer,
):
    async def play() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        async with sleeper(server) as process:
            await frozen_with_first(broker, process)
            (delivery,) = await take(broker, wait_ms=LONG_MS)
            assert delivery.message.id.startswith("first")
            assert (delivery.attempt, delivery.lapses) == (1, 1)
        await broker.aclose()

    run(play())


@pytest.mark.parametrize(
    ("is_over", "frozen_before_s"),
    [(False, 0), (True, 0), (True, 4)],
    ids=["still leased", "taken by another", "and frozen before"],
)
def test_a_process_that_goes_on_runs_nothing_of_which_it_hears_late(
    is_over: bool, frozen_before_s: float, server: RedisServer
):
    async def play() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        async with sleeper(server) as process:
            if frozen_before_s:  # what it hears late of nothing tells it no wrong time
                os.kill(process.pid, signal.SIGSTOP)
                await asyncio.sleep(frozen_before_s)
                os.kill(process.pid, signal.SIGCONT)
            await frozen_with_first(broker, process)
            await asyncio.sleep(1)
            mine = await take(broker, wait_ms=LONG_MS) if is_over else []
            os.kill(process.pid, signal.SIGCONT)
            await broker.publish([message("last")])
            assert process.stdout is not None
            back = (await process.stdout.readline()).decode().split()
            while back[0] == "took":  # of a try in which it was not asleep
                back = (await process.stdout.readline()).decode().split()
            assert back[0] == "back"
            assert back[1].startswith("first")
            told = (await process.stdout.readline()).decode().split()
            if is_over:  # it has heard of that lease, given it back in vain, and looked anew
                assert told == ["took", "last", "lapses", "0"]
                (reply,) = await broker.settle([Settlement(receipt=mine[0].receipt)])
                assert reply.status is SettleStatus.DONE
            else:
                assert told[:1] + told[2:] == ["took", "lapses", "0"]
                assert told[1].startswith("first")
        await broker.aclose()

    run(play())


def test_a_renewal_by_a_sibling_keeps_a_task_held(server: RedisServer):
    """Workers renew their leases from a thread of its own."""

    async def play() -> None:
        async with two(server) as (worker, keeper):
            await worker.publish([message("m", lease_ms=1_000)])
            (held,) = await take(worker)
            await keeper.extend([Extension(held.receipt, LONG_MS)])
            await asyncio.sleep(1.2)
            sleeping = asyncio.ensure_future(take(worker, wait_ms=LONG_MS))
            while not worker._fetching._wakes._is_reading:
                await asyncio.sleep(0.01)
            assert worker._fetching._standing._number == 0
            sleeping.cancel()

    run(play())


def test_a_handle_that_is_closed_in_its_sleep_leaves_nothing_at_the_server(server: RedisServer):
    async def play() -> None:
        async with two(server) as (worker, producer):
            sleeping = await asleep(worker)
            await worker.aclose()
            assert await sleeping == []
            while b"blocked_clients:0" not in await producer.enter().command("INFO", "clients"):
                await asyncio.sleep(0.01)
            await producer.publish([message("m")])
            assert await place_of(producer, "m") == (Place.READY, 0)

    run(play())


def test_a_publish_that_waits_for_its_turn_is_refused_once_its_handle_is_closed(
    server: RedisServer,
):
    async def play() -> None:
        async with two(server) as (mine, other):
            async with mine._in_order:
                publishing = asyncio.ensure_future(mine.publish([message("a"), message("b")]))
                while not mine._in_order._waiters:
                    await asyncio.sleep(0)
                await mine.aclose()
            with pytest.raises(UsageError, match="closed"):
                await publishing
            assert await other.lookup(["a", "b"]) == [None, None]

    run(play())


def test_a_server_that_becomes_a_replica_is_told_of_and_used_again_when_it_is_none(
    server: RedisServer,
):
    async def play() -> None:
        async with two(server) as (worker, producer):
            sleeping = await asleep(worker)
            line = worker._fetching._standing._line
            await producer.enter().command("REPLICAOF", "127.0.0.1", 1)
            with pytest.raises(StoreUnavailable):
                await sleeping
            assert line is not None
            assert not line.is_alive
            await producer.enter().command("REPLICAOF", "NO", "ONE")
            again = await asleep(worker)
            await producer.publish([message("m")])
            assert [each.message.id for each in await again] == ["m"]

    run(play())
