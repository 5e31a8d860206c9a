"""The machine that compares brokers with the model: what it finds, and what it leaves alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import Phase, settings

from stem_core.contracts.capabilities import Capabilities, Durability
from stem_core.contracts.messages import Extended, ExtendStatus
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.testing import FakeClock, Stage
from stem_core.testing.model.machine import RUN, BrokerMachine, run_model

_numbers = itertools.count()

BRIEF = settings(RUN, max_examples=60, database=None, phases=(Phase.generate,), derandomize=True)


def stages_of(kind: type[InMemoryBroker]) -> Callable[[], Stage]:
    def open_stage() -> Stage:
        clock, name = FakeClock(), f"machine-{next(_numbers)}"

        async def let_pass(duration_ms: int) -> None:
            clock.advance(timedelta(milliseconds=duration_ms))

        return Stage(
            kind(name, clock=clock),
            InMemoryResultBackend(name, clock=clock),
            let_pass=let_pass,
            wall_ms=clock.wall_ms,
        )

    return open_stage


class Credulous(InMemoryBroker):
    """Believes whoever says that he holds a lease."""

    async def extend(self, extensions):
        replies = await super().extend(extensions)
        held = [Extended(ExtendStatus.HELD, each.lease_ms) for each in extensions]
        return [
            claim if reply.status is ExtendStatus.LOST else reply
            for claim, reply in zip(held, replies, strict=True)
        ]


class Plain(InMemoryBroker):
    """Declares nothing, and cannot do it."""

    @property
    def capabilities(self):
        return Capabilities(durability=Durability.MEMORY)

    @property
    def admin(self):
        return None

    async def cancel(self, cancellations):
        raise NotImplementedError

    async def publish(self, messages):
        for each in messages:
            assert (each.delay_ms, each.not_before_ms, each.priority) == (0, 0, 0)
            assert each.unique is None
        return await super().publish(messages)

    async def settle(self, settlements):
        assert all(each.record is None for each in settlements)
        return await super().settle(settlements)


def test_a_broken_promise_is_found():
    with pytest.raises(AssertionError, match="extend: the store says") as told:
        run_model(stages_of(Credulous), settings=BRIEF)
    assert any("state = BrokerMachine()" in note for note in told.value.__notes__)


def test_what_a_broker_does_not_declare_is_not_asked_of_it():
    run_model(stages_of(Plain), settings=settings(BRIEF, max_examples=10))


def test_a_machine_is_a_test_case_too():
    case = BrokerMachine.for_stage(stages_of(Credulous)).TestCase
    case.settings = BRIEF
    with pytest.raises(AssertionError, match="extend: the store says"):
        case("runTest").debug()


def test_a_factory_of_something_else_is_told_what_to_give():
    with pytest.raises(TypeError, match="plain or async, that returns a fresh"):
        run_model(lambda: "redis://localhost", settings=BRIEF)  # type: ignore[arg-type,return-value]
