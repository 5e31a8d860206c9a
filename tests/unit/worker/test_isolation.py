"""What a worker and its children say to each other, and what follows from a death."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.worker.given import NOW_MS, a_delivery, a_message, a_run, an_envelope
from unit.worker.stores import FaultyBroker, a_name

from stem_core.contracts.messages import ReleaseWhy
from stem_core.embedded.memory.store import MemoryStore
from stem_core.model.outcome import Reason, TaskError
from stem_core.worker.admission import admit
from stem_core.worker.isolation.lapses import Epitaphs, Lapses, pause_ms
from stem_core.worker.isolation.link import Link
from stem_core.worker.isolation.process import told_end
from stem_core.worker.isolation.wire import (
    End,
    Ended,
    Frames,
    Line,
    Progressed,
    Published,
    Ready,
    Start,
    Stillborn,
    Stop,
    TellSoft,
    pack,
)
from stem_core.worker.outcomes import (
    Discarded,
    Failed,
    Handed,
    Outcome,
    Refused,
    Returned,
    Stopped,
)

TOLD = TaskError(type="shop.Broken", message="why ☃", traceback="…", attempt=2, at_ms=NOW_MS)
OUTCOMES: list[Outcome] = [
    Returned(None),
    Returned(b'{"a":1}'),
    Failed(error=TOLD, error_names=("shop.Broken", "builtins.Exception"), asked_after_ms=5),
    Failed(error=TOLD, error_names=(), timed_out=True),
    Discarded("nothing to do"),
    Refused(reason=Reason.ARGUMENTS_MISMATCH, error=TOLD),
    Handed(ReleaseWhy.SNOOZE, 500, "later"),
    Stopped("no longer wanted"),
]
DELIVERY = a_delivery(message=a_message(body=b"\0\xff"), inputs={"a": b"1"}, errors=(TOLD,))
FRAMES = [
    Start(serial=1, delivery=DELIVERY, started_ms=NOW_MS),
    TellSoft(7),
    End(7, "CANCEL", "why"),
    Stop(),
    Ready(frozenset({"a", "b"})),
    Stillborn("no such module"),
    Line(
        name="shop",
        level=30,
        message="hello",
        created=1.5,
        pathname="shop.py",
        lineno=3,
        function="f",
        thread="MainThread",
        trace=None,
    ),
    Progressed(b"5"),
    Published(a_message()),
    *[Ended.of(outcome, follow_ups=(a_message(),), rss=5) for outcome in OUTCOMES],
]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_outcome_crosses_as_it_is(outcome):
    [frame] = Frames().feed(pack(Ended.of(outcome, is_completed=True)))
    assert isinstance(frame, Ended)
    assert frame.read() == outcome
    assert frame.is_completed


@given(st.data())
def test_frames_come_out_whole_however_the_bytes_come_in(data):
    said = data.draw(st.lists(st.sampled_from(FRAMES), max_size=5))
    came = b"".join(map(pack, said))
    frames, heard = Frames(), list[object]()
    while came:
        count = data.draw(st.integers(1, len(came)))
        heard += frames.feed(came[:count])
        came = came[count:]
    assert heard == said


def test_a_signal_never_cuts_a_frame_in_two():
    """A task that is struck by its soft limit while it logs: the limit waits for the frame."""
    ours, theirs = socket.socketpair()
    link = Link(theirs)
    frame = Progressed(b"x" * 4_000_000)
    heard: list[object] = []

    def hear() -> None:
        frames = Frames()
        while not heard:
            heard.extend(frames.feed(ours.recv(4096)))
            if not struck.is_set():
                struck.set()
                signal.pthread_kill(main, signal.SIGUSR2)

    struck, main = threading.Event(), threading.get_ident()
    before = signal.signal(signal.SIGUSR2, lambda *_: link.strike(TimeoutError("over")))
    hearing = threading.Thread(target=hear)
    hearing.start()
    try:
        with pytest.raises(TimeoutError):
            link.send(frame)
        hearing.join(10)
    finally:
        signal.signal(signal.SIGUSR2, before)
        ours.close()
        theirs.close()
    assert heard == [frame]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (0, "exit code 0"),
        (1, "exit code 1"),
        (-9, "SIGKILL"),
        (-11, "SIGSEGV"),
        (-6, "SIGABRT"),
        (-99, "signal 99"),
        (None, "ended"),
    ],
)
def test_a_death_is_told_by_its_exit_code(code, says):
    assert says in told_end(code)
    assert ("memory" in told_end(code)) is (code == -9)


def test_a_lapse_comes_later_each_time_and_never_later_than_by_itself():
    assert [pause_ms(lapses, 30_000) for lapses in range(8)] == [
        500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000,
    ]  # fmt: skip
    assert pause_ms(0, 300) == 300
    assert pause_ms(10_000, 30_000) == 30_000


@pytest.fixture
def name():
    made = a_name()
    yield made
    MemoryStore.forget(made, "stem")


@pytest.mark.parametrize("is_away", [False, True])
def test_a_lease_that_is_let_go_of_is_renewed_no_more_and_lapses_soon(name, is_away):
    dropped: list[object] = []

    async def main() -> int:
        broker = FaultyBroker(name)
        await broker.publish([a_message(lease_ms=60_000)])
        [delivery] = await broker.fetch(["default"], limit=1, wait_ms=0, worker="w")
        broker.before["extend"] = int(is_away)
        run = a_run(delivery=delivery)
        await Lapses(broker, dropped.append).hasten(run)
        assert dropped == [run]
        [located] = await broker.lookup(["id-1"])
        assert located is not None
        assert located.lapses == 0  # nobody but the broker counts one
        return located.lease_ms

    left_ms = asyncio.run(main())
    assert left_ms > 50_000 if is_away else left_ms <= 500


def test_the_last_deaths_are_remembered_and_poison_tells_of_them():
    epitaphs = Epitaphs()
    for number in range(1_200):
        epitaphs.keep(f"id-{number}", "its process was killed by signal 11 (SIGSEGV)")
    assert epitaphs.of("id-0") == ""
    delivery = a_delivery(lapses=5)
    told = admit(delivery, an_envelope(), now_ms=NOW_MS, epitaph=epitaphs.of("id-1199"))
    assert isinstance(told, Refused)
    assert told.error is not None
    assert told.reason is Reason.POISON
    assert told.error.message.endswith(
        "The last time its process was killed by signal 11 (SIGSEGV)"
    )
