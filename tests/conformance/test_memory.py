"""The memory store keeps every promise, in a time that stands still until a test moves it."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path

import pytest
from conformance.backend_contract import BackendContract, CompanionContract
from conformance.broker_contract import BrokerContract
from conformance.operator_contract import AdminContract, ControlContract, LimitContract
from conformance.stage import BrokerFactory, Stage, promises_in, promises_of

import stem_core.contracts
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.embedded.memory.store import MemoryStore
from stem_core.testing.clock import FakeClock

_numbers = itertools.count()

NOT_HERE = {
    "EXTEND-6": "no transaction of a caller can lock a message in memory",
    "CONTROL-2": "there is no connection to lose",
    "TXN-1": "memory is not a TransactionalBroker",
    "TXN-2": "memory is not a TransactionalBroker",
    "SIGN-1": "of signers",
    "SIGN-2": "of signers",
    "VERIFY-1": "of signers",
    "VERIFY-2": "of signers",
}
"""Promises that have no test here, and why."""


async def _open() -> Stage:
    clock, name = FakeClock(), f"contract-{next(_numbers)}"

    async def let_pass(duration_ms: int) -> None:
        clock.advance(timedelta(milliseconds=duration_ms))
        await stage.breathe()

    stage = Stage(
        InMemoryBroker(name, clock=clock),
        InMemoryResultBackend(name, clock=clock),
        let_pass,
        clock.wall_ms,
    )
    MemoryStore.forget(name)
    return stage


@pytest.fixture
def broker_factory() -> BrokerFactory:
    return _open


class TestBroker(BrokerContract):
    pass


class TestAdmin(AdminContract):
    pass


class TestControl(ControlContract):
    pass


class TestLimits(LimitContract):
    pass


class TestBackend(BackendContract):
    pass


class TestCompanions(CompanionContract):
    pass


def test_every_promise_of_the_contracts_has_a_test_of_its_id():
    covered = promises_of(
        BrokerContract,
        AdminContract,
        ControlContract,
        LimitContract,
        BackendContract,
        CompanionContract,
    )
    promised = promises_in(Path(stem_core.contracts.__file__).parent)
    assert covered - promised == set()
    assert promised - covered == set(NOT_HERE)
