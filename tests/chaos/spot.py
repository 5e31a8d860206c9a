"""One SQLite file, and the processes that crash while they use it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from chaos.party import clean_environment
from chaos.shop import BACKEND, DIARY, ID, URL
from chaos.storing import LEASE_MS

from stem_core import Stem
from stem_core.contracts.messages import Message, Place, PublishStatus
from stem_core.embedded.sqlite.backend import SqliteResultBackend
from stem_core.embedded.sqlite.broker import SqliteBroker
from stem_core.failpoints import VARIABLE
from stem_core.model.options import TaskOptions
from stem_core.model.outcome import Record, State

KILLED = -signal.SIGKILL
LEASE_S = 1
_PATIENCE_S = 60


class Spot:
    """A file in *folder*, and what processes have done to it.

    Results are in the same file, or in another one when they are kept *apart*.
    """

    def __init__(self, folder: Path, *, apart: bool = False) -> None:
        self.url = f"sqlite:///{folder / 'tasks.db'}"
        self.backend_url = f"sqlite:///{folder / 'results.db'}" if apart else self.url
        self.diary_file = folder / "diary"

    # ── processes ────────────────────────────────────────────────────────────

    def store(self, what: str, plan: str) -> int:
        """Use the store as *what* says under the failpoints of *plan*; return how that ended."""
        return self._ended("storing", [self.url, what], plan)[0]

    def produce(self, plan: str) -> tuple[int, str]:
        """Enqueue the task from a process of its own; return how that ended, and what it said."""
        return self._ended("shop", ["produce"], plan)

    def _ended(self, program: str, words: list[str], plan: str) -> tuple[int, str]:
        process = self._start(program, words, plan)
        try:
            _, said = process.communicate(timeout=_PATIENCE_S)
        finally:
            process.kill()
        return process.returncode, said

    @contextmanager
    def worker(self, plan: str = "") -> Iterator[subprocess.Popen[str]]:
        """A worker process that ends with the block."""
        process = self._start("shop", ["work"], plan)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def killed_worker(self, plan: str) -> None:
        """Let a worker work until *plan* kills it."""
        with self.worker(plan) as worker:
            assert worker.wait(_PATIENCE_S) == KILLED

    def _start(self, program: str, words: list[str], plan: str) -> subprocess.Popen[str]:
        own = {URL: self.url, BACKEND: self.backend_url, DIARY: str(self.diary_file)}
        return subprocess.Popen(
            [sys.executable, "-m", f"chaos.{program}", *words],
            env={**clean_environment(), **own, VARIABLE: plan},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    # ── what there is ────────────────────────────────────────────────────────

    def enqueue(self, id: str = ID) -> None:
        """Enqueue the task *id*."""

        async def send() -> None:
            options = TaskOptions(visibility_timeout=LEASE_S)
            async with Stem(self.url, backend=self.backend_url) as stem:
                call = stem.call("shop.sell", {"id": id}, options=options, task_id=id)
                await stem.enqueue_many([call])

        asyncio.run(send())

    def places(self, *ids: str) -> list[Place | None]:
        """Say where messages are; None for those that are nowhere."""

        async def look() -> list[Place | None]:
            broker = await SqliteBroker.connect(self.url)
            try:
                return [each.place if each else None for each in await broker.lookup(ids)]
            finally:
                await broker.aclose()

        return asyncio.run(look())

    def record(self, id: str = ID) -> Record | None:
        """Return the result of the task *id*."""

        async def load() -> Record | None:
            backend = await SqliteResultBackend.connect(self.backend_url)
            try:
                return (await backend.load([id]))[0]
            finally:
                await backend.aclose()

        return asyncio.run(load())

    def is_done(self, id: str = ID) -> bool:
        """True when the task *id* has succeeded and left the queue."""
        record = self.record(id)
        is_success = record is not None and record.state is State.SUCCEEDED
        return is_success and self.places(id) == [None]

    def taken_again(self, *published: Message) -> list[tuple[str, int, int]]:
        """Take what can be had until the leases are over: id, fence and lapses of each.

        Before that *published* are published, which nobody may know."""

        async def take() -> list[tuple[str, int, int]]:
            broker = await SqliteBroker.connect(self.url)
            try:
                replies = await broker.publish(published)
                assert {reply.status for reply in replies} <= {PublishStatus.CREATED}
                taken = await broker.fetch(["q"], limit=99, wait_ms=20 * LEASE_MS, worker="v")
                return [(d.message.id, d.receipt.fence, d.lapses) for d in taken]
            finally:
                await broker.aclose()

        return asyncio.run(take())

    @property
    def diary(self) -> list[str]:
        """What the processes have written down."""
        return self.diary_file.read_text("utf-8").splitlines() if self.diary_file.exists() else []

    def runs(self, id: str = ID) -> int:
        """Return how often the task *id* has run."""
        return self.diary.count(f"ran {id}")

    def until(self, is_so: Callable[[], object], what: str) -> None:
        """Look until *is_so*."""
        last = time.monotonic() + _PATIENCE_S
        while not is_so():
            assert time.monotonic() < last, f"no {what}; the diary says {self.diary}"
            time.sleep(0.03)

    def finished(self) -> None:
        """Let a worker finish whatever there is, without failpoints."""
        with self.worker():
            self.until(self.is_done, "end of the task")
