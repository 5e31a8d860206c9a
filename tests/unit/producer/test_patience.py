from __future__ import annotations

import asyncio
from typing import Any

import pytest
from unit.producer.publishes import message, started
from unit.producer.stores import Willful

from stem_core.contracts.messages import Cancellation, PublishStatus
from stem_core.model.duration import Milliseconds
from stem_core.model.errors import Fault, StoreError, StoreUnavailable
from stem_core.model.settings import StemConfig
from stem_core.producer.client import Stem
from stem_core.producer.lane import Lane
from stem_core.producer.patience import Patience
from stem_core.testing.clock import FakeClock, LoadedDice


def impatient(deadline_ms: int = 10_000, clock: FakeClock | None = None) -> Patience:
    return Patience(
        deadline_ms=deadline_ms, clock=clock or FakeClock(), dice=LoadedDice([0.999, 0.0])
    )


@pytest.mark.parametrize(
    "fault", [Fault.RECONNECT, Fault.BACKOFF, Fault.RETRY_TXN, Fault.RECREATE, Fault.RELOAD]
)
def test_a_fault_that_passes_is_outlasted_with_growing_jittered_pauses(fault: Fault) -> None:
    async def main() -> list[int]:
        clock, broker = FakeClock(), Willful()
        broker.faults = [StoreError("away", fault=fault) for _ in range(3)]
        lane = Lane(broker, None, patience=impatient(clock=clock))
        [publishing] = await started(lane.publish(message("a")))
        pauses = []
        while not publishing.done():
            began = clock.monotonic_ms()
            while clock.sleepers:
                clock.advance(0.001)
            pauses.append(clock.monotonic_ms() - began)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert (await publishing).status is PublishStatus.CREATED
        return [pause for pause in pauses if pause]

    assert asyncio.run(main()) == [100, 1, 400]


@pytest.mark.parametrize("fault", [Fault.FULL, Fault.FATAL_CONFIG, Fault.DATA])
def test_a_fault_that_does_not_pass_is_raised_at_once(fault: Fault) -> None:
    async def main() -> None:
        broker = Willful()
        broker.faults = [StoreError("no", fault=fault)]
        with pytest.raises(StoreError, match="no"):
            await Lane(broker, None, patience=impatient()).publish(message("a"))

    asyncio.run(main())


def test_a_broker_that_stays_away_is_an_error_at_the_deadline_that_names_it() -> None:
    async def main() -> None:
        broker = Willful()
        broker.faults = [StoreUnavailable("connection refused")]
        lane = Lane(broker, None, at="redis://h:1/***", patience=impatient(20))
        with pytest.raises(StoreUnavailable, match="within 20ms: connection refused") as caught:
            await lane.publish(message("a"))
        assert caught.value.message.startswith("redis://h:1/*** did not answer")
        assert isinstance(caught.value.__cause__, StoreUnavailable)

    asyncio.run(main())


def test_a_broker_that_never_answers_is_an_error_at_the_deadline() -> None:
    async def main() -> None:
        broker = Willful()
        broker.gate = asyncio.Event()
        with pytest.raises(StoreUnavailable, match="did not answer within 20ms"):
            await Lane(broker, None, patience=impatient(20)).publish(message("a"))

    asyncio.run(main())


class Silent(Willful):
    """A broker that takes questions and never answers."""

    async def lookup(self, ids: Any) -> Any:
        await asyncio.Event().wait()

    async def cancel(self, cancellations: Any) -> Any:
        await asyncio.Event().wait()


@pytest.mark.parametrize("verb", ["status", "cancel"])
def test_a_question_that_is_never_answered_is_an_error_at_the_deadline(verb: str) -> None:
    async def main() -> None:
        stem = Stem(Silent(), backend=None, config=StemConfig(publish_deadline_ms=Milliseconds(20)))
        with pytest.raises(StoreUnavailable, match="Silent did not answer within 20ms"):
            async with asyncio.timeout(5):
                await getattr(stem, verb)("a")

    asyncio.run(main())


def test_what_is_part_of_something_larger_ends_with_its_deadline() -> None:
    async def main() -> None:
        over = asyncio.get_running_loop().time() - 1
        lane = Lane(Silent(), None)
        with pytest.raises(StoreUnavailable):
            async with asyncio.timeout(5):  # a deadline of its own would be ten seconds
                await lane.lookup(["a"], over)
        assert (await lane.publish(message("a"), over)).status is PublishStatus.CREATED

    asyncio.run(main())


def test_a_cancellation_whose_reply_is_lost_is_not_sent_again() -> None:
    class Lossy(Willful):
        async def cancel(self, cancellations: Any) -> Any:
            await super().cancel(cancellations)
            raise StoreUnavailable("the reply is lost")

    async def main() -> None:
        with pytest.raises(StoreUnavailable, match="the reply is lost"):
            await Lane(Lossy(), None).cancel([Cancellation(id="a")])

    asyncio.run(main())


def test_a_lost_reply_makes_no_second_message() -> None:
    class Forgetful(Willful):
        async def publish(self, messages: Any) -> Any:
            replies = await super().publish(messages)
            if len(self.batches) == 1:
                raise StoreUnavailable("the reply is lost")
            return replies

    async def main() -> None:
        clock, broker = FakeClock(), Forgetful()
        lane = Lane(broker, None, patience=impatient(clock=clock))
        [publishing] = await started(lane.publish(message("a")))
        clock.advance("1s")
        assert (await publishing).status is PublishStatus.DUPLICATE
        assert broker.admin is not None
        [stats] = await broker.admin.stats(["q"])
        assert stats.ready == 1

    asyncio.run(main())
