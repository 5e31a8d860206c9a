"""What a worker asks about deliveries of which it hears late, and which of them it keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

import pytest
from unit.worker.given import a_delivery

from stem_core.contracts.capabilities import Capabilities, Durability
from stem_core.contracts.messages import (
    Delivery,
    Extended,
    ExtendStatus,
    Extension,
    Receipt,
    Release,
    ReleaseWhy,
    Settled,
    Settlement,
    SettleStatus,
)
from stem_core.model.errors import StoreUnavailable
from stem_core.testing.clock import FakeClock
from stem_core.worker.lateness import still_ours

HELD = Extended(ExtendStatus.HELD, 30_000)
LOST = Extended(ExtendStatus.LOST)
HALF_MS = 15_000
LEASE_MS = 30_000


class Store:
    """Answers extensions with what the test says, one call after the other."""

    def __init__(self, *answers: Any, max_batch: int = 500) -> None:
        self.capabilities = Capabilities(durability=Durability.SYNCED, max_batch=max_batch)
        self.answers = list(answers)
        self.asked: list[list[str]] = []
        self.handed_back: list[list[str]] = []

    async def extend(self, extensions: Sequence[Extension]) -> Sequence[Extended]:
        self.asked.append([each.receipt.id for each in extensions])
        answer = self.answers.pop(0)
        if callable(answer):
            answer = await answer()
        if isinstance(answer, BaseException):
            raise answer
        return list(answer)

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        assert {each.outcome for each in settlements} == {Release(0, ReleaseWhy.SHUTDOWN)}
        self.handed_back.append([each.receipt.id for each in settlements])
        return [Settled(SettleStatus.DONE) for _ in settlements]


def some(count: int, lease_ms: int = LEASE_MS) -> list[Delivery]:
    return [
        Delivery(
            message=a_delivery().message,
            receipt=Receipt(f"m{number}", "default", 1),
            lease_ms=lease_ms,
        )
        for number in range(count)
    ]


def kept(store: Store, deliveries: Sequence[Delivery], *, late_ms: int) -> Sequence[Delivery]:
    clock = FakeClock()
    clock.advance(timedelta(milliseconds=late_ms))
    return asyncio.run(still_ours(store, deliveries, 0, clock))  # type: ignore[arg-type]


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    return [each.receipt.id for each in deliveries]


@pytest.mark.parametrize("late_ms", [0, HALF_MS])
def test_nothing_is_asked_while_at_least_half_of_a_lease_is_left(late_ms: int) -> None:
    store = Store()
    deliveries = some(2)
    assert kept(store, deliveries, late_ms=late_ms) is deliveries
    assert store.asked == []


def test_nothing_is_asked_about_nothing() -> None:
    store = Store()
    assert kept(store, [], late_ms=10**9) == []
    assert store.asked == []


def test_the_shortest_lease_decides() -> None:
    store = Store([HELD, HELD])
    kept(store, [*some(1), *some(1, lease_ms=100)], late_ms=51)
    assert len(store.asked) == 1


def test_what_is_lost_is_left_to_others_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    store = Store([HELD, LOST, Extended(ExtendStatus.HELD, 0)])
    assert ids(kept(store, some(3), late_ms=HALF_MS + 1)) == ["m0"]
    assert "2 of 3 tasks are left to others" in caplog.text


def test_what_is_held_is_known_as_the_store_has_it_now() -> None:
    store = Store([Extended(ExtendStatus.CANCEL_REQUESTED, 20_000, "changed my mind")])
    (delivery,) = kept(store, some(1), late_ms=HALF_MS + 1)
    assert (delivery.lease_ms, delivery.cancel_requested) == (20_000, True)
    assert delivery.cancel_reason == "changed my mind"


def test_a_call_holds_no_more_than_the_store_takes() -> None:
    store = Store([HELD] * 2, [HELD, LOST], [HELD], max_batch=2)
    assert ids(kept(store, some(5), late_ms=HALF_MS + 1)) == ["m0", "m1", "m2", "m4"]
    assert store.asked == [["m0", "m1"], ["m2", "m3"], ["m4"]]


def slowly(clock: FakeClock, *answer: Extended) -> Callable[[], Coroutine[Any, Any, Any]]:
    async def answered() -> Any:
        clock.advance(timedelta(milliseconds=HALF_MS + 1))
        return answer

    return answered


def test_an_answer_that_comes_late_itself_is_asked_for_again() -> None:
    clock = FakeClock()
    store = Store(slowly(clock, HELD, HELD), [HELD, LOST])
    clock.advance(timedelta(milliseconds=HALF_MS + 1))
    got = asyncio.run(still_ours(store, some(2), 0, clock))  # type: ignore[arg-type]
    assert ids(got) == ["m0"]


def test_a_lease_that_is_shorter_than_a_call_is_not_asked_about_for_ever() -> None:
    clock = FakeClock()
    store = Store(*[slowly(clock, HELD)] * 3)
    clock.advance(timedelta(milliseconds=HALF_MS + 1))
    got = asyncio.run(still_ours(store, some(1), 0, clock))  # type: ignore[arg-type]
    assert ids(got) == ["m0"]
    assert len(store.asked) == 3


def test_a_store_that_does_not_say_has_nothing_taken_from_it() -> None:
    with pytest.raises(StoreUnavailable):
        kept(Store(StoreUnavailable("away")), some(1), late_ms=HALF_MS + 1)


def test_a_worker_that_is_cancelled_while_it_asks_hands_back_what_is_its_own() -> None:
    async def never() -> Any:
        await asyncio.get_running_loop().create_future()

    async def main() -> Store:
        store, clock = Store(never, max_batch=2), FakeClock()
        clock.advance(timedelta(milliseconds=HALF_MS + 1))
        call = asyncio.ensure_future(still_ours(store, some(3), 0, clock))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return store

    assert asyncio.run(main()).handed_back == [["m0", "m1"], ["m2"]]
