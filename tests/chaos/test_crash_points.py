"""Every failpoint of the source has a case here: what is left when a process dies just there."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from chaos.shop import ID
from chaos.spot import KILLED, Spot
from chaos.storing import message

from stem_core.contracts.messages import (
    Cancellation,
    CancelStatus,
    Extension,
    Message,
    Place,
    PublishStatus,
    Settlement,
    SettleStatus,
)
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.failpoints import NAMES, armed
from stem_core.model.errors import StoreUnavailable
from stem_core.model.outcome import State
from stem_core.testing import FakeClock

ROOT = Path(__file__).parents[2]
OF_A_WORKER = [
    "sqlite.claim.before_commit",
    "sqlite.claim.after_commit",
    "sqlite.settle.before_commit",
    "sqlite.settle.after_commit",
    "worker.claim.before_start",
    "worker.settle.before",
    "worker.settle.after",
]
"""What a worker passes on the way through one task."""

CASES: Counter[str] = Counter()


def case(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark the case of the failpoints *names*."""
    CASES.update(names)
    return lambda test: test


@pytest.fixture
def place(tmp_path: Path) -> Spot:
    return Spot(tmp_path)


# ── the store ────────────────────────────────────────────────────────────────


@case("sqlite.publish_alone.before_commit")
def test_killed_before_a_lone_publish_is_written_all_those_before_it_are_there(place: Spot):
    assert place.store("alone", "sqlite.publish_alone.before_commit=kill") == KILLED
    confirmed = place.diary
    assert confirmed, "the first publish opens the file, which is the long way"
    assert set(place.places(*confirmed)) == {Place.READY}
    assert place.places(f"m{len(confirmed)}") == [None]


@case("sqlite.publish.before_commit")
def test_killed_before_a_batch_is_committed_none_of_it_is_there(place: Spot):
    assert place.store("batch", "sqlite.publish.before_commit=kill") == KILLED
    assert place.places("m0", "m1") == [None, None]


@case("sqlite.publish.after_commit")
def test_killed_after_a_batch_is_committed_all_of_it_is_there(place: Spot):
    assert place.store("batch", "sqlite.publish.after_commit=kill") == KILLED
    assert place.places("m0", "m1") == [Place.READY, Place.READY]


@case("sqlite.claim.before_commit")
def test_killed_before_a_claim_is_committed_nobody_has_leased(place: Spot):
    assert place.store("settle", "sqlite.claim.before_commit=kill") == KILLED
    assert place.taken_again() == [("m0", 1, 0), ("m1", 1, 0)]


@case("sqlite.claim.after_commit")
def test_killed_after_a_claim_is_committed_the_lease_lapses(place: Spot):
    assert place.store("settle", "sqlite.claim.after_commit=kill") == KILLED
    assert place.places("m0", "m1") == [Place.LEASED, Place.LEASED]
    assert place.taken_again() == [("m0", 2, 1), ("m1", 2, 1)]


@case("sqlite.settle.before_commit")
def test_killed_before_a_settlement_is_committed_nothing_of_it_is_there(place: Spot):
    assert place.store("settle", "sqlite.settle.before_commit=kill") == KILLED
    assert (place.record(), place.places("m0", "f")) == (None, [Place.LEASED, None])
    assert ("m0", 2, 1) in place.taken_again()


@case("sqlite.settle.after_commit")
def test_killed_after_a_settlement_is_committed_all_of_it_is_there(place: Spot):
    assert place.store("settle", "sqlite.settle.after_commit=kill") == KILLED
    assert place.is_done()
    assert place.places("f") == [Place.READY]
    assert "m0" not in {id for id, _, _ in place.taken_again()}


@case("sqlite.extend.before_commit")
def test_killed_before_a_lease_is_extended_it_lapses_when_it_would_have(place: Spot):
    assert place.store("extend", "sqlite.extend.before_commit=kill") == KILLED
    assert place.taken_again() == [("m0", 2, 1), ("m1", 2, 1)]


@case("sqlite.extend.after_commit")
def test_killed_after_a_lease_is_extended_nobody_else_gets_the_message(place: Spot):
    assert place.store("extend", "sqlite.extend.after_commit=kill") == KILLED
    assert place.taken_again() == [("m1", 2, 1)]
    assert place.places("m0") == [Place.LEASED]


@case("sqlite.cancel.before_commit")
def test_killed_before_a_cancellation_is_committed_all_tasks_wait_on(place: Spot):
    assert place.store("cancel", "sqlite.cancel.before_commit=kill") == KILLED
    assert place.places("m0", "m1") == [Place.READY, Place.READY]
    assert (place.record("m0"), place.record("m1")) == (None, None)


@case("sqlite.cancel.after_commit")
def test_killed_after_a_cancellation_is_committed_all_have_ended_with_a_record(place: Spot):
    assert place.store("cancel", "sqlite.cancel.after_commit=kill") == KILLED
    assert place.places("m0", "m1") == [None, None]
    records = [place.record("m0"), place.record("m1")]
    assert [record and record.state for record in records] == [State.CANCELLED] * 2


@case("sqlite.sweep.before_commit")
def test_killed_before_a_sweep_is_committed_the_next_one_does_it_again(place: Spot):
    # The first one comes with the opening, the second when the id of the first message is over.
    assert place.store("sweep", "sqlite.sweep.before_commit=kill@2") == KILLED
    last = len(place.diary)
    assert place.places(f"s{last}-0", f"s{last}-1") == [None, None]  # it came with the sweep
    fences = {id: fence for id, fence, _ in place.taken_again(message("m0"))}
    assert fences.keys() >= {"m1", *(f"{id}-1" for id in place.diary)}
    assert fences["m0"] > 1  # its id is free again, and was not forgotten without its fence


@pytest.mark.parametrize(("moment", "there"), [("before", None), ("after", Place.READY)])
def test_a_publish_that_fails_at_the_store_tells_its_caller(place: Spot, moment, there):
    assert place.store("batch", f"sqlite.publish.{moment}_commit=raise") == 1
    assert place.places("m0", "m1") == [there, there]


# ── memory: the same verbs, without a process to kill ────────────────────────


@case("memory.settle.before_write", "memory.settle.after_write")
@pytest.mark.parametrize(
    ("moment", "there", "reply"),
    [
        ("before", [Place.LEASED, None], SettleStatus.DONE),
        ("after", [None, Place.READY], SettleStatus.ALREADY),
    ],
)
def test_a_settlement_that_breaks_off_in_memory_is_whole_or_nothing(moment, there, reply):
    async def main() -> None:
        broker = InMemoryBroker(f"crash-{moment}")
        await broker.publish([Message(id="m", queue="q", task="t", body=b"1")])
        [delivery] = await broker.fetch(["q"], limit=1, wait_ms=0, worker="w")
        follow_up = Message(id="f", queue="f", task="t", body=b"1")
        end = Settlement(receipt=delivery.receipt, follow_ups=(follow_up,))
        with armed(f"memory.settle.{moment}_write=raise"), pytest.raises(StoreUnavailable):
            await broker.settle([end])
        assert [each and each.place for each in await broker.lookup(["m", "f"])] == there
        assert [each.status for each in await broker.settle([end])] == [reply]
        await broker.aclose()

    asyncio.run(main())


@case("memory.claim.before_write", "memory.claim.after_write")
@pytest.mark.parametrize(
    ("moment", "there"), [("before", (Place.READY, 0)), ("after", (Place.LEASED, 1))]
)
def test_a_claim_that_breaks_off_in_memory_is_whole_or_nothing(moment, there):
    async def main() -> None:
        broker = InMemoryBroker(f"claim-{moment}")
        await broker.publish([Message(id="m", queue="q", task="t", body=b"1")])
        with armed(f"memory.claim.{moment}_write=raise"), pytest.raises(StoreUnavailable):
            await broker.fetch(["q"], limit=1, wait_ms=0, worker="w")
        [found] = await broker.lookup(["m"])
        assert found is not None
        assert (found.place, found.fence) == there
        await broker.aclose()

    asyncio.run(main())


@case("memory.extend.before_write", "memory.extend.after_write")
@pytest.mark.parametrize(("moment", "lease_ms"), [("before", 5_000), ("after", 60_000)])
def test_an_extension_that_breaks_off_in_memory_is_made_or_not(moment, lease_ms):
    async def main() -> None:
        broker = InMemoryBroker(f"extend-{moment}", clock=FakeClock())
        await broker.publish([Message(id="m", queue="q", task="t", body=b"1", lease_ms=5_000)])
        [delivery] = await broker.fetch(["q"], limit=1, wait_ms=0, worker="w")
        with armed(f"memory.extend.{moment}_write=raise"), pytest.raises(StoreUnavailable):
            await broker.extend([Extension(delivery.receipt, 60_000)])
        [found] = await broker.lookup(["m"])
        assert found is not None
        assert found.lease_ms == lease_ms
        await broker.aclose()

    asyncio.run(main())


@case("memory.cancel.before_write", "memory.cancel.after_write")
@pytest.mark.parametrize(
    ("moment", "there", "again"),
    [
        ("before", [Place.READY] * 2, CancelStatus.CANCELLED),
        ("after", [None] * 2, CancelStatus.FINISHED),
    ],
)
def test_a_cancellation_that_breaks_off_in_memory_is_whole_or_nothing(moment, there, again):
    async def main() -> None:
        broker, ids = InMemoryBroker(f"cancel-{moment}"), ["m0", "m1"]
        await broker.publish([Message(id=id, queue="q", task="t", body=b"1") for id in ids])
        wishes = [Cancellation(id=id) for id in ids]
        with armed(f"memory.cancel.{moment}_write=raise"), pytest.raises(StoreUnavailable):
            await broker.cancel(wishes)
        assert [each and each.place for each in await broker.lookup(ids)] == there
        assert {each.status for each in await broker.cancel(wishes)} == {again}
        await broker.aclose()

    asyncio.run(main())


@case("memory.sweep.before_write", "memory.sweep.after_write")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_sweep_that_breaks_off_in_memory_is_made_up_for_and_its_verb_can_be_sent_again(moment):
    async def main() -> None:
        clock = FakeClock()
        broker = InMemoryBroker(f"sweep-{moment}", clock=clock)
        sent = Message(id="m", queue="q", task="t", body=b"1", dedupe_for_ms=1_000)
        await broker.publish([sent])
        [delivery] = await broker.fetch(["q"], limit=1, wait_ms=0, worker="w")
        await broker.settle([Settlement(receipt=delivery.receipt)])
        clock.advance(timedelta(seconds=2))
        with armed(f"memory.sweep.{moment}_write=raise"), pytest.raises(StoreUnavailable):
            await broker.publish([sent])
        assert await broker.lookup(["m"]) == [None]
        [reply] = await broker.publish([sent])
        assert reply.status is PublishStatus.CREATED
        [delivery] = await broker.fetch(["q"], limit=1, wait_ms=0, worker="w")
        assert delivery.receipt.fence > 1
        await broker.aclose()

    asyncio.run(main())


# ── producers ────────────────────────────────────────────────────────────────


@case("producer.publish.before")
def test_killed_before_it_publishes_a_producer_has_sent_nothing(place: Spot):
    code, said = place.produce("producer.publish.before=kill")
    assert (code, place.places(ID)) == (KILLED, [None])
    assert "failpoints are armed" in said


@case("producer.publish.after")
def test_a_producer_whose_reply_is_lost_sends_one_message(place: Spot):
    plan = "producer.publish.before=raise@1; producer.publish.after=raise@1"
    assert place.produce(plan)[0] == 0
    place.finished()
    assert place.runs() == 1


def test_an_application_is_refused_a_failpoint_that_is_none(place: Spot):
    code, said = place.produce("producer.publish.befor=kill")
    assert code == 1
    assert "there is no point 'producer.publish.befor'" in said


# ── workers ──────────────────────────────────────────────────────────────────


@case("worker.claim.before_start")
def test_killed_before_it_starts_a_task_a_worker_leaves_it_to_another(place: Spot):
    place.enqueue()
    place.killed_worker("worker.claim.before_start=kill")
    assert place.runs() == 0
    place.finished()
    assert place.runs() == 1


@case("worker.settle.before")
def test_killed_before_it_settles_a_worker_leaves_the_task_to_another(place: Spot):
    place.enqueue()
    place.killed_worker("worker.settle.before=kill")
    assert (place.runs(), place.record()) == (1, None)
    place.finished()
    assert place.runs() == 2


@case("worker.settle.after")
def test_killed_after_it_has_settled_the_task_does_not_run_again(place: Spot):
    place.enqueue()
    place.killed_worker("worker.settle.after=kill")
    assert place.is_done()
    place.enqueue("m1")
    with place.worker():
        place.until(lambda: place.is_done("m1"), "end of the next task")
    assert (place.runs(), place.runs("m1")) == (1, 1)


@case("worker.save.after")
def test_killed_between_two_stores_a_worker_leaves_a_result_and_a_task_for_another(tmp_path):
    place = Spot(tmp_path, apart=True)
    place.enqueue()
    place.killed_worker("worker.save.after=kill")
    assert place.record() is not None
    assert place.places(ID) == [Place.LEASED]
    place.finished()
    assert place.runs() == 2


def test_a_worker_whose_every_step_fails_once_does_not_lose_the_task(place: Spot):
    place.enqueue()
    with place.worker("; ".join(f"{name}=raise@1" for name in OF_A_WORKER)):
        place.until(place.is_done, "end of the task")
    assert place.diary == [f"ran {ID}"]


def test_a_worker_whose_every_step_is_slow_does_the_task_once(place: Spot):
    place.enqueue()
    with place.worker("; ".join(f"{name}=sleep(150)" for name in OF_A_WORKER)):
        place.until(place.is_done, "end of the task")
    assert place.diary == [f"ran {ID}"]


@pytest.mark.parametrize("point", ["worker.claim.before_start", "worker.settle.before"])
def test_a_worker_that_was_frozen_has_no_say_when_it_wakes(place: Spot, point: str):
    place.enqueue()
    with place.worker(f"{point}=stop") as frozen:
        assert os.WIFSTOPPED(os.waitpid(frozen.pid, os.WUNTRACED)[1])
        place.finished()
        newer = place.record()
        os.kill(frozen.pid, signal.SIGCONT)
        place.until(lambda: "lost stale" in place.diary, "settlement that is refused")
    assert place.record() == newer
    assert place.runs() == 2


# ── all of them ──────────────────────────────────────────────────────────────


def points_in_the_source() -> Iterator[str]:
    """Every name that some ``reach(…)`` is called with."""
    for path in ROOT.glob("stem-*/src/**/*.py"):
        text = path.read_text("utf-8")
        if "reach(" in text and path.name != "failpoints.py":
            yield from points_in(ast.parse(text), path)


def points_in(tree: ast.Module, path: Path) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name_of(node.func) == "reach":
            [name] = node.args
            assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: write the name out"
            yield str(name.value)


def name_of(called: Any) -> str:
    return getattr(called, "attr", getattr(called, "id", ""))


def test_every_failpoint_of_the_source_is_there_once_is_known_and_has_one_case():
    points = Counter(points_in_the_source())
    assert set(points.values()) == {1}
    assert points.keys() >= NAMES
    assert points == CASES
