"""The memory store keeps every promise, in a time that stands still until a test moves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from secrets import token_hex

import pytest

from stem_core.contracts.messages import Place
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.embedded.memory.store import MemoryStore
from stem_core.testing import BrokerContract, FakeClock, ResultBackendContract, Stage

EVERYTHING = frozenset({
    "delay", "priority", "uniqueness", "dedupe", "cancel", "pause", "dead_letters",
    "atomic_results", "broadcast", "limits",
})  # fmt: skip


async def open_stage() -> Stage:
    """A store that nobody else knows."""
    clock, name = FakeClock(), f"contract-{token_hex(6)}"

    async def let_pass(duration_ms: int) -> None:
        clock.advance(timedelta(milliseconds=duration_ms))
        await stage.breathe()

    async def leftovers() -> Sequence[str]:
        return kept_in(MemoryStore.named(name, clock=clock))

    stage = Stage(
        InMemoryBroker(name, clock=clock),
        InMemoryResultBackend(name, clock=clock),
        let_pass=let_pass,
        wall_ms=clock.wall_ms,
        leftovers=leftovers,
        due_shows=frozenset({Place.DELAYED}),
    )
    return stage


def kept_in(store: MemoryStore) -> list[str]:
    """Name everything that *store* holds in memory."""
    machine, records = store.machine, store.records
    kept: dict[str, Mapping[str, object]] = {
        "message": machine.entries,
        "dead letter": machine.graves,
        "tombstone": machine._stones.by_id,
        "unique key": machine._unique._holders,
        "record": records._records,
    }
    return [f"{what} {name}" for what, held in kept.items() for name in held]


class TestBroker(BrokerContract):
    claims = EVERYTHING

    @pytest.fixture
    def stem_broker(self) -> object:
        return open_stage


class TestBackend(ResultBackendContract):
    claims = frozenset({"push", "listing", "progress"})

    @pytest.fixture
    def stem_backend(self) -> object:
        return open_stage
