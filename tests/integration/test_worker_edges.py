"""Workers at their edges, as real processes: a loop that a task blocks, a thread that hangs, a
broker that stays away, a process that has done enough, an editor, a service manager."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.test_cli_processes import worker
from services.redis import RedisServer

from stem_core import Stem, TaskOptions
from stem_core.contracts.messages import Located
from stem_core.model.outcome import State

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no supervisor elsewhere")

APP = """
import asyncio, os, pathlib, time
from stem_core import Stem, TaskContext

stem = Stem()

def say(word: str, number: int) -> None:
    os.write(1, f"{word} {number}\\n".encode())

@stem.task(name="blocks")
async def blocks(path: str) -> str:
    if pathlib.Path(path).exists():
        return "went on"
    pathlib.Path(path).touch()
    say("blocked", os.getpid())
    stands_still()

def stands_still() -> None:
    while True:
        time.sleep(0.05)

@stem.task(name="limited", hard_time_limit="1s", max_retries=0)
async def limited() -> None:
    say("blocked", os.getpid())
    stands_still()

@stem.task(name="waits_for")
async def waits_for(path: str) -> None:
    say("started", os.getpid())
    while not pathlib.Path(path).exists():
        await asyncio.sleep(0.01)

@stem.task(name="waits_in_thread")
def waits_in_thread(path: str) -> None:
    say("started", os.getpid())
    while not pathlib.Path(path).exists():
        time.sleep(0.01)

@stem.task(name="hangs")
def hangs(path: str) -> str:
    if pathlib.Path(path).exists():
        return "went on"
    pathlib.Path(path).touch()
    say("hangs", os.getpid())
    time.sleep(600)

@stem.task(name="who")
async def who() -> int:
    await asyncio.sleep(0.005)
    return os.getpid()

eaten = []

@stem.task(name="eats")
async def eats() -> int:
    eaten.append(os.urandom(40 << 20))
    return os.getpid()
"""

SUPERVISED = ("--processes", "1", "--max-tasks", "1000000")
"""One process and somebody who starts another one in its place."""


class Place:
    """A folder with an application, and the store that it works on."""

    def __init__(self, folder: Path, url: str, namespace: str) -> None:
        self.folder = folder
        self.variables = {"STEM_BROKER_URL": url, "STEM_NAMESPACE": namespace}

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def worker(self, *arguments: str, **variables: str) -> Any:
        return worker(self.folder, "shop", *arguments, **self.variables, **variables)

    def ask(self, question: Any) -> Any:
        """Return what *question* returns of a Stem on this store."""

        async def asked() -> Any:
            stem = Stem(
                self.variables["STEM_BROKER_URL"], namespace=self.variables["STEM_NAMESPACE"]
            )
            async with stem, asyncio.timeout(60):
                return await question(stem)

        return asyncio.run(asked())

    def enqueue(self, name: str, count: int = 1, *, lease: str = "30s", **args: Any) -> list[str]:
        options = TaskOptions(visibility_timeout=lease)

        async def sent(stem: Stem) -> list[str]:
            return [await stem.enqueue(name, args, options=options) for _ in range(count)]

        return self.ask(sent)

    def located(self, ids: list[str]) -> list[Located]:
        async def found(stem: Stem) -> list[Located]:
            where = await (await stem.lane()).broker.lookup(ids)
            return [each for each in where if each is not None]

        return self.ask(found)

    def results(self, ids: list[str]) -> list[Any]:
        async def read(stem: Stem) -> list[Any]:
            return [await stem.result(id, timeout=60) for id in ids]

        return self.ask(read)


def place_on(url: str, folder: Path) -> Place:
    (folder / "shop.py").write_text(APP)
    return Place(folder, url, f"edge{os.getpid()}{time.monotonic_ns()}")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_on(f"sqlite:///{tmp_path}/tasks.db", tmp_path)


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def each_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """On each store that processes can share."""
    if request.param == "sqlite":
        return place_on(f"sqlite:///{tmp_path}/tasks.db", tmp_path)
    server = request.getfixturevalue(f"{request.param}_server")
    if request.param == "postgres":
        migrate = [sys.executable, "-m", "stem_core", "migrate", "up", server.url]
        subprocess.run(migrate, check=True, stdout=subprocess.DEVNULL)
    return place_on(server.url, tmp_path)


def counted(located: list[Located]) -> list[tuple[int, int, int]]:
    """Return what it has cost: attempts that failed, lapses, and how often it was handed back."""
    return [(each.attempt, each.lapses, each.releases) for each in located]


# ── a task that blocks the loop ──────────────────────────────────────────────


def test_a_task_that_blocks_the_loop_is_named_and_costs_its_neighbours_nothing(
    each_place: Place,
) -> None:
    place = each_place
    neighbours = place.enqueue("waits_for", 3, path=place.path("go"))
    neighbours += place.enqueue("waits_in_thread", path=place.path("go"))
    with place.worker(STEM_WORKER_STALL_LIMIT="2s") as running:
        running.wait_for_tasks("started", 4)
        (culprit,) = place.enqueue("blocks", lease="2s", path=place.path("blocked"))
        assert running.ended() == 70
        running.err.wait_for_the_end()
        told = running.events("loop-blocked")
        assert {line["task"] for line in told} == {"blocks"}
        assert "stands_still" in told[0]["traceback"]
        assert f"blocks ({culprit})" in told[0]["message"]
        assert running.events("worker-stalled")

    assert counted(place.located(neighbours)) == [(0, 0, 1)] * 4
    (place.folder / "go").touch()
    with place.worker() as other:
        other.wait_for_event("worker-started")
        place.results([*neighbours, culprit])
        assert place.results([culprit]) == ["went on"]


def test_its_supervisor_starts_another_one_that_goes_on(place: Place) -> None:
    with place.worker(*SUPERVISED, STEM_WORKER_STALL_LIMIT="2s") as running:
        running.wait_for_work(1)
        ids = place.enqueue("waits_for", path=place.path("go"))
        running.wait_for_tasks("started", 1)
        ids += place.enqueue("blocks", lease="2s", path=place.path("blocked"))
        running.wait_for_work(1, times=2)
        (ended,) = running.events("process-ended")
        assert ended["exit_code"] == 70
        (place.folder / "go").touch()
        assert place.results(ids) == [None, "went on"]


def test_a_hard_limit_fails_a_task_that_blocks_the_loop_and_does_not_wait_for_more(
    place: Place,
) -> None:
    with place.worker() as running:
        running.wait_for_event("worker-started")
        (id,) = place.enqueue("limited")
        assert running.ended() == 70  # with a stall limit of ten minutes

    async def status(stem: Stem) -> Any:
        return await stem.status(id)

    ended = place.ask(status)
    assert (ended.state, ended.reason) == (State.DEAD, "timed-out")


def test_a_worker_that_is_told_to_end_does_not_wait_for_its_loop_for_ever(place: Place) -> None:
    ids = place.enqueue("waits_for", 2, path=place.path("go"))
    with place.worker("--grace", "1s") as running:
        running.wait_for_tasks("started", 2)
        place.enqueue("blocks", lease="2s", path=place.path("blocked"))
        running.wait_for_tasks("blocked", 1)
        running.process.terminate()
        assert running.ended() == 70
    assert counted(place.located(ids)) == [(0, 0, 1)] * 2


def test_a_third_signal_ends_a_process_whose_loop_is_blocked(place: Place) -> None:
    with place.worker("--grace", "10m") as running:
        running.wait_for_event("worker-started")
        place.enqueue("blocks", lease="2s", path=place.path("blocked"))
        running.wait_for_tasks("blocked", 1)
        until_s = time.monotonic() + 60
        while running.process.poll() is None and time.monotonic() < until_s:
            running.process.send_signal(signal.SIGINT)
            time.sleep(0.3)  # signals of one kind that come together are one
        assert running.ended() == 70


def test_a_process_that_stood_still_itself_blames_no_task(place: Place) -> None:
    (id,) = place.enqueue("waits_for", path=place.path("go"))
    with place.worker(STEM_WORKER_STALL_LIMIT="2s") as running:
        running.wait_for_tasks("started", 1)
        os.kill(running.process.pid, signal.SIGSTOP)
        time.sleep(3)
        os.kill(running.process.pid, signal.SIGCONT)
        (place.folder / "go").touch()
        place.results([id])
        assert not running.events("loop-blocked")
        running.process.terminate()
        assert running.ended() == 0


# ── a thread that hangs ──────────────────────────────────────────────────────


def test_a_thread_that_hangs_ends_its_worker_and_no_lease_is_renewed_for_ever(
    place: Place,
) -> None:
    neighbours = place.enqueue("waits_for", 2, path=place.path("go"))
    ids = place.enqueue("hangs", lease="1s", path=place.path("hung"))
    limits = {"STEM_WORKER_MAX_RUN": "1s", "STEM_WORKER_GRACE": "0s"}
    with place.worker(**limits) as running:
        running.wait_for_tasks("started", 2)
        assert running.ended() == 70
        running.err.wait_for_the_end()
        stuck = [line for line in running.log if "does not; this worker" in line["message"]]
        assert "time.sleep(600)" in stuck[0]["traceback"]
    assert [each.lapses for each in place.located(neighbours)] == [0, 0]
    (place.folder / "go").touch()
    with place.worker() as other:
        other.wait_for_event("worker-started")
        assert place.results(ids) == ["went on"]


# ── being handed back ────────────────────────────────────────────────────────


def test_what_is_handed_back_goes_on_elsewhere_before_its_lease_is_over_and_has_cost_nothing(
    each_place: Place,
) -> None:
    place = each_place
    ids = place.enqueue("waits_for", 5, path=place.path("go"))
    with place.worker("--grace", "0s") as first:
        first.wait_for_tasks("started", 5)
        with place.worker() as second:
            second.wait_for_event("worker-started")
            began_s = time.monotonic()
            first.process.terminate()
            second.wait_for_tasks("started", 5)
            took_s = time.monotonic() - began_s
            assert first.ended() == 75
            assert counted(place.located(ids)) == [(1, 0, 1)] * 5  # the attempt that runs
            (place.folder / "go").touch()
            place.results(ids)
    assert took_s < 15  # the lease is 30 s; row A5 of the chaos tests measures how soon


# ── a broker that stays away ─────────────────────────────────────────────────


def test_a_worker_that_cannot_poll_for_too_long_says_so_and_ends(tmp_path: Path) -> None:
    with RedisServer() as server:
        place = place_on(server.url, tmp_path)
        with place.worker(STEM_WORKER_POLL_LIMIT="2s") as running:
            running.wait_for_event("worker-started")
            server.kill()
            assert running.ended() == 5
            running.err.wait_for_the_end()
            assert running.events("broker-lost")
            assert running.events("worker-cut-off")


def test_its_supervisor_waits_for_the_broker_and_goes_on(tmp_path: Path) -> None:
    with RedisServer(durable=True) as server:
        place = place_on(server.url, tmp_path)
        with place.worker(*SUPERVISED, STEM_WORKER_POLL_LIMIT="1s") as running:
            running.wait_for_work(1)
            server.kill()
            running.wait_for_event("process-ended")
            server.start()
            running.wait_for_work(1, times=2)
            assert place.results(place.enqueue("who")) == [running.pids(1)[1]]


# ── processes that have done enough ──────────────────────────────────────────


def test_a_process_that_has_done_its_tasks_is_replaced_at_once_and_nothing_is_lost(
    place: Place,
) -> None:
    ids = place.enqueue("who", 60)
    with place.worker("--max-tasks", "20", "-c", "2") as running:
        done_by = place.results(ids)
        running.wait_for_work(1, times=3)
        pids = running.pids(1)
        assert set(done_by) <= set(pids)
        assert len(set(done_by)) >= 3
        assert max(done_by.count(pid) for pid in pids) <= 22  # and what was running with it
        assert not running.events("process-waits")  # no pause
        running.process.terminate()
        assert running.ended() == 0


def test_a_process_that_has_grown_too_large_is_replaced(place: Place) -> None:
    with place.worker("--max-rss", "400M", "-c", "1") as running:
        running.wait_for_work(1)
        eaters: list[int] = []
        deadline_s = time.monotonic() + 60
        while len(set(eaters)) < 2 and time.monotonic() < deadline_s:
            eaters += place.results(place.enqueue("eats"))
        assert len(set(eaters)) == 2
        (full, *_) = running.events("process-full")
        assert "of memory" in full["message"]


def test_the_limits_can_be_settings_of_one_process(place: Place) -> None:
    ids = place.enqueue("who", 30)
    with place.worker("-c", "2", STEM_WORKER_MAX_TASKS="10"):
        assert len(set(place.results(ids))) >= 3


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--max-rss", "1M"], 4, "before its first task"),
        (["--max-rss", "lots"], 2, "such as 512M or 2G"),
        (["--max-tasks", "0"], 2, "of 1 or more"),
    ],
)
def test_a_limit_that_nobody_can_keep_is_refused(
    place: Place, arguments: list[str], code: int, says: str
) -> None:
    with place.worker(*arguments) as running:
        assert running.ended() == code
        running.err.wait_for_the_end()
        assert says in "\n".join(running.err.lines)


# ── an editor ────────────────────────────────────────────────────────────────

EDITED = """
from stem_core import Stem
stem = Stem()

@stem.task(name="answer")
async def answer() -> int:
    return {answer}
"""


def test_an_edited_file_is_in_effect_and_a_broken_one_is_waited_for(place: Place) -> None:
    # Each version is longer than the one before: Python takes compiled code for that of a
    # source of the same size and second.
    source = place.folder / "edited.py"
    source.write_text(EDITED.format(answer=1))
    with worker(place.folder, "edited", "--reload", **place.variables) as running:
        running.wait_for_work(1)
        assert place.results(place.enqueue("answer")) == [1]

        source.write_text(EDITED.format(answer=22))
        running.wait_for_work(1, times=2)
        assert place.results(place.enqueue("answer")) == [22]

        source.write_text("this is no Python")
        running.wait_for_event("process-waits")
        source.write_text(EDITED.format(answer=333))
        running.wait_for_work(1, times=3)
        assert place.results(place.enqueue("answer")) == [333]
        assert {line["message"].split()[0] for line in running.events("worker-reloads")} == {
            "edited.py"
        }
        running.process.terminate()
        assert running.ended() == 0


def test_without_its_library_a_reload_is_one_clear_error(place: Place) -> None:
    (place.folder / "watchfiles.py").write_text("raise ModuleNotFoundError(name='watchfiles')")
    with place.worker("--reload", PYTHONPATH=str(place.folder)) as running:
        assert running.ended() == 4
        running.err.wait_for_the_end()
        assert "pip install 'stem-core[reload]'" in "\n".join(running.err.lines)


# ── a service manager ────────────────────────────────────────────────────────


class Manager:
    """What systemd is to a service: a socket that hears of it."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self._ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ear.bind(self.path)
        self._ear.settimeout(60)

    def heard(self) -> list[str]:
        """Return the lines of the next message."""
        return self._ear.recv(4096).decode().splitlines()

    def wait_for(self, line: str) -> None:
        while line not in self.heard():
            pass

    def hears_within(self, line: str, seconds: float) -> bool:
        """Say whether *line* comes, of what comes from now on."""
        self._ear.setblocking(False)
        try:
            while True:
                self._ear.recv(4096)
        except BlockingIOError:
            pass
        deadline_s = time.monotonic() + seconds
        try:
            while (left_s := deadline_s - time.monotonic()) > 0:
                self._ear.settimeout(left_s)
                if line in self.heard():
                    return True
        except TimeoutError:
            pass
        finally:
            self._ear.settimeout(60)
        return False

    def close(self) -> None:
        self._ear.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.close()


@pytest.mark.parametrize("arguments", [(), ("--processes", "2")])
def test_a_service_manager_hears_of_the_start_of_polling_and_of_the_end(
    tmp_path: Path, manager: Manager, arguments: tuple[str, ...]
) -> None:
    with RedisServer(durable=True) as server:
        place = place_on(server.url, tmp_path)
        told = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "1000000"}
        with place.worker(*arguments, **told) as running:
            manager.wait_for("READY=1")
            manager.wait_for("WATCHDOG=1")
            assert manager.hears_within("WATCHDOG=1", 30)
            server.kill()
            manager.wait_for("STATUS=the broker is away: reconnect")
            # One of several processes may have polled a moment ago.
            assert any(not manager.hears_within("WATCHDOG=1", 1) for _ in range(30))
            assert not manager.hears_within("WATCHDOG=1", 2)  # it runs, and does not poll
            server.start()
            manager.wait_for("WATCHDOG=1")
            running.process.terminate()
            manager.wait_for("STOPPING=1")
            assert running.ended() == 0
