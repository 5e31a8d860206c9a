"""Tests of tasks, the worker and the settings, as a type checker sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, assert_type

from stem_core import (
    Duration,
    Envelope,
    InMemoryBroker,
    SigningConfig,
    Stem,
    StemConfig,
    TaskContext,
    TlsConfig,
    Worker,
)
from stem_core.plugin import Broker, Event, StemURL
from stem_core.testing import (
    BrokerContract,
    Drain,
    FakeClock,
    FaultProxy,
    FaultyBroker,
    LoadedDice,
    StemOutbox,
    StemWorker,
)
from stem_core.testing.drain import Ran

stem = Stem("memory://")


@stem.task
async def charge(customer: str, amount: int = 1) -> str:
    return customer * amount


@stem.task(context=True)
def report(ctx: TaskContext, year: int) -> int:
    return year


# ── the fixtures ─────────────────────────────────────────────────────────────


def test_waiting(stem_worker: StemWorker, stem_outbox: StemOutbox, stem_clock: FakeClock) -> None:
    assert_type(stem_outbox.assert_enqueued(charge, {"customer": "ada"}), tuple[Envelope, ...])
    stem_outbox.assert_enqueued(charge.call("ada", amount=2), queue="default", count=1)
    stem_outbox.assert_enqueued("billing.charge", count=0)
    assert_type(stem_outbox[0], Envelope)
    assert_type(stem_outbox[1:], Sequence[Envelope])
    assert_type([each.task for each in stem_outbox], list[str])
    assert_type(stem_outbox.assert_nothing_enqueued(), None)
    stem_outbox.assert_enqueued(charge.enqueue("ada"))  # E: a call, not a coroutine
    stem_outbox.assert_enqueued(charge, ["ada"])  # E: arguments by name
    stem_outbox.assert_enqueued(charge, cuont=1)  # E: a typo
    stem_outbox.assert_enqueued(charge.call(1))  # E: customer is a str
    stem_outbox.assert_enqueued(report.call("2030"))  # E: year is an int
    assert_type(stem_clock.now(), datetime)
    stem_clock.advance("5m")
    stem_clock.advance(timedelta(seconds=1))
    stem_clock.advance(None)  # E: a duration
    FakeClock(0)  # E: a datetime
    LoadedDice(["6"])  # E: numbers


async def test_running(stem_worker: StemWorker, stem_app: Stem) -> None:
    drained: Drain = await stem_worker.drain()
    assert_type(drained.succeeded, tuple[Ran, ...])
    assert_type(drained[0].why, str)
    assert_type(drained[0].after, timedelta | None)
    drained[0].fate = "dead"  # E: it is frozen
    drained.suceeded  # E: a typo
    assert_type(await (await charge.enqueue("ada")).result(), str)
    assert_type(report.fn(TaskContext.for_testing(), 2030), int)
    with stem_app.override(broker=InMemoryBroker()) as during:
        assert_type(during.enqueued, list[Envelope])


class TestAcme(BrokerContract):
    broker_url = "acme://here"


def faults(broker: Broker, proxy: FaultProxy) -> None:
    FaultyBroker(broker)  # E: which calls fail
    proxy.port = 1  # E: it has one


# ── the worker ───────────────────────────────────────────────────────────────


class Seen:
    def on_event(self, event: Event, /) -> None: ...


def made() -> Stem:
    return stem


async def working() -> None:
    worker = Worker(stem, queues={"billing": 8, "default": 1}, grace="30s", threads=2, app=made)
    Worker(stem, observers=[Seen()], signing_policy="require", name="one")
    assert_type(worker.queues, tuple[str, ...])
    assert_type(worker.running, int)
    assert_type(await worker.run(), int)
    Worker()  # E: of which Stem
    Worker(stem, ["billing"])  # E: by name
    Worker(stem, queues={"billing": "8"})  # E: a weight
    Worker(stem, grace=None, observers=[print])  # E: no observer
    Worker(stem, signing_policy="always")  # E: no such policy
    Worker(stem, app=stem)  # E: what makes one
    Worker(stem, grace=datetime.now(UTC))  # E: a span
    worker.run()  # E: nobody awaits it
    worker.concurency  # E: a typo
    async with Worker(stem, concurrency=4) as running:
        assert_type(running.concurrency, int)


# ── settings ─────────────────────────────────────────────────────────────────

config = StemConfig(namespace="shop", worker_queues={"billing": 8}, routes={"a.*": "b"})
assert_type(config.broker_url, StemURL | None)
assert_type(config.worker_queues, Mapping[str, int])
assert_type(config.log_format, Literal["auto", "text", "json"])
assert_type(config.signing, SigningConfig)
assert_type(config.tls, TlsConfig)
assert_type(StemConfig.from_environment({"STEM_BROKER_URL": "memory://"}), StemConfig)
Stem(config=config, routes={"billing.*": "billing"})
config.namespace = "other"  # E: it is frozen
config.worker_concurency  # E: a typo
StemConfig(namspace="shop")  # E: a typo
StemConfig(log_format="xml")  # E: no such format
StemConfig(signing_policy="always")  # E: no such policy
StemConfig(worker_queues=["billing"])  # E: with weights
StemConfig(worker_concurrency="4")  # E: an int
StemConfig.from_environment({"STEM_WORKER_CONCURRENCY": 4})  # E: text, as in an environment
Stem(config={"namespace": "shop"})  # E: a StemConfig
Stem("memory://", routes={"billing.*": 3})  # E: names of queues
Stem("memory://", namespace=None, max_payload="1M")  # E: no such setting here


async def closing(timeout: Duration) -> Any:
    async with Stem("memory://") as other:
        assert_type(other, Stem)
        assert_type(await other.aclose(), None)
        other.aclose()  # E: nobody awaits it
    async with asyncio.timeout(timeout):  # E: a Duration is not always seconds
        return await stem.result("id", timeout=timeout)
