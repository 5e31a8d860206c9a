"""A history can be read whatever became of those who wrote it."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.producer.stores import Transactional, fresh_name

from stem_core.contracts.broker import TransactionalBroker
from stem_core.contracts.messages import Message, Settlement
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.model.errors import StoreUnavailable
from stem_core.model.outcome import Record, State
from stem_core.testing.faults import (
    UNAVAILABLE,
    Commit,
    FaultPlan,
    FaultRule,
    FaultyBroker,
    RecordingBroker,
    commits_told,
    truth_of,
)
from stem_core.testing.faults.history import History, Recorder, Tail, What
from stem_core.testing.faults.runs import faults_of, runs_of


def test_what_was_written_is_read(tmp_path: Path) -> None:
    pen = Recorder(tmp_path / "h")
    wrote = pen.note(What.STARTED, id="a", fence=3, attempt=2, detail="ü\n")
    pen.close()
    assert History.of(tmp_path / "h") == History((wrote,))


def test_a_torn_line_is_counted_and_spoils_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "h"
    dying, living = Recorder(path), Recorder(path)
    dying.note(What.STARTED, id="a")
    path.write_bytes(path.read_bytes() + b'\n["started",123,4')
    living.note(What.STARTED, id="b")
    path.write_bytes(path.read_bytes() + b'\n["ended",1')
    history = History.of(path)
    assert [event.id for event in history.events] == ["a", "b"]
    assert history.torn == 2
    dying.close()
    living.close()


def test_several_events_go_out_in_one_write_and_are_lines_of_their_own(tmp_path: Path) -> None:
    pen = Recorder(tmp_path / "h")
    pen.write()
    pen.write(*History((pen.note(What.LEASED, id="a"),)).events * 2)
    pen.close()
    assert len(History.of(tmp_path / "h").events) == 3


def test_a_tail_follows_a_line_that_is_still_in_the_making(tmp_path: Path) -> None:
    path = tmp_path / "h"
    pen = Recorder(path)
    tail = Tail(path)
    assert tail.look() == []
    first = pen.note(What.ENDED, id="a")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    assert tail.look() == [first]
    path.write_bytes(whole + whole)
    assert tail.look() == [first, first]
    pen.close()


def test_a_lost_lease_is_that_of_the_oldest_run_which_is_open(tmp_path: Path) -> None:
    pen = Recorder(tmp_path / "h")
    for fence in (1, 2):
        pen.note(What.LEASED, id="a", fence=fence)
    pen.note(What.DROPPED, id="a")
    pen.close()
    assert [run.reply for run in runs_of(History.of(tmp_path / "h"))["a"]] == ["dropped", ""]


def test_the_death_of_a_child_meets_its_own_task_and_ends_it_and_no_neighbour(
    tmp_path: Path,
) -> None:
    pen = Recorder(tmp_path / "h")
    worker, child = 11, 12
    for id in "ab":
        pen.note(What.LEASED, id=id, fence=1, pid=worker)
    pen.note(What.STARTED, id="a", fence=1, pid=child)
    pen.note(What.STARTED, id="b", fence=1, pid=worker)
    death = pen.note(What.KILLED, pid=child)
    pen.note(What.DROPPED, id="a", pid=worker)
    pen.close()
    history = History.of(tmp_path / "h")
    [fault] = faults_of(history)
    [harmed], [neighbour] = runs_of(history)["a"], runs_of(history)["b"]
    assert (fault.meets(harmed), harmed.ended_ns) == (True, death.at_ns)
    assert (fault.meets(neighbour), neighbour.ended_ns) == (False, math.inf)


def test_what_a_child_starts_and_ends_belongs_to_the_lease_of_its_worker(tmp_path: Path) -> None:
    pen = Recorder(tmp_path / "h")
    worker, child = 11, 12
    pen.note(What.LEASED, id="a", fence=1, pid=worker)
    pen.note(What.STARTED, id="a", fence=1, pid=child)
    pen.note(What.ENDED, id="a", fence=1, pid=child)
    pen.note(What.SETTLED, id="a", fence=1, pid=worker, detail="done ack")
    pen.note(What.STARTED, id="a", fence=1, pid=13)  # nobody's: the lease has had its start
    pen.close()
    run, again = runs_of(History.of(tmp_path / "h"))["a"]
    assert (run.pid, run.child, run.reply) == (worker, child, "done ack")
    assert run.leased_ns < run.started_ns < run.ended_ns < run.told_ns
    assert (again.pid, again.reply) == (13, "")


WRITING = """
import sys
from stem_core.testing.faults.history import Recorder, What, now
recorder, number = Recorder(sys.argv[1]), 0
while True:
    recorder.write(*[now(What.STARTED, str(number + more), detail="x" * 500) for more in range(9)])
    number += 9
"""


def test_many_processes_write_and_a_kill_tears_nothing_but_its_own_last_line(tmp_path: Path):
    path = tmp_path / "h"
    path.touch()
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITING, str(path)], stdin=subprocess.DEVNULL)
        for _ in range(3)
    ]
    try:
        tail = Tail(path)
        while len({event.pid for event in tail.look()}) < 3:
            assert all(writer.poll() is None for writer in writers)
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    history = History.of(path)
    assert history.torn <= 3
    for writer in writers:
        mine = [int(event.id) for event in history.events if event.pid == writer.pid]
        assert mine == list(range(len(mine)))


# ── around a broker ──────────────────────────────────────────────────────────


def recorded(path: Path, trial: Callable) -> History:
    """Return what a trial with a recording broker wrote down."""

    async def main() -> None:
        with Recorder(path / "h") as recorder:
            plan = FaultPlan(FaultRule("extend", UNAVAILABLE))
            faulty = FaultyBroker(InMemoryBroker(fresh_name()), plan)
            await trial(RecordingBroker(faulty, recorder))

    asyncio.run(main())
    return History.of(path / "h")


async def one_delivery(broker: RecordingBroker) -> None:
    await broker.publish([Message(id="a", queue="q", task="t", body=b"{}")])
    taker = broker.sibling()
    [delivery] = await taker.fetch(["q"], limit=1, wait_ms=0, worker="w")
    with pytest.raises(StoreUnavailable):
        await taker.extend([])
    for _ in range(2):
        await taker.settle([Settlement(receipt=delivery.receipt)])


def test_a_recording_broker_notes_leases_answers_and_troubles(tmp_path: Path):
    events = recorded(tmp_path, one_delivery).events
    assert [(event.what, event.id, event.fence) for event in events] == [
        (What.LEASED, "a", 1),
        (What.TROUBLE, "", 0),
        (What.SETTLED, "a", 1),
        (What.SETTLED, "a", 1),
    ]
    assert [event.detail for event in events[2:]] == ["done ack", "already ack"]
    assert events[0].attempt == 1


def test_around_a_transactional_broker_a_recording_one_is_transactional_too(tmp_path: Path):
    with Recorder(tmp_path / "h") as recorder:
        assert isinstance(RecordingBroker(Transactional(), recorder), TransactionalBroker)


def test_a_settlement_that_was_told_twice_was_made_once(tmp_path: Path):
    assert commits_told(recorded(tmp_path, one_delivery)) == [Commit("a", 1)]


def test_the_truth_is_what_broker_and_backend_hold():
    async def main():
        broker, backend = InMemoryBroker(name := fresh_name()), InMemoryResultBackend(name)
        messages = [Message(id=id, queue="q", task="t", body=b"{}") for id in "ab"]
        await broker.publish(messages)
        [delivery] = await broker.fetch(["q"], limit=1, wait_ms=0, worker="w")
        record = Record(id="a", state=State.SUCCEEDED, fence=delivery.receipt.fence)
        await broker.settle([Settlement(receipt=delivery.receipt, record=record)])
        return await truth_of({"a", "b", "c"}, lookup=broker.lookup, load=backend.load)

    truth = asyncio.run(main())
    assert (truth.records, truth.located) == ({"a": ("succeeded", 1)}, {"b"})
