"""Who is served first by the memory store when time and a step meet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from stem_core.contracts.messages import Delivery, Message, RetryLater, Settlement
from stem_core.embedded.memory import admin
from stem_core.embedded.memory.store import MemoryStore
from stem_core.testing.clock import FakeClock
from stem_core.testing.contract.values import DEAD, end, message


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore("order", clock=clock)


def publish(store: MemoryStore, *messages: Message) -> None:
    store.step(store.machine.publish, messages)


def take(store: MemoryStore) -> Sequence[Delivery]:
    return store.step(store.machine.take, ["q"], 100, "w")


def settle(store: MemoryStore, settlement: Settlement) -> None:
    store.step(store.machine.settle, [settlement])


def test_what_was_due_before_goes_before_what_a_settlement_makes_ready(store, clock):
    publish(store, message("retried"), message("delayed", delay_ms=5))
    (delivery,) = take(store)
    clock.advance(timedelta(milliseconds=6))
    settle(store, end(delivery, RetryLater(0), follow_ups=(message("follow-up"),)))
    assert [each.message.id for each in take(store)] == ["delayed", "retried", "follow-up"]


def test_what_was_due_before_goes_before_what_is_replayed(store, clock):
    publish(store, message("replayed"), message("delayed", delay_ms=5))
    (delivery,) = take(store)
    settle(store, end(delivery, DEAD))
    clock.advance(timedelta(milliseconds=6))
    store.step(admin._replay, store, ["replayed"])
    assert [each.message.id for each in take(store)] == ["delayed", "replayed"]
