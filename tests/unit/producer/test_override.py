from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from unit.producer.shop import charge, export, tasks
from unit.producer.stores import Connection, HmacSigner, Transactional

from stem_core.embedded.memory.store import MemoryStore
from stem_core.model.errors import MissingSetting, UsageError, UseAwait
from stem_core.model.outcome import State
from stem_core.model.settings import StemConfig
from stem_core.producer.client import Stem
from stem_core.testing.clock import FakeClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def stem(monkeypatch: pytest.MonkeyPatch) -> Stem:
    """A Stem as a module makes it: without a broker in sight."""
    monkeypatch.delenv("STEM_BROKER_URL", raising=False)
    stem = Stem()
    stem.include(tasks)
    return stem


def test_the_whole_path_runs_on_stores_of_the_tests_own(stem: Stem) -> None:
    with stem.override() as t:
        job = charge.blocking.enqueue("ada", 3)
        assert t.drain() == 1
        assert job.result(timeout=5) == "ada paid 3"
        assert [each.args for each in t.enqueued] == [{"customer": "ada", "amount": 3}]


def test_asynchronous_tests_do_the_same(stem: Stem) -> None:
    async def main() -> None:
        async with stem.override() as t:
            job = await charge.enqueue("ada", 3)
            assert await t.adrain() == 1
            assert await job.result(timeout=5) == "ada paid 3"

    asyncio.run(main())


def test_time_passes_when_the_test_says_so(stem: Stem) -> None:
    with stem.override(clock=FakeClock(NOON)) as t:
        job = charge.using(delay="1h").blocking.enqueue("ada")
        assert t.drain() == 0
        status = job.status()
        assert status is not None
        assert status.state is State.SCHEDULED
        t.advance("1h")
        assert t.drain() == 1
        assert job.result(timeout=5) == "ada paid 1"


def test_a_clock_that_cannot_be_turned_is_named(stem: Stem) -> None:
    with stem.override() as t, pytest.raises(UsageError, match="SystemClock cannot be turned"):
        t.advance("1h")


def test_follow_ups_are_among_what_was_enqueued_once_they_are_published(stem: Stem) -> None:
    with stem.override() as t:
        export.blocking.enqueue(2025)
        assert [each.task for each in t.enqueued] == [export.name]
        t.drain()
        assert [each.task for each in t.enqueued] == [export.name, "billing.charge"]


def test_what_was_refused_or_known_before_was_not_enqueued(stem: Stem) -> None:
    with stem.override() as t:
        for _ in range(2):
            charge.using(unique=True).blocking.enqueue("ada")
            charge.using(task_id="mine").blocking.enqueue("bob")
        assert [each.args["customer"] for each in t.enqueued] == ["ada", "bob"]


def test_what_was_enqueued_is_shown_also_above_the_usual_size() -> None:
    stem = Stem("memory://", config=StemConfig(max_payload=4_000_000))
    with stem.override() as t:
        stem.blocking.enqueue("a", {"x": "y" * 2_000_000})
        assert [len(each.args["x"]) for each in t.enqueued] == [2_000_000]


def test_signing_is_on_where_the_test_has_a_signer(stem: Stem) -> None:
    with stem.override(signer=HmacSigner()) as t:
        job = charge.blocking.enqueue("ada")
        t.drain()
        assert job.result(timeout=5) == "ada paid 1"


def test_each_override_has_an_empty_store_and_leaves_none_behind(stem: Stem) -> None:
    before = set(MemoryStore._named)
    for _ in range(2):
        with stem.override() as t:
            charge.blocking.enqueue("ada")
            assert len(t.enqueued) == 1
    assert set(MemoryStore._named) == before


def test_afterwards_everything_is_as_it_was(stem: Stem) -> None:
    with pytest.raises(ZeroDivisionError), stem.override():
        raise ZeroDivisionError
    with pytest.raises(MissingSetting):
        charge.blocking.enqueue("ada")


def test_an_override_inside_an_override_ends_with_it(stem: Stem) -> None:
    with stem.override() as outer:
        with stem.override() as inner:
            charge.blocking.enqueue("ada")
        charge.blocking.enqueue("bob")
        assert [each.args["customer"] for each in inner.enqueued] == ["ada"]
        assert [each.args["customer"] for each in outer.enqueued] == ["bob"]


def test_draining_inside_a_running_loop_is_refused(stem: Stem) -> None:
    async def main() -> None:
        with stem.override() as t, pytest.raises(UseAwait):
            t.drain()

    asyncio.run(main())


def test_a_transactional_broker_stays_one_and_its_messages_are_noted(stem: Stem) -> None:
    connection: Any = Connection()
    with stem.override(broker=Transactional(), backend=None) as t:
        charge.using(connection=connection).blocking.enqueue("ada")
        asyncio.run(stem.enqueue("a", connection=connection))
        assert [each.task for each in t.enqueued] == ["billing.charge", "a"]
