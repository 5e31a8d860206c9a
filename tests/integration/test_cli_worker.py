"""`stem worker` as a supervisor sees it: output, signals, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

APP = """
import asyncio, pathlib, time
from stem_core.producer.client import Stem

stem = Stem(broker="memory://")
empty = Stem(broker="memory://")

@stem.task
async def quick(number: int) -> int:
    return number * number

@stem.task
async def waits_for(path: str) -> None:
    print("started", flush=True)
    while not pathlib.Path(path).exists():
        await asyncio.sleep(0.01)
    print("finished", flush=True)

@stem.task
async def clings() -> None:
    print("started", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        print("clings", flush=True)
        time.sleep(60)

@stem.task
def sleeps() -> None:
    print("started", flush=True)
    time.sleep(60)
"""


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
    return {**kept, **more}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    for name, task, arguments in (
        ("calm", "waits_for", {"path": str(tmp_path / "go")}),
        ("lazy", "sleeps", {}),
        ("clinging", "clings", {}),
    ):
        (tmp_path / f"{name}.py").write_text(
            f"from shop import stem\nstem.blocking.enqueue('shop.{task}', {arguments!r})\n"
        )
    return tmp_path


@contextmanager
def worker(shop: Path, *arguments: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """Run a worker in *shop*; it is gone at the end, whatever happens."""
    with subprocess.Popen(
        [sys.executable, "-m", "stem_core", "worker", *arguments],
        cwd=shop,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    """Return the next line that the worker's tasks print."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def wait_for_log(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    """Read the log up to *event* and return that entry."""
    assert process.stderr is not None
    for line in process.stderr:
        entry: dict[str, Any] = json.loads(line)
        if entry.get("event") == event:
            return entry
    raise AssertionError(f"the worker ended without {event}")


def refused(shop: Path, *arguments: str, **more: str) -> tuple[int, str]:
    """Run a worker that cannot start; return its exit code and what it said."""
    run = subprocess.run(
        [sys.executable, "-m", "stem_core", "worker", *arguments],
        cwd=shop,
        env=environment(**more),
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in run.stderr
    return run.returncode, run.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_what_runs_may_finish(shop: Path, number: signal.Signals) -> None:
    with worker(shop, "calm") as process:
        assert line_of(process) == "started"
        process.send_signal(number)
        wait_for_log(process, "worker-draining")
        (shop / "go").touch()
        assert line_of(process) == "finished"
        assert process.wait(60) == 0


def test_what_does_not_finish_within_the_grace_is_handed_back(shop: Path) -> None:
    with worker(shop, "calm", "--grace", "50ms") as process:
        assert line_of(process) == "started"
        process.terminate()
        released = wait_for_log(process, "task-released")
        assert released["why"] == "shutdown"
        assert process.wait(60) == 75


def test_a_second_signal_hands_back_at_once(shop: Path) -> None:
    with worker(shop, "calm", STEM_WORKER_GRACE="10m") as process:
        assert line_of(process) == "started"
        process.terminate()
        wait_for_log(process, "worker-draining")
        process.terminate()
        assert process.wait(60) == 75


def test_a_third_signal_waits_for_nothing(shop: Path) -> None:
    with worker(shop, "clinging", STEM_WORKER_GRACE="10m") as process:
        assert line_of(process) == "started"
        process.terminate()
        wait_for_log(process, "worker-draining")
        process.terminate()
        assert line_of(process) == "clings"
        process.terminate()
        assert process.wait(30) == 70  # the task would hold up the loop for a minute


def test_a_thread_that_does_not_end_does_not_hold_up_the_process(shop: Path) -> None:
    with worker(shop, "lazy", "--grace", "50ms") as process:
        assert line_of(process) == "started"
        process.terminate()
        assert process.wait(30) in (70, 75)  # the task would sleep for a minute


def test_a_worker_says_what_it_is(shop: Path) -> None:
    with worker(shop, "shop", "-q", "pay:8,default", "-c", "7", "--log-format", "text") as process:
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(10)]
        process.terminate()
        assert process.wait(60) == 0
    text = "".join(said)
    for fact in (
        "Stem ",
        f"Python {sys.version_info.major}.{sys.version_info.minor}",
        "shop, 4 tasks",
        "memory://",
        "pay, default × 7 at a time",
        "not signed",
        f"pid {process.pid}",
        "no other process can send work to this worker",
    ):
        assert fact in text


def test_a_log_for_machines_is_json_line_by_line(shop: Path) -> None:
    with worker(shop, "shop") as process:
        wait_for_log(process, "worker-started")  # everything before it was JSON
        process.terminate()
        wait_for_log(process, "worker-stopped")
        assert process.wait(60) == 0


def test_the_application_can_be_named_by_a_variable(shop: Path) -> None:
    with worker(shop, STEM_APP="shop:stem", STEM_WORKER_NAME="alice") as process:
        started = wait_for_log(process, "worker-started")
        assert "alice" in started["message"]


# ── who says how a worker runs ───────────────────────────────────────────────

SETTLED = """
from stem_core.model.settings import StemConfig
from stem_core.producer.client import Stem
from stem_core.producer.registry import TaskRegistry

tasks = TaskRegistry()
coded = Stem("memory://", config=StemConfig(
    worker_concurrency=3, worker_queues={"pay": 8}, log_format="text"
))
asks = Stem("memory://")
homeless = Stem(config=StemConfig())

@tasks.task
def work() -> None: ...

for stem in (coded, asks, homeless):
    stem.include(tasks)
"""
VARIABLES = {"STEM_WORKER_CONCURRENCY": "7", "STEM_WORKER_QUEUES": "low:2"}


@pytest.fixture
def settled(shop: Path) -> Path:
    (shop / "settled.py").write_text(SETTLED)
    return shop


@pytest.mark.parametrize(
    ("arguments", "log_format", "queues"),
    [
        (["settled:asks"], "text", "low × 7 at a time"),
        (["settled:asks", "-c", "5", "-q", "x"], "text", "x × 5 at a time"),
        (["settled:coded"], "json", "pay × 3 at a time"),
        (["settled:coded", "-c", "5"], "json", "pay × 5 at a time"),
    ],
)
def test_an_option_wins_over_code_and_code_over_the_environment(
    settled: Path, arguments: list[str], log_format: str, queues: str
) -> None:
    with worker(settled, *arguments, STEM_LOG_FORMAT=log_format, **VARIABLES) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if line.startswith("  queues "))
        process.terminate()
        assert process.wait(60) == 0
    assert line.split(None, 1)[1].strip() == queues


def test_a_wrong_variable_is_an_error_of_the_settings(settled: Path) -> None:
    ended, said = refused(settled, "settled:asks", STEM_WORKER_CONCURRENCY="0", STEM_STRICT="so")
    assert ended == 4
    assert "STEM_WORKER_CONCURRENCY='0'" in said
    assert "STEM_STRICT='so'" in said


def test_a_missing_broker_is_answered_with_one_that_exists(settled: Path) -> None:
    ended, said = refused(settled, "settled:homeless")
    assert ended == 4
    assert "Example: STEM_BROKER_URL=sqlite:///tasks.db" in said
    assert "redis" not in said


@pytest.mark.parametrize(
    ("arguments", "code", "answer"),
    [
        (["shop:empty"], 4, "shop:empty has no task"),
        (["shop:stm"], 4, "Did you mean 'stem'?"),
        (["shpo"], 4, "Did you mean 'shop'?"),
        (["shop.py"], 4, "Did you mean 'shop'?"),
        ([], 2, "Missing argument APP"),
        (["shop", "--grace", "5"], 2, "write 250ms, 90s or 1h30m"),
        (["shop", "-c", "0"], 2, "-c / --concurrency: '0' is not a whole number of 1 or more"),
        (["shop", "-q", "pay:0"], 2, "such as default or billing:8"),
        (["shop", "-q", "a:8,b,a"], 2, "a is given twice"),
        (["shop", "-q", "../etc"], 2, "'/' at character 3"),
        (["shop", "--log-level", "loud"], 2, "--log-level"),
        (["shop", "--concurency", "3"], 2, "--concurrency"),
    ],
)
def test_a_mistake_is_one_clear_error(
    shop: Path, arguments: list[str], code: int, answer: str
) -> None:
    ended, said = refused(shop, *arguments)
    assert answer in said
    assert ended == code


def test_a_broker_without_a_plugin_is_one_clear_error(shop: Path) -> None:
    (shop / "far.py").write_text(
        "from stem_core.producer.client import Stem\n"
        "stem = Stem(broker='nosuch://user:hunter2@far/1')\n"
        "@stem.task\ndef work() -> None: ...\n"
    )
    ended, said = refused(shop, "far")
    assert ended == 4
    assert "nosuch" in said
    assert "hunter2" not in said
