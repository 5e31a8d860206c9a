"""What memory does beyond its contracts: URLs, imports, and giving memory back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from stem_core.contracts.backend import Progress
from stem_core.contracts.hookspecs import PluginContext
from stem_core.contracts.limits import Limit
from stem_core.contracts.messages import (
    ACK,
    Cancellation,
    DeadLetter,
    Delivery,
    Message,
    PublishStatus,
    Receipt,
    Release,
    ReleaseWhy,
    RetryLater,
    Settlement,
    SettleOutcome,
    UniqueKey,
)
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.embedded.memory.store import MemoryStore
from stem_core.model.errors import ConfigError, InvalidName, InvalidURL
from stem_core.model.outcome import Reason, Record, State
from stem_core.model.settings import TlsConfig
from stem_core.model.urls import StemURL
from stem_core.testing.clock import FakeClock


def test_a_url_names_the_store():
    async def connect() -> None:
        plain = await InMemoryBroker.connect("memory://")
        named = await InMemoryBroker.connect("memory://Orders", namespace="shop")
        assert plain.store is MemoryStore.named()
        assert named.store is MemoryStore.named("Orders", "shop")
        backend = await InMemoryResultBackend.connect("memory://Orders", namespace="shop")
        assert backend.store_id == named.store_id

    asyncio.run(connect())
    MemoryStore.forget("Orders", "shop")


@pytest.mark.parametrize(
    "url",
    ["memory://a:1", "memory://a,b", "memory://u:hunter2@a", "memory:///path", "memory://a/b"],
)
def test_a_url_with_more_than_a_name_is_refused(url):
    with pytest.raises(InvalidURL, match="a name and nothing else") as caught:
        asyncio.run(InMemoryBroker.connect(url))
    assert "hunter2" not in str(caught.value)


def test_a_name_that_cannot_be_one_is_refused():
    with pytest.raises(InvalidName, match="memory store"):
        InMemoryBroker("no spaces")


def test_opening_reports_that_nobody_else_can_see_it_and_refuses_tls():
    said: list[str] = []
    url = StemURL.parse("memory://")
    asyncio.run(InMemoryBroker.open(url, None, PluginContext(report=said.append)))
    assert len(said) == 1
    assert "another process cannot see it" in said[0]
    secured = PluginContext(tls=TlsConfig(ca_certificate_file="ca.pem"))
    with pytest.raises(ConfigError, match="no connection to encrypt"):
        asyncio.run(InMemoryBroker.open(url, None, secured))


def test_the_plugin_module_imports_no_store():
    code = (
        "import sys, stem_core.embedded.memory.plugin as plugin\n"
        "assert plugin.stem_register_brokers() and plugin.stem_register_backends()\n"
        "loaded = [n for n in sys.modules if n.startswith('stem_core.embedded.memory.')]\n"
        "assert loaded == ['stem_core.embedded.memory.plugin'], loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_first_delivery_says_nothing_but_its_message_and_receipt():
    async def fetch() -> Delivery:
        broker = InMemoryBroker("fields", clock=FakeClock())
        await broker.publish([Message(id="m", queue="q", task="t", body=b"")])
        (delivery,) = await broker.fetch(["q"], limit=1, wait_ms=0, worker="w")
        return delivery

    delivery = asyncio.run(fetch())
    MemoryStore.forget("fields")
    assert delivery == Delivery(message=delivery.message, receipt=Receipt("m", "q", 1))


def test_after_a_drain_and_its_times_nothing_is_left():
    clock = FakeClock()

    async def use() -> MemoryStore:
        broker = InMemoryBroker("drained", clock=clock)
        backend = InMemoryResultBackend("drained", clock=clock)
        await broker.publish(
            [
                Message(
                    id=f"m{n}",
                    queue=f"q{n % 100}",
                    task="t",
                    body=b"x",
                    delay_ms=n % 3 * 1000,
                    priority=n % 10,
                    unique=UniqueKey(key=f"k{n}", until="window", window_ms=5000)
                    if n % 2
                    else None,
                )
                for n in range(500)
            ]
        )
        await broker.cancel([Cancellation(id=f"m{n}") for n in range(0, 500, 7)])
        outcomes: list[SettleOutcome] = [
            ACK,
            RetryLater(500),
            Release(500, ReleaseWhy.PARKED),
            Release(0, ReleaseWhy.SHUTDOWN),
            DeadLetter(Reason.POISON, keep_ms=5000),
        ]
        queues, turn = [f"q{n}" for n in range(100)], 0
        while any(entry.place.value != "dead" for entry in broker.store.machine.entries.values()):
            clock.advance(timedelta(seconds=1))
            for delivery in await broker.fetch(queues, limit=500, wait_ms=0, worker="w"):
                turn += 1
                record = Record(
                    id=delivery.message.id,
                    state=State.RUNNING,
                    fence=delivery.receipt.fence,
                    ttl_ms=5000,
                )
                await broker.settle(
                    [
                        Settlement(
                            receipt=delivery.receipt,
                            outcome=outcomes[turn % len(outcomes)],
                            record=record,
                        )
                    ]
                )
                await backend.progress([Progress(delivery.message.id, 1, b"1", ttl_ms=5000)])
        limit = Limit(key="k", rate=1, concurrent=1)
        await broker.limits.acquire([limit], holder="h", lease_ms=1000)
        for _ in range(10):
            clock.advance("1m")
            await broker.fetch(queues, limit=1, wait_ms=0, worker="w")
        await broker.limits.acquire([], holder="h", lease_ms=1)
        return broker.store

    store = asyncio.run(use())
    MemoryStore.forget("drained")
    machine = store.machine
    kept = [
        machine.entries, machine.graves, machine._stones.by_id, machine._unique._holders,
        store.records._records, store.records._progress,
    ]  # fmt: skip
    assert [len(part) for part in kept] == [0] * len(kept)  # type: ignore[arg-type]
    assert len(machine.queues) <= 64
    agendas = [
        machine._later, machine._leases, machine._grave_ends, machine._stones._ends,
        machine._unique._windows, store.records._ends, store.records._progress_ends,
    ]  # fmt: skip
    assert [len(agenda) for agenda in agendas] == [0] * len(agendas)
    assert len(store.limits) == 0
    assert store.sleepers.count == 0


@pytest.mark.parametrize("lease_ms", ["x", 1.5, float("nan"), None, 0, -1])
def test_a_message_whose_lease_cannot_be_counted_is_refused_alone(lease_ms: Any):
    async def publish() -> list[PublishStatus]:
        broker = InMemoryBroker("leases", clock=FakeClock())
        good = Message(id="good", queue="q", task="t", body=b"")
        bad = Message(id="bad", queue="q", task="t", body=b"", lease_ms=lease_ms)
        return [reply.status for reply in await broker.publish([bad, good])]

    statuses = asyncio.run(publish())
    MemoryStore.forget("leases")
    assert statuses == [PublishStatus.REFUSED, PublishStatus.CREATED]
