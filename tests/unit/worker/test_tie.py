"""The tie to a supervisor, held by a process of its own as it is meant to be."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stem_core.worker.exits import STUCK
from stem_core.worker.tie import ASK, ASK_ALL, HAND_BACK, Hello, read_report

HELLO = Hello(grace_ms=30_000, log_level="info", log_format="json", facts={"queues": "pay × 7"})

PROCESS = """
import asyncio, os, signal, sys, time
from stem_core.observe.families import Row
from stem_core.observe.health import Report
from stem_core.worker import tie as knot
from stem_core.worker.tie import Hello, Tie

async def report(with_queues: bool) -> Report:
    return Report(rows=[Row("stem_worker_slots", (), [7])], has_queues=with_queues)

async def main(tie: Tie, patience_ms: int, is_blocked: bool) -> None:
    told, loop = asyncio.Queue(), asyncio.get_running_loop()
    tie.attend(
        loop,
        drain=lambda: loop.call_soon_threadsafe(told.put_nowait, "drain"),
        hand_back=lambda: loop.call_soon_threadsafe(told.put_nowait, "hand back"),
        reload=lambda: told.put_nowait("reload"),
        patience_ms=patience_ms,
        report=report,
    )
    tie.say(Hello(grace_ms=30_000, log_level="info", log_format="json",
                  facts={"queues": "pay × 7"}))
    print("here", flush=True)
    if is_blocked:
        knot._PATIENCE_S = 0.1  # with a loop that answers nothing
        time.sleep(600)
    while True:
        print(await told.get(), flush=True)

fd, patience_ms, is_blocked = map(int, sys.argv[1:])
asyncio.run(main(Tie(fd, 1), patience_ms, bool(is_blocked)))
"""


class Tied:
    """A process, and the end of its tie that a supervisor holds."""

    def __init__(self, process: subprocess.Popen[str], end: socket.socket) -> None:
        self.process = process
        self.end = end

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def tied(*, patience_ms: int = 600_000, is_blocked: bool = False) -> Iterator[Tied]:
    end, theirs = socket.socketpair()
    arguments = [str(theirs.fileno()), str(patience_ms), str(int(is_blocked))]
    with end, theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, *arguments],
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        theirs.close()
        with process:
            try:
                tied = Tied(process, end)
                assert tied.line() == "here"
                yield tied
            finally:
                process.kill()


pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no supervisor elsewhere")


def test_a_hello_comes_over_as_it_was_said():
    with tied() as other:
        assert Hello.decode(other.end.recv(4096)) == HELLO


def test_a_process_hands_back_when_its_supervisor_says_so():
    with tied() as other:
        other.end.send(HAND_BACK)
        assert other.line() == "hand back"


@pytest.mark.parametrize(("word", "has_queues"), [(ASK, False), (ASK_ALL, True)])
def test_a_process_reports_when_its_supervisor_asks(word, has_queues):
    with tied() as other:
        other.end.recv(4096)
        other.end.send(word)
        with other.end.makefile("rb") as said:
            report = read_report(said.readline())
        assert (report.rows, report.has_queues) == ([("stem_worker_slots", (), [7])], has_queues)


def test_a_process_that_a_task_holds_up_stays_silent_and_drains_all_the_same():
    with tied(patience_ms=10, is_blocked=True) as other:
        other.end.send(ASK)
        other.end.close()
        assert other.process.wait(60) == STUCK


@pytest.mark.parametrize("has_read", [True, False])
def test_a_process_drains_when_its_supervisor_is_gone(has_read):
    with tied() as other:
        if has_read:
            other.end.recv(4096)
        other.end.close()
        assert other.line() == "drain"


def test_no_number_of_signals_means_more_than_one():
    with tied() as other:
        for _ in range(3):
            other.process.terminate()
            assert other.line() == "drain"


def test_what_a_blocked_process_does_not_hear_ends_it_after_its_patience():
    with tied(patience_ms=10, is_blocked=True) as other:
        other.end.close()
        assert other.process.wait(60) == STUCK
