"""Every failpoint of the source has a case here: what is left when a process dies just there."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stem_core.contracts.messages import Located, Place, PublishStatus
from stem_core.embedded.sqlite.backend import SqliteResultBackend
from stem_core.embedded.sqlite.broker import SqliteBroker
from stem_core.failpoints import NAMES, VARIABLE, armed
from stem_core.model.errors import StoreUnavailable
from stem_core.model.outcome import Record, State

ROOT = Path(__file__).parents[2]
LEASE_MS = 600

STORE = f"""
import asyncio, sys
from stem_core.contracts.messages import Message, Settlement
from stem_core.embedded.sqlite.broker import SqliteBroker
from stem_core.model.outcome import Record, State

def message(id):
    return Message(id=id, queue="q", task="t", body=b"1", lease_ms={LEASE_MS})

async def main(url, what):
    broker = await SqliteBroker.connect(url)
    if what == "alone":
        for n in range(200):
            await broker.publish([message(f"m{{n}}")])
    else:
        await broker.publish([message("m0"), message("m1")])
    if what == "settle":
        [first, _] = await broker.fetch(["q"], limit=2, wait_ms=0, worker="w")
        record = Record(id="m0", state=State.SUCCEEDED, fence=first.receipt.fence, value=b"1")
        await broker.settle(
            [Settlement(receipt=first.receipt, record=record, follow_ups=(message("f"),))]
        )
    await broker.aclose()

asyncio.run(main(*sys.argv[1:]))
"""

SHOP = """
import asyncio, os
from stem_core import Stem, Worker

stem = Stem(broker=os.environ["SHOP_URL"])

@stem.task(name="shop.sell", visibility_timeout=1)
async def sell(number: int) -> int:
    with open(os.environ["SHOP_RUNS"], "a") as runs:
        runs.write(f"{number}\\n")
    return number

async def produce():
    async with stem:
        await sell.using(task_id="m0").enqueue(0)

async def work():
    async with stem, Worker(stem):
        await asyncio.sleep(60)

if __name__ == "__main__":
    import sys
    asyncio.run(produce() if sys.argv[1] == "produce" else work())
"""


class Spot:
    """A file, and what processes have done to it."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'tasks.db'}"
        self.runs_file = folder / "runs"
        self.shop = folder / "shop.py"
        self.shop.write_text(SHOP)

    def process(self, command: list[str], plan: str = "") -> subprocess.Popen[str]:
        own = {"SHOP_URL": self.url, "SHOP_RUNS": str(self.runs_file), VARIABLE: plan}
        return subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **own},
            stderr=subprocess.PIPE,
            text=True,
        )

    def store(self, what: str, plan: str) -> int:
        """Use the store as *what* says, under *plan*; return how that ended."""
        process = self.process(["-c", STORE, self.url, what], plan)
        process.communicate(timeout=30)
        return process.returncode

    def produce(self, plan: str = "") -> int:
        process = self.process([str(self.shop), "produce"], plan)
        process.communicate(timeout=30)
        return process.returncode

    @contextmanager
    def worker(self, plan: str = "") -> Iterator[subprocess.Popen[str]]:
        """A worker process that ends with the block."""
        process = self.process([str(self.shop), "work"], plan)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def found(self, *ids: str) -> list[Located | None]:
        async def look() -> list[Located | None]:
            broker = await SqliteBroker.connect(self.url)
            try:
                return list(await broker.lookup(ids))
            finally:
                await broker.aclose()

        return asyncio.run(look())

    def places(self, *ids: str) -> list[Place | None]:
        return [each and each.place for each in self.found(*ids)]

    def record(self, id: str = "m0") -> Record | None:
        async def load() -> Record | None:
            backend = await SqliteResultBackend.connect(self.url)
            try:
                return (await backend.load([id]))[0]
            finally:
                await backend.aclose()

        return asyncio.run(load())

    def taken_again(self) -> list[tuple[str, int, int]]:
        """Take what can be had until the lease is over: id, fence and lapses of each."""

        async def take() -> list[tuple[str, int, int]]:
            broker = await SqliteBroker.connect(self.url)
            try:
                taken = await broker.fetch(["q"], limit=9, wait_ms=4 * LEASE_MS, worker="v")
                return [(d.message.id, d.receipt.fence, d.lapses) for d in taken]
            finally:
                await broker.aclose()

        return asyncio.run(take())

    @property
    def runs(self) -> int:
        return len(self.runs_file.read_text().splitlines()) if self.runs_file.exists() else 0

    def until(self, is_so: Callable[[], object]) -> None:
        """Look until *is_so*."""
        last = time.monotonic() + 20
        while not is_so():
            assert time.monotonic() < last, "it never came to that"
            time.sleep(0.05)

    def is_done(self) -> bool:
        record = self.record()
        return record is not None and record.state is State.SUCCEEDED


@pytest.fixture
def place(tmp_path: Path) -> Spot:
    return Spot(tmp_path)


KILLED = -signal.SIGKILL
CASES: dict[str, Callable[..., None]] = {}


def case(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark the case of the failpoints *names*."""

    def wrap(test: Callable[..., None]) -> Callable[..., None]:
        CASES.update(dict.fromkeys(names, test))
        return test

    return wrap


# ── the store ────────────────────────────────────────────────────────────────


@case("sqlite.publish_alone.before_commit")
def test_killed_before_a_lone_publish_is_committed_those_before_it_are_there(place: Spot):
    place.url += "?durability=normal"  # what commits slowly is left to the thread
    assert place.store("alone", "sqlite.publish_alone.before_commit=kill@5") == KILLED
    there = [found is not None for found in place.found(*(f"m{n}" for n in range(200)))]
    assert there == sorted(there, reverse=True)
    assert 4 < sum(there) < 200


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
    assert place.places("m0", "f") == [None, Place.READY]
    assert "m0" not in {id for id, _, _ in place.taken_again()}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_publish_that_fails_at_the_store_tells_its_caller(place: Spot, moment: str):
    assert place.store("batch", f"sqlite.publish.{moment}_commit=raise") == 1
    there = Place.READY if moment == "after" else None
    assert place.places("m0", "m1") == [there, there]


# ── memory: the same verbs, without a process to kill ────────────────────────


@case("memory.settle.before_write", "memory.settle.after_write")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_settlement_that_breaks_off_in_memory_is_whole_or_nothing(moment: str):
    from stem_core.contracts.messages import Message, Settlement, SettleStatus
    from stem_core.embedded.memory.broker import InMemoryBroker

    async def main() -> None:
        broker = InMemoryBroker(f"crash-{moment}")
        await broker.publish([Message(id="m", queue="q", task="t", body=b"1")])
        (delivery,) = await broker.fetch(["q"], limit=1, wait_ms=0, worker="w")
        follow_up = Message(id="f", queue="f", task="t", body=b"1")
        end = Settlement(receipt=delivery.receipt, follow_ups=(follow_up,))
        with armed(f"memory.settle.{moment}_write=raise"), pytest.raises(StoreUnavailable):
            await broker.settle([end])
        there = [each and each.place for each in await broker.lookup(["m", "f"])]
        assert there == ([Place.LEASED, None] if moment == "before" else [None, Place.READY])
        (reply,) = await broker.settle([end])
        assert reply.status is (SettleStatus.DONE if moment == "before" else SettleStatus.ALREADY)
        await broker.aclose()

    asyncio.run(main())


@case("memory.claim.before_write", "memory.claim.after_write")
@pytest.mark.parametrize(("moment", "fence"), [("before", 0), ("after", 1)])
def test_a_claim_that_breaks_off_in_memory_is_whole_or_nothing(moment: str, fence: int):
    from stem_core.contracts.messages import Message
    from stem_core.embedded.memory.broker import InMemoryBroker

    async def main() -> None:
        broker = InMemoryBroker(f"claim-{moment}")
        replies = await broker.publish([Message(id="m", queue="q", task="t", body=b"1")])
        assert replies[0].status is PublishStatus.CREATED
        with armed(f"memory.claim.{moment}_write=raise"), pytest.raises(StoreUnavailable):
            await broker.fetch(["q"], limit=1, wait_ms=0, worker="w")
        (found,) = await broker.lookup(["m"])
        assert found is not None
        assert found.fence == fence
        assert found.place is (Place.LEASED if fence else Place.READY)
        await broker.aclose()

    asyncio.run(main())


# ── producers and workers ────────────────────────────────────────────────────


@case("producer.publish.before")
def test_killed_before_it_publishes_a_producer_has_sent_nothing(place: Spot):
    assert place.produce("producer.publish.before=kill") == KILLED
    assert place.places("m0") == [None]


@case("producer.publish.after")
def test_a_producer_whose_reply_is_lost_sends_one_message(place: Spot):
    assert place.produce("producer.publish.after=raise@1") == 0
    assert place.places("m0") == [Place.READY]
    with place.worker():
        place.until(place.is_done)
    assert place.runs == 1


@case("worker.claim.before_start")
def test_killed_before_it_starts_a_task_a_worker_leaves_it_to_another(place: Spot):
    place.produce()
    with place.worker("worker.claim.before_start=kill") as first:
        assert first.wait(20) == KILLED
    assert place.runs == 0
    with place.worker():
        place.until(place.is_done)
    assert place.runs == 1


@case("worker.settle.before")
def test_killed_before_it_settles_a_worker_leaves_the_task_to_another(place: Spot):
    place.produce()
    with place.worker("worker.settle.before=kill") as first:
        assert first.wait(20) == KILLED
    assert (place.runs, place.record()) == (1, None)
    with place.worker():
        place.until(place.is_done)
    assert place.runs == 2


@case("worker.settle.after")
def test_killed_after_it_has_settled_the_task_does_not_run_again(place: Spot):
    place.produce()
    with place.worker("worker.settle.after=kill") as first:
        assert first.wait(20) == KILLED
    assert place.is_done()
    with place.worker():
        place.taken_again()  # longer than the lease was
    assert (place.runs, place.places("m0")) == (1, [None])


@pytest.mark.parametrize("plan", ["raise@1", "sleep(300)"])
def test_a_settlement_whose_reply_is_lost_or_late_is_made_once(place: Spot, plan: str):
    place.produce()
    with place.worker(f"worker.settle.after={plan}"):
        place.until(place.is_done)
    assert (place.runs, place.places("m0")) == (1, [None])


def test_a_worker_that_is_frozen_before_it_settles_has_no_say_when_it_wakes(place: Spot):
    place.produce()
    with place.worker("worker.settle.before=stop") as first:
        place.until(lambda: place.runs == 1)
        with place.worker():
            place.until(place.is_done)
            newer = place.record()
            os.kill(first.pid, signal.SIGCONT)
            place.taken_again()
    assert place.runs == 2
    assert newer is not None
    assert place.record() == newer


# ── all of them ──────────────────────────────────────────────────────────────


def points_in_the_source() -> set[str]:
    """Every name that some ``reach(…)`` is called with."""
    found: set[str] = set()
    for path in ROOT.glob("stem-*/src/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and _name_of(node.func) == "reach":
                (name,) = node.args
                assert isinstance(name, ast.Constant), f"{path}: a name is written out"
                found.add(name.value)
    return found


def _name_of(called: Any) -> str:
    return getattr(called, "attr", getattr(called, "id", ""))


def test_every_failpoint_of_the_source_is_known_and_has_a_case():
    points = points_in_the_source()
    assert points >= NAMES
    assert set(CASES) == points
