"""`stem worker --processes N`: real processes, killed and signalled as operators and systems do.

Each process has a store in memory of its own that counts as shared, and a module that
enqueues its own tasks, so that what runs where is known.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no supervisor elsewhere")

DEADLINE_S = 60

APP = """
import asyncio, os, pathlib, signal, time
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.model.settings import StemConfig
from stem_core.model.value import replace
from stem_core.producer.client import Stem
from stem_core.producer.registry import TaskRegistry

class SharedBroker(InMemoryBroker):
    @property
    def capabilities(self):
        return replace(super().capabilities, multiprocess=True)

def say(word: str, number: int) -> None:
    os.write(1, f"{word} {number}\\n".encode())  # in one piece: others write there too

tasks = TaskRegistry()
stem = Stem(SharedBroker("processes"), backend=None)
private = Stem("memory://")
coded = Stem(SharedBroker("coded"), backend=None, config=StemConfig(worker_processes=2))

@tasks.task(name="waits_for")
async def waits_for(path: str) -> None:
    say("started", os.getpid())
    while not pathlib.Path(path).exists():
        await asyncio.sleep(0.01)
    say("finished", os.getpid())

@tasks.task(name="blocks")
async def blocks() -> None:
    say("started", os.getpid())
    time.sleep(600)

@tasks.task(name="forks")
async def forks() -> None:
    if not (pid := os.fork()):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)
    say("fork", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

for each in (stem, private, coded):
    each.include(tasks)
tasks.belong_to(stem)
"""

Line = dict[str, Any]


class Stream:
    """The lines of a stream as they come, and whether there can be any more."""

    def __init__(self, stream: IO[str]) -> None:
        self.lines: list[str] = []
        self.is_over = False
        self._stream = stream
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._stream:
            self._take(line.rstrip("\n"))
        self._take(None)

    def _take(self, line: str | None) -> None:
        with self._news:
            if line is None:
                self.is_over = True
            else:
                self.lines.append(line)
            self._news.notify_all()

    def wait_for(self, is_so: Callable[[], Any]) -> None:
        """Return when *is_so*, looked at again with each line."""
        with self._news:
            if not self._news.wait_for(is_so, DEADLINE_S):
                raise AssertionError("in vain; so far:\n" + "\n".join(self.lines))

    def wait_for_the_end(self) -> None:
        """Return when every process that could write here has ended."""
        self.wait_for(lambda: self.is_over)


class Running:
    """A supervised worker, what it logs and what its tasks print."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.out = Stream(process.stdout)
        self.err = Stream(process.stderr)

    @property
    def log(self) -> list[Line]:
        return [json.loads(line) for line in self.err.lines if line.startswith("{")]

    def events(self, name: str, **facts: Any) -> list[Line]:
        return [
            line for line in self.log if line.get("event") == name and facts.items() <= line.items()
        ]

    def pids(self, slot: int) -> list[int]:
        """Return who has taken work as *slot*, one after the other."""
        return [line["pid"] for line in self.events("process-ready", slot=slot)]

    def printed(self, word: str) -> list[int]:
        """Return the numbers that tasks have printed after *word*."""
        return [int(line.split()[1]) for line in self.out.lines if line.startswith(word)]

    def wait_for_work(self, *slots: int, times: int = 1) -> None:
        self.err.wait_for(lambda: all(len(self.pids(slot)) >= times for slot in slots))

    def wait_for_event(self, name: str, times: int = 1) -> None:
        self.err.wait_for(lambda: len(self.events(name)) >= times)

    def wait_for_tasks(self, word: str, times: int) -> None:
        self.out.wait_for(lambda: len(self.printed(word)) >= times)

    def ended(self) -> int:
        return self.process.wait(DEADLINE_S)


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
    return {**kept, **more}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    for name, task, arguments in (
        ("calm", "waits_for", {"path": str(tmp_path / "go")}),
        ("stuck", "blocks", {}),
        ("forking", "forks", {}),
    ):
        (tmp_path / f"{name}.py").write_text(
            f"from shop import stem\nstem.blocking.enqueue('{task}', {arguments!r})\n"
        )
    (tmp_path / "crash.py").write_text("import os\nos._exit(7)\n")
    return tmp_path


@contextmanager
def worker(shop: Path, *arguments: str, **more: str) -> Iterator[Running]:
    """Run a worker in *shop*, in a session of its own as from a terminal; all of it is gone
    at the end, whatever happens."""
    with subprocess.Popen(
        [sys.executable, "-m", "stem_core", "worker", *arguments],
        cwd=shop,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        running = Running(process)
        try:
            yield running
        finally:
            process.kill()
            for started in running.events("process-started"):
                if not running.events("process-ended", pid=started["pid"]):
                    _kill(started["pid"])
            running.err.wait_for_the_end()
            running.out.wait_for_the_end()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


# ── who lives ────────────────────────────────────────────────────────────────


def test_as_many_processes_as_asked_for_take_work(shop: Path) -> None:
    with worker(shop, "calm", "--processes", "3") as running:
        running.wait_for_work(1, 2, 3)
        running.wait_for_tasks("started", 3)
        pids = {*running.pids(1), *running.pids(2), *running.pids(3)}
        assert set(running.printed("started")) == pids
        assert running.process.pid not in pids


def test_the_place_of_a_killed_process_is_taken_and_the_others_go_on(shop: Path) -> None:
    with worker(shop, "calm", "--processes", "3") as running:
        running.wait_for_work(1, 2, 3)
        running.wait_for_tasks("started", 3)
        (killed,) = running.pids(2)
        os.kill(killed, signal.SIGKILL)
        running.wait_for_work(2, times=2)
        assert running.pids(2)[1] != killed
        (ended,) = running.events("process-ended")
        assert (ended["pid"], ended["exit_code"]) == (killed, -signal.SIGKILL)
        assert "SIGKILL" in ended["message"]

        running.wait_for_tasks("started", 4)
        (shop / "go").touch()
        running.wait_for_tasks("finished", 3)
        living = {*running.pids(1), running.pids(2)[1], *running.pids(3)}
        assert set(running.printed("finished")) == living
        running.process.terminate()
        assert running.ended() == 0


def test_one_that_is_told_to_end_by_others_drains_and_is_replaced(shop: Path) -> None:
    with worker(shop, "shop", "--processes", "2") as running:
        running.wait_for_work(1, 2)
        (old,) = running.pids(2)
        os.kill(old, signal.SIGTERM)
        running.wait_for_work(2, times=2)
        (ended,) = running.events("process-ended")
        assert (ended["pid"], ended["exit_code"]) == (old, 0)
        running.process.terminate()
        assert running.ended() == 0


def test_no_process_outlives_its_supervisor(shop: Path) -> None:
    with worker(shop, "calm", "--processes", "2") as running:
        running.wait_for_tasks("started", 2)
        running.wait_for_work(1, 2)
        running.process.kill()
        running.wait_for_event("worker-draining", 2)
        (shop / "go").touch()
        running.err.wait_for_the_end()
        running.out.wait_for_the_end()
        assert set(running.printed("finished")) == set(running.printed("started"))
        assert [line["exit_code"] for line in running.events("worker-stopped")] == [0, 0]


# ── being told to end ────────────────────────────────────────────────────────


def test_a_signal_drains_all_of_them(shop: Path) -> None:
    with worker(shop, "calm", "--processes", "2") as running:
        running.wait_for_tasks("started", 2)
        running.wait_for_work(1, 2)
        running.process.terminate()
        running.wait_for_event("worker-draining", 2)
        (shop / "go").touch()
        assert running.ended() == 0
        running.out.wait_for_the_end()
        assert len(running.printed("finished")) == 2


def test_a_second_signal_hands_back_at_once(shop: Path) -> None:
    with worker(shop, "calm", "--processes", "2", "--grace", "10m") as running:
        running.wait_for_tasks("started", 2)
        running.wait_for_work(1, 2)
        running.process.terminate()
        running.wait_for_event("worker-draining", 2)
        running.process.terminate()
        assert running.ended() == 75
        running.err.wait_for_the_end()
        released = running.events("task-released")
        assert [line["why"] for line in released] == ["shutdown", "shutdown"]


def test_a_third_signal_waits_for_nothing(shop: Path) -> None:
    with worker(shop, "stuck", "--processes", "2") as running:
        running.wait_for_tasks("started", 2)
        running.wait_for_work(1, 2)
        for count in (1, 2, 3):
            running.process.terminate()
            running.wait_for_event("worker-told", count)
        assert running.ended() == 70
        running.err.wait_for_the_end()
        assert len(running.events("process-killed")) == 2


def test_the_keys_of_a_terminal_reach_the_supervisor_alone(shop: Path) -> None:
    with worker(shop, "calm", "--processes", "2") as running:
        running.wait_for_tasks("started", 2)
        running.wait_for_work(1, 2)
        os.killpg(running.process.pid, signal.SIGINT)
        running.wait_for_event("worker-draining", 2)
        (shop / "go").touch()
        assert running.ended() == 0
        running.out.wait_for_the_end()
        assert len(running.printed("finished")) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_signals_all_of_them_at_once_asks_for_no_hurry(
    shop: Path, number: signal.Signals
) -> None:
    with worker(shop, "calm", "--processes", "2") as running:
        running.wait_for_tasks("started", 2)
        running.wait_for_work(1, 2)
        for pid in (running.process.pid, *running.pids(1), *running.pids(2)):
            os.kill(pid, number)  # as a service manager does
        running.wait_for_event("worker-told")
        running.wait_for_event("worker-draining", 2)
        (shop / "go").touch()
        assert running.ended() == 0
        running.out.wait_for_the_end()
        assert len(running.printed("finished")) == 2


def test_a_signal_for_what_a_task_has_forked_is_not_for_the_worker(shop: Path) -> None:
    with worker(shop, "forking", "--processes", "2") as running:
        running.wait_for_tasks("fork", 2)
        assert running.printed("fork") == [-signal.SIGTERM, -signal.SIGTERM]
        assert not running.events("worker-draining")


# ── who cannot start ─────────────────────────────────────────────────────────


def test_a_store_that_cannot_be_shared_is_one_clear_error(shop: Path) -> None:
    with worker(shop, "shop:private", "--processes", "3") as running:
        assert running.ended() == 4
        running.err.wait_for_the_end()
        said = "\n".join(running.err.lines)
        assert said.count("Error: ") == 1
        assert "several processes cannot share the broker memory://" in said
        assert "STEM_BROKER_URL=sqlite:///tasks.db" in said
        assert len(running.events("process-started")) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "answer"),
    [
        (["shop:stm"], 4, "Did you mean 'stem'?"),
        ([], 2, "Missing argument APP"),
        (["shop", "--threads", "no"], 2, "--threads"),
        (["shop", "--processes", "0"], 2, "'0' is not a whole number of 1 or more"),
    ],
)
def test_a_mistake_is_told_once(shop: Path, arguments: list[str], code: int, answer: str) -> None:
    with worker(shop, "--processes", "2", *arguments) as running:
        assert running.ended() == code
        running.err.wait_for_the_end()
        said = "\n".join(running.err.lines)
        assert said.count(answer) == 1
        assert "Traceback" not in said


def test_who_never_comes_up_is_given_up(shop: Path) -> None:
    with worker(shop, "crash", "--processes", "2") as running:
        assert running.ended() == 69
        running.err.wait_for_the_end()
        assert [line["exit_code"] for line in running.events("process-ended")] == [7] * 5
        (told,) = running.events("worker-gave-up")
        assert told["level"] == "critical"
        assert "exit code 7" in told["message"]


# ── what is said, and who says how many ──────────────────────────────────────


def test_each_process_has_a_name_of_its_own(shop: Path) -> None:
    with worker(shop, "shop", "--processes", "2", STEM_WORKER_NAME="alice") as running:
        running.wait_for_event("worker-started", 2)
        names = {line["message"].split()[-1] for line in running.events("worker-started")}
        assert names == {"alice-1", "alice-2"}


def test_people_are_told_once_what_has_started(shop: Path) -> None:
    more = ("--name", "alice", "-c", "7", "--log-format", "text")
    with worker(shop, "shop", "--processes", "2", *more) as running:
        running.err.wait_for(lambda: sum("takes work" in line for line in running.err.lines) == 2)
        running.process.terminate()
        assert running.ended() == 0
        said = "\n".join(running.err.lines)
        for fact in ("default × 7 at a time × 2 processes", "alice-1 to alice-2", "Ctrl-C drains"):
            assert said.count(fact) == 1
        assert f"supervised by pid {running.process.pid}" in said


def test_an_application_can_say_how_many(shop: Path) -> None:
    with worker(shop, "shop:coded") as running:
        running.wait_for_work(1, 2)
        assert running.process.pid not in (*running.pids(1), *running.pids(2))
        running.process.terminate()
        assert running.ended() == 0


def test_an_option_wins_over_the_application(shop: Path) -> None:
    with worker(shop, "shop:coded", "--processes", "1") as running:
        running.wait_for_event("worker-started")
        running.process.terminate()
        assert running.ended() == 0
        running.err.wait_for_the_end()
        assert not running.events("process-started")
