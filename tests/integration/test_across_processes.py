"""The promises of the producer page that need a second process: a worker of its own, one file."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stem_core.contracts.messages import CancelStatus
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.model.errors import (
    ResultExpired,
    ResultTimeout,
    TaskCancelled,
    TaskFailed,
)
from stem_core.model.options import TaskOptions
from stem_core.model.outcome import State
from stem_core.producer.client import Stem

APP = """
import asyncio, os, time
from stem_core import Stem, TaskContext
from stem_core.model.retry import RetryPolicy

stem = Stem()
history = os.open(os.environ["HISTORY"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)

def note(*words):
    os.write(history, (" ".join(map(str, words)) + "\\n").encode())

@stem.task(name="reports.generate", context=True, retry_policy=RetryPolicy(base=0, cap=0))
async def generate(ctx: TaskContext, reportId: str) -> None:
    note("generate", reportId, ctx.attempt)
    raise ValueError("no data")

@stem.task(name="math.square")
async def square(number: int) -> int:
    note("square", number, os.getpid())
    return number * number

@stem.task(name="waits", context=True)
async def waits(ctx: TaskContext, gate: str) -> str:
    note("waits", ctx.attempt, ctx.fence, os.getpid())
    ctx.progress({"waiting": True})
    while not os.path.exists(gate):
        await asyncio.sleep(0.01)
    return ctx.headers.get("traceparent", "")

@stem.task(name="hangs")
def hangs() -> None:
    note("hangs", os.getpid())
    time.sleep(60)
"""


class Shop:
    """One file, an application, and processes around them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/tasks.db"
        self.history = folder / "history"
        self.gate = folder / "gate"
        (folder / "shop.py").write_text(APP)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
        return {**kept, "STEM_BROKER_URL": self.url, "HISTORY": str(self.history)}

    @contextmanager
    def worker(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker of its own; it is gone at the end, whatever happens."""
        log = self.folder / f"worker-{os.urandom(4).hex()}.log"
        with (
            open(log, "wb") as out,
            subprocess.Popen(
                [sys.executable, "-m", "stem_core", "worker", "shop:stem", *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=out,
                stderr=out,
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    def notes(self, about: str) -> list[list[str]]:
        """What tasks have noted about themselves, in order."""
        if not self.history.exists():
            return []
        lines = map(str.split, self.history.read_text().splitlines())
        return [line[1:] for line in lines if line[0] == about]

    def run(self, body: Callable[[Stem], Coroutine[Any, Any, Any]], **how: Any) -> Any:
        """Run *body* with a producer that has no task code."""

        async def main() -> Any:
            async with Stem(broker=self.url, **how) as stem:
                return await body(stem)

        return asyncio.run(asyncio.wait_for(main(), 60))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


async def until(look: Callable[[], Any]) -> Any:
    """Return what *look* gives once it is something."""
    async with asyncio.timeout(30):
        while not (found := look()):
            await asyncio.sleep(0.01)
    return found


async def until_state(stem: Stem, id: str, state: State) -> Any:
    async with asyncio.timeout(30):
        while (status := await stem.status(id)) is None or status.state is not state:
            await asyncio.sleep(0.01)
    return status


def test_s12_a_task_for_a_queue_runs_there_four_times_and_dies(shop: Shop):
    async def body(stem: Stem) -> tuple[str, Any]:
        id = await stem.enqueue(
            "reports.generate",
            args={"reportId": "monthly-2025-10"},
            options=TaskOptions(queue="reports", max_retries=3),
            meta={"requestedBy": "finance"},
        )
        with shop.worker("--queues", "default"):
            job = await stem.enqueue("math.square", args={"number": 3})
            assert await stem.result(job, timeout=30) == 9
            assert shop.notes("generate") == []
        with shop.worker("--queues", "reports"), pytest.raises(TaskFailed):
            await stem.result(id, timeout=30)
        return id, await stem.status(id)

    _, status = shop.run(body)
    assert [attempt for _, attempt in shop.notes("generate")] == ["1", "2", "3", "4"]
    assert (status.state, status.reason) == (State.DEAD, "max-retries-exhausted")


def test_s12_no_retries_means_one_run(shop: Shop):
    async def body(stem: Stem) -> None:
        id = await stem.enqueue(
            "reports.generate", args={"reportId": "x"}, options=TaskOptions(max_retries=0)
        )
        with shop.worker(), pytest.raises(TaskFailed):
            await stem.result(id, timeout=30)

    shop.run(body)
    assert len(shop.notes("generate")) == 1


def test_s16_a_backend_of_this_process_sees_nothing_of_others_and_says_so(
    shop: Shop, caplog: pytest.LogCaptureFixture
):
    async def body(stem: Stem) -> None:
        id = await stem.enqueue("math.square", args={"number": 3})
        with shop.worker():
            await until(lambda: shop.notes("square"))
            with pytest.raises((ResultTimeout, ResultExpired)):
                await stem.result(id, timeout="300ms")

    shop.run(body, backend=InMemoryResultBackend("s16"))
    assert "will not be seen here" in caplog.text


def test_s20_the_state_of_a_task_is_known_in_every_process(shop: Shop):
    async def body(stem: Stem) -> None:
        id = await stem.enqueue("waits", args={"gate": str(shop.gate)})
        status = await stem.status(id)
        assert status is not None
        assert status.state is State.QUEUED
        with shop.worker("--name", "w1"):
            status = await until_state(stem, id, State.RUNNING)
            assert (status.worker, status.attempt) == ("w1", 1)
            waiting = asyncio.ensure_future(stem.result(id, timeout=30))
            shop.gate.touch()
            assert await waiting == ""
        assert await stem.status("never-enqueued") is None

    shop.run(body)
    assert shop.run(lambda stem: stem.list()).items[0].state is State.SUCCEEDED


def test_s20_many_wait_for_results_of_another_process(shop: Shop):
    async def body(stem: Stem) -> list[Any]:
        ids = [await stem.enqueue("math.square", args={"number": n}) for n in range(40)]
        waiting = [asyncio.ensure_future(stem.result(id, timeout=30)) for id in ids]
        await asyncio.sleep(0)
        with shop.worker():
            return await asyncio.gather(*waiting)

    assert shop.run(body) == [n * n for n in range(40)]


def test_s21_priority_decides_who_runs_first(shop: Shop):
    async def body(stem: Stem) -> None:
        for number, priority in enumerate([0, 9, 5, 9]):
            await stem.enqueue(
                "math.square", args={"number": number}, options=TaskOptions(priority=priority)
            )
        with shop.worker("--concurrency", "1"):
            await until(lambda: len(shop.notes("square")) == 4)

    shop.run(body)
    assert [number for number, _ in shop.notes("square")] == ["1", "3", "2", "0"]


def test_s21_the_visibility_timeout_of_a_call_decides_when_a_dead_workers_task_runs_again(
    shop: Shop,
):
    async def body(stem: Stem) -> Any:
        id = await stem.enqueue(
            "waits",
            args={"gate": str(shop.gate)},
            options=TaskOptions(visibility_timeout="1s"),
            headers={"traceparent": "00-abc-def-01"},
        )
        with shop.worker() as victim:
            await until(lambda: shop.notes("waits"))
            victim.kill()
            victim.wait()
        with shop.worker():
            await until(lambda: len(shop.notes("waits")) == 2)
            shop.gate.touch()
            assert await stem.result(id, timeout=30) == "00-abc-def-01"
        return await stem.status(id)

    status = shop.run(body)
    first, second = shop.notes("waits")
    assert first[0] == second[0] == "1", "a dead worker costs no attempt"
    assert int(second[1]) == int(first[1]) + 1, "the fence has grown"
    assert first[2] != second[2]
    assert status.attempt == 1


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_s21_a_producer_chooses_where_one_call_runs(shop: Shop, isolation: Any):
    async def body(stem: Stem) -> Any:
        options = TaskOptions(isolation=isolation)
        with shop.worker() as worker:
            id = await stem.enqueue("waits", {"gate": str(shop.gate)}, options=options)
            shop.gate.touch()
            await stem.result(id, timeout=30)
            return worker.pid

    pid = shop.run(body)
    [note] = shop.notes("waits")
    assert (int(note[2]) == pid) is (isolation == "inline")


def test_s22_meta_is_kept_with_every_state_and_finds_its_tasks(shop: Shop):
    async def body(stem: Stem) -> None:
        meta = {"requestedBy": "finance", "deep": {"numbers": [1, 2.5, None, 2**70]}}
        good = await stem.enqueue("math.square", args={"number": 2}, meta=meta)
        bad = await stem.enqueue(
            "reports.generate",
            args={"reportId": "x"},
            meta=meta,
            options=TaskOptions(max_retries=0),
        )
        other = await stem.enqueue("math.square", args={"number": 3}, meta={"requestedBy": "ops"})
        status = await stem.status(good)
        assert status is not None
        assert status.meta == meta
        with shop.worker():
            for id in (good, other):
                await stem.result(id, timeout=30)
            await until_state(stem, bad, State.DEAD)
        for id in (good, bad):
            status = await stem.status(id)
            assert status is not None
            assert status.meta == meta
        page = await stem.list(meta={"requestedBy": "finance"})
        assert {each.id for each in page.items} == {good, bad}

    shop.run(body)


def test_s25_a_signal_drains_a_worker_and_another_goes_on(shop: Shop):
    async def body(stem: Stem) -> None:
        id = await stem.enqueue("waits", args={"gate": str(shop.gate)})
        with shop.worker() as first:
            await until(lambda: shop.notes("waits"))
            first.send_signal(signal.SIGTERM)
            later = await stem.enqueue("math.square", args={"number": 5})
            with shop.worker() as second:
                assert await stem.result(later, timeout=30) == 25
                shop.gate.touch()
                await stem.result(id, timeout=30)
                assert await asyncio.to_thread(first.wait, 30) == 0
                second.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(second.wait, 30) == 0
                ((_, pid),) = shop.notes("square")
                assert int(pid) == second.pid

    shop.run(body)


def test_a_running_task_is_cancelled_from_another_process(shop: Shop):
    async def body(stem: Stem) -> None:
        id = await stem.enqueue(
            "waits",
            args={"gate": str(shop.gate)},
            options=TaskOptions(visibility_timeout="600ms"),
        )
        with shop.worker():
            await until(lambda: shop.notes("waits"))
            assert await stem.cancel(id, "enough") is CancelStatus.REQUESTED
            with pytest.raises(TaskCancelled):
                await stem.result(id, timeout=30)

    shop.run(body)


def test_progress_is_seen_in_another_process(shop: Shop):
    async def body(stem: Stem) -> None:
        id = await stem.enqueue("waits", args={"gate": str(shop.gate)})
        with shop.worker():
            async with asyncio.timeout(30):
                while (status := await stem.status(id)) is None or status.progress is None:
                    await asyncio.sleep(0.01)
            assert status.progress == {"waiting": True}
            shop.gate.touch()
            await stem.result(id, timeout=30)

    shop.run(body)


def test_a_task_that_was_delayed_is_late_by_little_in_another_process(shop: Shop):
    async def body(stem: Stem) -> None:
        with shop.worker():
            first = await stem.enqueue("math.square", args={"number": 1})
            await stem.result(first, timeout=30)
            # The worker sleeps now. What comes with a delay must change until when.
            soon = datetime.now(UTC) + timedelta(milliseconds=300)
            id = await stem.enqueue("math.square", args={"number": 4}, not_before=soon)
            assert await stem.result(id, timeout=30) == 16

    shop.run(body)
