"""The fetch loop: what it asks for, and when, beside tasks that run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from unit.worker.given import a_delivery

from stem_core.contracts.capabilities import Capabilities, Durability
from stem_core.contracts.clock import SYSTEM_CLOCK, SYSTEM_DICE
from stem_core.contracts.messages import Delivery
from stem_core.model.value import replace
from stem_core.worker.backoff import Backoff
from stem_core.worker.fetcher import Fetcher
from stem_core.worker.slots import Slots

ELSEWHERE = Capabilities(durability=Durability.SYNCED)


class Waiting:
    """A store whose answers come when the test gives them; *log* is what happens, in order."""

    def __init__(self, log: list[str], can: Capabilities) -> None:
        self.capabilities = can
        self.answers: list[asyncio.Future[list[Delivery]]] = []
        self.log = log
        self.handed_back = 0

    async def fetch(self, queues: Sequence[str], *, limit: int, **_: Any) -> list[Delivery]:
        self.log.append(f"asked for {limit}")
        answer = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        try:
            return await answer
        except asyncio.CancelledError:
            self.handed_back += 1
            raise

    async def answered(self, count: int) -> None:
        """Answer the last call with that many, and let the fetcher make what it can of it."""
        self.answers[-1].set_result([a_delivery()] * count)
        for _ in range(5):
            await asyncio.sleep(0)


class AtOnce:
    """A store that answers without waiting, *rounds* times, and then never again."""

    capabilities = Capabilities(durability=Durability.MEMORY, embedded=True)

    def __init__(self, log: list[str], rounds: int) -> None:
        self.log = log
        self.rounds = rounds

    async def fetch(self, queues: Sequence[str], *, limit: int, **_: Any) -> list[Delivery]:
        if not self.rounds:
            await asyncio.get_running_loop().create_future()
        self.rounds -= 1
        self.log.append("answered")
        return [a_delivery()]


def fetcher_of(store: Any, slots: Slots, take: Callable[[Sequence[Delivery]], None]) -> Fetcher:
    def ignore(*_: object) -> None: ...

    return Fetcher(
        store,
        {"default": 1},
        slots,
        worker="w",
        clock=SYSTEM_CLOCK,
        dice=SYSTEM_DICE,
        backoff=Backoff(SYSTEM_CLOCK, SYSTEM_DICE),
        take=take,
        failed=ignore,
        lost=ignore,
        back=ignore,
    )


def played(
    play: Callable[[Waiting, list[str], asyncio.Task[None]], Awaitable[None]],
    *,
    limit: int,
    take: Callable[[Sequence[Delivery]], None] | None = None,
    can: Capabilities = ELSEWHERE,
) -> tuple[Waiting, list[str]]:
    """Run a fetcher over a `Waiting` store with *limit* slots, and *play* beside it."""
    log: list[str] = []
    store, slots = Waiting(log, can), Slots(limit)

    def taken(deliveries: Sequence[Delivery]) -> None:
        slots.start(len(deliveries))
        log.append(f"took {len(deliveries)}")

    async def main() -> None:
        running = asyncio.ensure_future(fetcher_of(store, slots, take or taken).run())
        await asyncio.sleep(0)
        try:
            await play(store, log, running)
        finally:
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(main())
    return store, log


def test_the_next_are_asked_for_before_tasks_run_where_slots_for_as_many_are_left() -> None:
    async def play(store: Waiting, log: list[str], running: object) -> None:
        await store.answered(9)

    _, log = played(play, limit=20)
    assert log == ["asked for 16", "asked for 11", "took 9"]


def test_half_of_many_slots_are_asked_for_so_that_the_store_works_while_tasks_run() -> None:
    async def play(store: Waiting, log: list[str], running: object) -> None:
        await store.answered(50)

    _, log = played(play, limit=100)
    assert log == ["asked for 50", "asked for 50", "took 50"]


def test_few_slots_are_asked_for_in_one_call() -> None:
    async def play(store: Waiting, log: list[str], running: object) -> None: ...

    assert [played(play, limit=limit)[1] for limit in (1, 16, 17, 40)] == [
        ["asked for 1"],
        ["asked for 16"],
        ["asked for 16"],
        ["asked for 20"],
    ]


def test_half_of_what_a_store_settles_in_one_call_is_asked_for() -> None:
    """So that settlements that have fallen behind by one call catch up in the next."""

    async def play(store: Waiting, log: list[str], running: object) -> None: ...

    can = Capabilities(durability=Durability.SYNCED, max_batch=300)
    assert played(play, limit=1_000, can=can)[1] == ["asked for 150"]
    can = Capabilities(durability=Durability.SYNCED, max_batch=1)
    assert played(play, limit=1_000, can=can)[1] == ["asked for 1"]


def test_of_a_store_in_this_process_all_there_is_room_for_is_asked_for_at_once() -> None:
    async def play(store: Waiting, log: list[str], running: object) -> None:
        await store.answered(100)

    _, log = played(play, limit=100, can=replace(ELSEWHERE, embedded=True))
    assert log == ["asked for 100", "took 100"]


def test_a_few_tasks_are_begun_before_the_next_are_asked_for() -> None:
    async def play(store: Waiting, log: list[str], running: object) -> None:
        await store.answered(1)

    _, log = played(play, limit=20)
    assert log == ["asked for 16", "took 1", "asked for 16"]


def test_nothing_is_asked_for_that_no_slot_is_free_for() -> None:
    async def play(store: Waiting, log: list[str], running: object) -> None:
        await store.answered(10)

    _, log = played(play, limit=10)
    assert log == ["asked for 10", "took 10"]


def test_a_small_rest_of_slots_is_asked_for_after_the_tasks_have_had_a_turn() -> None:
    """They may free more of them, and one larger call is cheaper than two."""

    async def play(store: Waiting, log: list[str], running: object) -> None:
        await store.answered(9)

    _, log = played(play, limit=10)
    assert log == ["asked for 10", "took 9", "asked for 1"]


def test_a_fetcher_that_is_cancelled_leaves_no_call_behind() -> None:
    async def play(store: Waiting, log: list[str], running: asyncio.Task[None]) -> None:
        await store.answered(9)
        assert len(store.answers) == 2
        running.cancel()
        await asyncio.wait([running])

    store, _ = played(play, limit=20)
    assert store.handed_back == 1


def test_a_batch_that_cannot_be_taken_leaves_no_call_behind() -> None:
    def refused(deliveries: Sequence[Delivery]) -> None:
        raise RuntimeError("a bug")

    async def play(store: Waiting, log: list[str], running: asyncio.Task[None]) -> None:
        await store.answered(9)
        with pytest.raises(RuntimeError, match="a bug"):
            await running

    store, log = played(play, limit=20, take=refused)
    assert log == ["asked for 16", "asked for 11"]
    assert store.answers[-1].cancelled() or not store.answers[-1].done()


def test_a_store_that_never_waits_leaves_turns_to_the_tasks() -> None:
    log: list[str] = []

    async def main() -> None:
        slots = Slots(10)

        def taken(deliveries: Sequence[Delivery]) -> None:
            asyncio.get_running_loop().call_soon(log.append, "a task ran")

        running = asyncio.ensure_future(fetcher_of(AtOnce(log, 3), slots, taken).run())
        while log.count("a task ran") < 3:
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(main())
    assert log == ["answered", "a task ran"] * 3
