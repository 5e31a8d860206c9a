"""`stem worker --http`: what probes and Prometheus are told by real workers, and what does
not harm them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from services.redis import RedisServer

DEADLINE_S = 60

APP = """
import asyncio, logging, os, pathlib, time
from stem_core import Discard, Stem

stem = Stem()
log = logging.getLogger("shop")

@stem.task(name="quick")
async def quick(word: str = "") -> None:
    log.info("a line of a coroutine")

@stem.task(name="threaded")
def threaded() -> None:
    log.info("a line of a thread")

@stem.task(name="bad", max_retries=0)
async def bad(word: str) -> None:
    raise ValueError(word)

@stem.task(name="void")
async def void() -> None:
    raise Discard("nothing to do")

@stem.task(name="waits_for")
async def waits_for(path: str) -> None:
    while not pathlib.Path(path).exists():
        await asyncio.sleep(0.01)

@stem.task(name="holds_up")
async def holds_up(path: str) -> None:
    while not pathlib.Path(path).exists():
        time.sleep(0.01)
"""


class Running:
    """A worker, what it logs, and what it answers."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.lines: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._is_over = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(json.loads(line) if line.startswith("{") else {"said": line})
                self._news.notify_all()
        with self._news:
            self._is_over = True
            self._news.notify_all()

    def wait_for(self, event: str, times: int = 1, **facts: Any) -> dict[str, Any]:
        """Return the log's entry of *event*, once it came *times* times."""

        def found() -> list[dict[str, Any]]:
            wanted = {"event": event, **facts}
            return [line for line in self.lines if wanted.items() <= line.items()]

        with self._news:
            self._news.wait_for(lambda: len(found()) >= times or self._is_over, DEADLINE_S)
            assert len(found()) >= times, f"no {event} in {self.lines}"
            return found()[-1]

    def kill(self) -> None:
        """Kill it, and what it has started; return when nobody can write to its log."""
        self.process.kill()
        for line in list(self.lines):
            if line.get("event") == "process-started":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(line["pid"], signal.SIGKILL)
        self._reader.join(DEADLINE_S)

    @property
    def port(self) -> int:
        return int(self.wait_for("worker-listens")["url"].rpartition(":")[2])

    def get(self, path: str, timeout_s: float = DEADLINE_S) -> tuple[int, str]:
        """Return the status and the body of the page *path*."""
        asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        with contextlib.closing(asked):
            asked.request("GET", path)
            answer = asked.getresponse()
            return answer.status, answer.read().decode()

    def ready(self) -> tuple[int, dict[str, Any]]:
        status, body = self.get("/readyz")
        return status, json.loads(body)

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Return the numbers of the page by the name and the values of the labels."""
        status, page = self.get("/metrics")
        assert status == 200
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def enqueue(self, task: str, count: int = 1, **arguments: Any) -> None:
        """Send *count* calls from another process, as an application does."""
        program = "import json, sys; from shop import stem\n" + (
            "for _ in range(int(sys.argv[2])):\n"
            "    stem.blocking.enqueue(sys.argv[1], json.loads(sys.argv[3]))\n"
        )
        subprocess.run(
            [sys.executable, "-c", program, task, str(count), json.dumps(arguments)],
            cwd=self.folder, env=self.env, check=True, timeout=DEADLINE_S,
        )  # fmt: skip

    env: dict[str, str]


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
    return {**kept, "STEM_BROKER_URL": f"sqlite:///{folder}/tasks.db", **more}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


@contextmanager
def worker(shop: Path, *arguments: str, **more: str) -> Iterator[Running]:
    """Run a worker that answers at a free port; it is gone at the end, whatever happens."""
    env = environment(shop, **more)
    with subprocess.Popen(
        [sys.executable, "-m", "stem_core", "worker", "shop", "--http", "0", *arguments],
        cwd=shop, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        running = Running(process, shop)
        running.env = env
        try:
            yield running
        finally:
            running.kill()


def eventually(is_so: Callable[[], bool]) -> None:
    """Return when *is_so*, which others bring about."""
    until = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < until, "in vain"
        time.sleep(0.01)


def done(running: Running, task: str, outcome: str = "succeeded") -> float:
    return running.metrics().get(("stem_tasks_total", task, "default", outcome), 0)


# ── what is told ─────────────────────────────────────────────────────────────


def test_a_worker_says_that_it_lives_and_takes_work(shop: Path) -> None:
    with worker(shop) as running:
        running.wait_for("worker-started")
        assert running.get("/livez") == (200, "ok\n")
        assert running.ready() == (200, {"ready": True})


def test_prometheus_is_told_what_became_of_tasks_and_how_long_it_took(shop: Path) -> None:
    with worker(shop, "-c", "7") as running:
        running.enqueue("quick", 3)
        running.enqueue("void")
        running.enqueue("bad", word="x")
        eventually(lambda: done(running, "bad", "failed") == 1)
        eventually(lambda: done(running, "quick") == 3)
        eventually(lambda: done(running, "void", "discarded") == 1)
        found = running.metrics()
        assert found["stem_dead_letters_total", "default", "max-retries-exhausted"] == 1
        assert found["stem_task_run_seconds_count", "quick"] == 3
        assert found["stem_task_wait_seconds_count", "default"] == 5
        assert (found["stem_worker_busy_slots",], found["stem_worker_slots",]) == (0, 7)
        assert (found["stem_worker_ready",], found["stem_worker_processes",]) == (1, 1)
        started_s = found["process_start_time_seconds",]
        assert 0 <= time.time() - started_s < DEADLINE_S


def test_prometheus_is_told_what_waits(shop: Path) -> None:
    with worker(shop, "-c", "1") as running:
        path = str(shop / "go")
        running.enqueue("waits_for", 5, path=path)
        # Asked for every few seconds at most, so the first answer may be of before; and a store
        # that is slow to answer is left out.
        depth = ("stem_queue_depth", "default")
        eventually(lambda: running.metrics().get((*depth, "ready")) == 4)
        eventually(lambda: running.metrics().get((*depth, "leased")) == 1)
        eventually(lambda: running.metrics().get(("stem_queue_oldest_seconds", "default"), 0) > 0)
        assert running.metrics()["stem_worker_busy_slots",] == 1
        assert running.ready()[0] == 200  # it is full, and need not poll
        (shop / "go").touch()


def test_leases_that_are_renewed_are_counted(shop: Path) -> None:
    with worker(shop, STEM_DEFAULT_VISIBILITY_TIMEOUT="1s") as running:
        running.enqueue("waits_for", path=str(shop / "go"))
        eventually(lambda: running.metrics()["stem_lease_renewals_total",] >= 2)
        (shop / "go").touch()


def test_a_worker_that_drains_lives_and_is_not_ready(shop: Path) -> None:
    with worker(shop) as running:
        running.enqueue("waits_for", path=str(shop / "go"))
        eventually(lambda: running.metrics()["stem_worker_busy_slots",] == 1)
        running.process.terminate()
        running.wait_for("worker-draining")
        assert running.ready() == (503, {"ready": False, "reason": "it drains"})
        assert running.get("/livez")[0] == 200
        (shop / "go").touch()
        assert running.process.wait(DEADLINE_S) == 0
        with pytest.raises(ConnectionError):
            running.get("/livez")


def lives(running: Running) -> bool:
    """Return what a probe finds that has little patience."""
    try:
        return running.get("/livez", timeout_s=0.5)[0] == 200
    except TimeoutError:
        return False


def test_a_worker_whose_loop_a_task_holds_up_does_not_say_that_it_lives(shop: Path) -> None:
    with worker(shop) as running:
        running.wait_for("worker-started")
        running.enqueue("holds_up", path=str(shop / "go"))
        # A task that has begun leaves the loop no turn until its file is there.
        eventually(lambda: not lives(running))
        (shop / "go").touch()
        eventually(lambda: lives(running))


def test_a_broker_that_goes_and_comes_back_is_seen(shop: Path) -> None:
    with (
        RedisServer(config={"requirepass": "hunter2"}, durable=True) as server,
        worker(shop, STEM_BROKER_URL=server.url) as running,
    ):
        running.wait_for("worker-started")
        assert running.ready()[0] == 200
        server.kill()
        running.wait_for("broker-lost")
        status, answer = running.ready()
        assert (status, answer["reason"]) == (503, "the broker is away: reconnect")
        found = running.metrics()
        assert found["stem_store_errors_total", "fetch", "reconnect"] >= 1
        assert not [key for key in found if key[0] == "stem_queue_depth"]
        server.start()
        running.wait_for("broker-back")
        assert running.ready() == (200, {"ready": True})
        assert running.metrics()["stem_reconnects_total",] == 1
        pages = "".join(running.get(path)[1] for path in ("/livez", "/readyz", "/metrics", "/"))
        assert "hunter2" not in pages


def test_no_page_tells_an_argument_or_an_error(shop: Path) -> None:
    with worker(shop) as running:
        running.enqueue("bad", word="hunter2")
        eventually(lambda: done(running, "bad", "failed") == 1)
        pages = [running.get(path)[1] for path in ("/livez", "/readyz", "/metrics", "/hunter3")]
        assert not re.search("hunter|ValueError|sqlite|tasks.db", "".join(pages))


# ── what does no harm ────────────────────────────────────────────────────────


def test_a_crowd_of_rude_clients_costs_the_worker_no_task(shop: Path) -> None:
    def rude(number: int) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", running.port), timeout=DEADLINE_S)
        with contextlib.suppress(OSError):  # it may be one too many
            client.sendall(
                (b"", b"GET /met", b"\x16\x03\x01\x02\x00" * 9, b"A" * 9_000)[number % 4]
            )
        return client

    with worker(shop) as running:
        running.wait_for("worker-started")
        crowd = [rude(number) for number in range(400)]
        running.enqueue("quick", 20)
        running.wait_for("task-succeeded", 20)
        for client in crowd:
            client.close()

        def is_served() -> bool:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return running.get("/livez")[0] == 200
            return False

        eventually(is_served)
        assert done(running, "quick") == 20
        running.process.terminate()
        assert running.process.wait(DEADLINE_S) == 0
        assert not [line for line in running.lines if "Traceback" in str(line)]


def refused(shop: Path, *arguments: str, **more: str) -> tuple[int, str]:
    """Run a worker that cannot start; return its exit code and what it said."""
    run = subprocess.run(
        [sys.executable, "-m", "stem_core", "worker", "shop", *arguments],
        cwd=shop, env=environment(shop, **more), capture_output=True, text=True,
        timeout=DEADLINE_S,
    )  # fmt: skip
    assert "Traceback" not in run.stderr
    return run.returncode, run.stderr


@pytest.mark.parametrize("text", ["abc", "70000", "http://x:1", "::1:80"])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_what_is_no_address_is_one_clear_error(shop: Path, text: str, processes: str) -> None:
    code, said = refused(shop, "--http", text, "--processes", processes)
    assert (code, said.count("expected a port, or host:port")) == (2, 1)
    code, said = refused(shop, "--processes", processes, STEM_WORKER_HTTP=text)
    assert code == 4
    assert f"STEM_WORKER_HTTP='{text}': expected a port" in said


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_address_that_is_taken_is_one_clear_error(shop: Path, processes: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        code, said = refused(shop, "--http", at, "--processes", processes)
    assert code == 4
    assert said.count(f"the worker cannot answer at {at}") == 1


def test_a_host_that_is_not_here_is_one_clear_error(shop: Path) -> None:
    code, said = refused(shop, "--http", "192.0.2.1:8080")  # an address for documents alone
    assert code == 4
    assert "the worker cannot answer at 192.0.2.1:8080" in said


# ── several processes ────────────────────────────────────────────────────────
#
# One that is slow to answer its supervisor is left out of an answer, so it is asked again.


BOTH_TAKE_WORK = (200, {"ready": True, "takes_work": 2, "processes": 2})


def eventually_metrics(running: Running, **wanted: float) -> None:
    """Return when all of *wanted*, names without labels, have their values."""
    names = {(name,): value for name, value in wanted.items()}
    eventually(lambda: names.items() <= running.metrics().items())


def test_a_supervisor_gives_one_answer_for_all_of_its_processes(shop: Path) -> None:
    with worker(shop, "--processes", "2", "-c", "3") as running:
        running.wait_for("process-ready", 2)
        eventually(lambda: running.ready() == BOTH_TAKE_WORK)
        running.enqueue("quick", 40)
        eventually(lambda: done(running, "quick") == 40)
        eventually_metrics(running, stem_worker_slots=6, stem_worker_processes=2)
        eventually(lambda: running.metrics().get(("stem_queue_depth", "default", "dead")) == 0)
        eventually(lambda: running.metrics().get(("stem_task_run_seconds_count", "quick")) == 40)
        running.process.terminate()
        assert running.process.wait(DEADLINE_S) == 0


def test_what_a_killed_process_had_counted_stays_in_the_sum(shop: Path) -> None:
    with worker(shop, "--processes", "2") as running:
        running.wait_for("process-ready", 2)
        running.enqueue("quick", 40)
        eventually(lambda: done(running, "quick") == 40)
        os.kill(running.wait_for("process-ready", slot=2)["pid"], signal.SIGKILL)
        running.wait_for("process-ready", 2, slot=2)
        running.enqueue("quick", 2)
        eventually(lambda: done(running, "quick") == 42)
        eventually(lambda: running.ready() == BOTH_TAKE_WORK)


def test_a_supervisor_that_is_told_to_end_is_not_ready(shop: Path) -> None:
    with worker(shop, "--processes", "2", "-c", "1") as running:
        running.wait_for("process-ready", 2)
        running.enqueue("waits_for", 2, path=str(shop / "go"))
        eventually_metrics(running, stem_worker_busy_slots=2)
        running.process.terminate()
        running.wait_for("worker-draining", 2)

        def drains() -> bool:
            status, answer = running.ready()
            return (status, answer.get("reason"), answer["takes_work"]) == (503, "it drains", 0)

        eventually(drains)
        (shop / "go").touch()
        assert running.process.wait(DEADLINE_S) == 0


def test_a_process_that_a_task_holds_up_leaves_the_others_answering(shop: Path) -> None:
    with worker(shop, "--processes", "2", "-c", "1") as running:
        running.wait_for("process-ready", 2)
        running.enqueue("holds_up", path=str(shop / "go"))
        one = {"ready": True, "takes_work": 1, "processes": 2}
        eventually(lambda: running.ready() == (200, one))
        (shop / "go").touch()
        eventually(lambda: running.ready()[1]["takes_work"] == 2)


# ── the log ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", ["quick", "threaded"])
def test_lines_that_a_task_logs_say_which_task_it_was(shop: Path, task: str) -> None:
    with worker(shop) as running:
        running.enqueue(task)
        ended = running.wait_for("task-succeeded")
        (line,) = [line for line in running.lines if line.get("logger") == "shop"]
        bound = {name: line[name] for name in ("id", "task", "q", "try")}
        assert bound == {"id": ended["id"], "task": task, "q": "default", "try": "1"}
        outside = [line for line in running.lines if line.get("event") == "worker-started"]
        assert "id" not in outside[0]
