from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.producer.publishes import message, messages, started
from unit.producer.stores import Skipping, Willful, fresh_name

from stem_core.contracts.capabilities import Support
from stem_core.contracts.messages import Message, Published, PublishStatus
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.embedded.memory.broker import CAPABILITIES
from stem_core.model.errors import Fault, StoreError, StoreFull, StoreUnavailable
from stem_core.model.value import replace
from stem_core.producer.lane import Lane, chunks
from stem_core.producer.patience import Patience

ROOM_FOR_THREE = replace(CAPABILITIES, max_batch=3, max_batch_bytes=30)


def test_a_lone_publish_is_one_call_at_once() -> None:
    async def main() -> None:
        broker = Willful()
        lane = Lane(broker, None)
        reply = await lane.publish(message("a"))
        assert reply == Published(PublishStatus.CREATED, "a")
        assert broker.batches == [1]

    asyncio.run(main())


def test_publishes_that_meet_a_call_in_flight_share_the_next_ones() -> None:
    async def main() -> None:
        broker = Willful(capabilities=replace(CAPABILITIES, max_batch=3))
        broker.gate = asyncio.Event()
        lane = Lane(broker, None)
        tasks = await started(*map(lane.publish, messages(6)))
        broker.gate.set()
        replies = await asyncio.gather(*tasks)
        assert [reply.id for reply in replies] == [each.id for each in messages(6)]
        assert broker.batches == [1, 3, 2]

    asyncio.run(main())


def test_a_producer_in_a_loop_gives_others_a_turn_though_no_call_ever_waits() -> None:
    async def main() -> None:
        broker = Willful()
        seen: list[int] = []

        async def other() -> None:
            while len(seen) < 3:
                seen.append(len(broker.batches))
                await asyncio.sleep(0)

        lane, running = Lane(broker, None), asyncio.ensure_future(other())
        for each in messages(100):
            await lane.publish(each)
        await running
        assert all(count < 100 for count in seen)

    asyncio.run(main())


def test_a_thousand_concurrent_publishes_take_few_calls() -> None:
    async def main() -> None:
        broker = Willful()
        broker.gate = asyncio.Event()
        lane = Lane(broker, None)
        tasks = await started(*map(lane.publish, messages(1000)))
        broker.gate.set()
        assert {(await each).status for each in tasks} == {PublishStatus.CREATED}
        assert broker.batches == [1, 500, 499]

    asyncio.run(main())


def test_a_publish_that_is_given_up_while_it_waits_is_not_sent() -> None:
    async def main() -> None:
        broker = Willful()
        broker.gate = asyncio.Event()
        lane = Lane(broker, None)
        first, second, third = await started(*map(lane.publish, messages(3)))
        second.cancel()
        await asyncio.sleep(0)
        broker.gate.set()
        assert (await first).id == "m0"
        assert (await third).id == "m2"
        assert second.cancelled()
        assert (await broker.lookup(["m1"])) == [None]

    asyncio.run(main())


def test_giving_up_the_call_that_is_out_does_not_hold_up_the_others() -> None:
    async def main() -> None:
        broker = Willful()
        broker.gate = asyncio.Event()
        lane = Lane(broker, None)
        first, second = await started(*map(lane.publish, messages(2)))
        first.cancel()
        await asyncio.sleep(0)
        broker.gate.set()
        assert (await second).id == "m1"
        assert first.cancelled()

    asyncio.run(main())


def test_a_fault_of_a_shared_call_reaches_all_who_share_it_each_as_its_own() -> None:
    async def main() -> None:
        broker = Willful()
        broker.gate = asyncio.Event()
        lane = Lane(broker, None)
        first, second, third = await started(*map(lane.publish, messages(3)))
        broker.faults = [StoreFull("one"), StoreFull("two")]
        broker.gate.set()
        errors = await asyncio.gather(first, second, third, return_exceptions=True)
        assert [str(error) for error in errors] == ["one", "two", "two"]
        assert errors[1] is not errors[2]
        assert (await lane.publish(message("later"))).status is PublishStatus.CREATED

    asyncio.run(main())


def test_many_are_sent_in_pieces_and_answered_by_position() -> None:
    async def main() -> None:
        broker = Willful(capabilities=replace(CAPABILITIES, max_batch=3))
        replies = await Lane(broker, None).publish_many(messages(7))
        assert [reply.id for reply in replies] == [each.id for each in messages(7)]
        assert broker.batches == [3, 3, 1]

    asyncio.run(main())


def test_the_next_piece_is_made_ready_while_one_is_out_and_no_more_than_that() -> None:
    async def main() -> None:
        begun: list[int] = []

        class Observed(Willful):
            async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
                begun.append(len(messages))
                return await super().publish(messages)

        broker = Observed(capabilities=replace(CAPABILITIES, max_batch=2))
        broker.gate = asyncio.Event()
        call = asyncio.ensure_future(Lane(broker, None).publish_many(messages(7)))
        for _ in range(5):
            await asyncio.sleep(0)
        assert begun == [2, 2]
        broker.gate.set()
        assert [reply.id for reply in await call] == [each.id for each in messages(7)]
        assert broker.batches == [2, 2, 2, 1]

    asyncio.run(main())


def test_when_a_piece_fails_those_after_it_are_given_up_and_none_is_left_running() -> None:
    async def main() -> None:
        broker = Willful(capabilities=replace(CAPABILITIES, max_batch=2))
        broker.faults = [StoreError("no", fault=Fault.FATAL_CONFIG)]
        with pytest.raises(StoreError, match="no"):
            await Lane(broker, None).publish_many(messages(20))
        assert len(broker.batches) <= 2
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


@pytest.mark.parametrize("size", [2, 20], ids=["many", "few that are large"])
def test_a_piece_has_as_long_as_the_first_though_those_before_it_were_slow(size: int) -> None:
    """Each takes most of a deadline, and all together several."""

    async def main() -> None:
        class Slow(Willful):
            async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
                async with in_line:
                    most_of_it()
                    await asyncio.sleep(0)
                    return await super().publish(messages)

        in_line = asyncio.Lock()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Skipping)
        most_of_it = partial(loop.skip, 6)
        broker = Slow(capabilities=replace(CAPABILITIES, max_batch=10, max_batch_bytes=20))
        lane = Lane(broker, None, patience=Patience(deadline_ms=10_000))
        whole = [message(f"m{n}", size) for n in range(3 * 20 // size)]
        assert len(await lane.publish_many(whole, lane.until())) == len(whole)
        assert len(broker.batches) == 3

    with asyncio.Runner(loop_factory=Skipping) as runner:
        runner.run(main())


def test_who_waits_for_a_shared_call_waits_no_longer_than_for_a_call_of_its_own() -> None:
    async def main() -> None:
        broker = Willful()
        broker.gate = asyncio.Event()
        lane = Lane(broker, None)
        first, patient = await started(lane.publish(message("a")), lane.publish(message("b")))
        late = asyncio.ensure_future(
            lane.publish(message("c"), asyncio.get_running_loop().time() - 1)
        )
        await asyncio.sleep(0)
        first.cancel()  # the next call begins, with both of them
        with pytest.raises(StoreUnavailable, match="did not answer"):
            async with asyncio.timeout(5):  # a deadline of its own would be ten seconds
                await late
        assert not patient.done()
        broker.gate.set()
        assert (await patient).status is PublishStatus.CREATED

    asyncio.run(main())


@given(st.lists(st.integers(0, 40), max_size=20))
def test_pieces_keep_the_order_and_the_limits(sizes: list[int]) -> None:
    whole = [message(f"m{place}", size) for place, size in enumerate(sizes)]
    pieces = list(chunks(whole, ROOM_FOR_THREE))
    assert [each for piece in pieces for each in piece] == whole
    for piece in pieces:
        assert 1 <= len(piece) <= 3
        assert sum(len(each.body) for each in piece) <= 30 or len(piece) == 1


def test_no_message_is_asked_for_before_its_piece() -> None:
    asked = []

    def asking() -> Iterator[Message]:
        for place in range(7):
            asked.append(place)
            yield message(f"m{place}", 5)

    seen = [(len(piece), len(asked)) for piece in chunks(asking(), ROOM_FOR_THREE)]
    assert seen == [(3, 3), (3, 6), (1, 7)]


# ── one store or two ─────────────────────────────────────────────────────────


def test_a_broker_and_a_backend_of_one_store_settle_in_one_step() -> None:
    async def main() -> None:
        name = fresh_name()
        assert Lane(Willful(name), InMemoryResultBackend(name)).atomic
        assert not Lane(Willful(name), InMemoryResultBackend(fresh_name())).atomic
        assert not Lane(Willful(name), None).atomic
        poor = replace(CAPABILITIES, atomic_results=Support.ABSENT)
        assert not Lane(Willful(name, capabilities=poor), InMemoryResultBackend(name)).atomic

    asyncio.run(main())


def test_closing_waits_for_what_is_out_and_can_be_done_twice() -> None:
    async def main() -> None:
        broker = Willful()
        broker.gate = asyncio.Event()
        lane = Lane(broker, InMemoryResultBackend(fresh_name()))
        tasks = await started(*map(lane.publish, messages(3)))
        broker.gate.set()
        await tasks[0]
        await lane.aclose()
        assert [(await each).status for each in tasks] == [PublishStatus.CREATED] * 3
        await lane.aclose()
        assert broker.is_closed

    asyncio.run(main())
