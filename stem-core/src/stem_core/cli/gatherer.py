"""The thread of a supervisor that answers over HTTP; see `gathering`.

What ended processes have counted stays in the sum, as far as they had told it when they
were asked last: a sum that sinks would look like a new start of all of them.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

from stem_core.cli.pages import (
    identity,
    listening_of,
    metrics_page,
    pages_of,
    ready_page,
    serving_pages,
)
from stem_core.model.errors import ConfigError
from stem_core.model.settings.listening import Listening
from stem_core.observe.families import Row, joined, lasting
from stem_core.observe.health import Report
from stem_core.observe.pages import Page, Pages
from stem_core.worker.tie import read_report

__all__ = ["Gatherer"]

_PATIENCE_S: Final = 4.0
"""How long processes may take to report; a little more than they give themselves."""

_PROBE_S: Final = 0.5
"""How long they may take when a probe asks, which itself waits for a second at most: one
whose loop a task holds up for longer takes no work."""


class Gatherer:
    """Belongs to its thread, but for `start`, `soon` and `stop`.

    Args:
        ask: asks each process that takes work for a report, and returns their pids; with
            True the first of them for what is in its queues too.
    """

    def __init__(self, ask: Callable[[bool], Sequence[int]]) -> None:
        self._ask = ask
        self._started_s = time.time()
        self._latest: dict[int, Report] = {}
        self._past: list[Row] = []
        self._waiting: dict[int, list[_Waiter]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._main, name="stem-http", daemon=True)
        self._where: Future[Listening] = Future()
        self._address = ""

    # ── from the main thread ─────────────────────────────────────────────────

    def start(self, address: str) -> Listening:
        """Answer at *address*; return where that is.

        Raises:
            ConfigError: nobody can listen there.
        """
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        return self._where.result()

    def soon(self, call: Callable[..., None], *arguments: Any) -> None:
        """Make *call* in the thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed: nobody could listen there
                self._loop.call_soon_threadsafe(call, *arguments)

    def stop(self) -> None:
        """Answer no more."""
        self.soon(self._end.set)
        self._thread.join()

    # ── in its thread ────────────────────────────────────────────────────────

    def take(self, pid: int, line: bytes) -> None:
        """Take what the process *pid* said."""
        report = self._latest[pid] = read_report(line)
        waiting = self._waiting.pop(pid, [])
        for each in waiting:
            if report.has_queues or not each.wants_queues:
                each.answer(report)
            else:
                self._waiting.setdefault(pid, []).append(each)

    def forget(self, pid: int) -> None:
        """Keep what the process *pid* has counted, and nothing else of it."""
        report = self._latest.pop(pid, None)
        if report is not None:
            self._past = joined([*self._past, *lasting(report.rows)])
        for each in self._waiting.pop(pid, []):
            each.answer(None)

    def _main(self) -> None:
        assert self._loop is not None  # started
        try:
            self._loop.run_until_complete(self._serve())
        except ConfigError as error:
            self._where.set_exception(error)
        finally:
            self._loop.close()

    @property
    def pages(self) -> Pages:
        """What is answered."""
        return pages_of(self._live, self._ready, self._measured)

    async def _serve(self) -> None:
        async with serving_pages(listening_of(self._address), self.pages) as where:
            self._where.set_result(where)
            await self._end.wait()

    async def _live(self) -> Page:
        return Page(body="ok\n")  # the supervisor; it looks after its processes itself

    async def _ready(self) -> Page:
        reports = list((await self._gather(_PROBE_S, with_queues=False)).values())
        takers = sum(not each.complaint for each in reports if each is not None)
        why_not = "" if takers else _reason(reports)
        return ready_page(why_not, takes_work=takers, processes=len(reports))

    async def _measured(self) -> Page:
        said = await self._gather(_PATIENCE_S, with_queues=True)
        rows = [*self._past, *identity(self._started_s)]
        for pid, latest in self._latest.items():
            now = said.get(pid)
            # What does not answer has not lost what it has counted.
            rows += lasting(latest.rows) if now is None else now.rows
        return metrics_page(joined(rows))

    async def _gather(self, patience_s: float, *, with_queues: bool) -> dict[int, Report | None]:
        """Return what each process says now, by its pid; None if it says nothing in time."""
        # Nothing is awaited in between: what is said now is taken after this step.
        pids = self._ask(with_queues)
        waiters = {pid: _Waiter(with_queues and pid == pids[0]) for pid in pids}
        for pid, waiter in waiters.items():
            self._waiting.setdefault(pid, []).append(waiter)
        if waiters:
            await asyncio.wait([each.reply for each in waiters.values()], timeout=patience_s)
        for pid, waiter in waiters.items():
            waiter.answer(None)
            if waiter in self._waiting.get(pid, ()):
                self._waiting[pid].remove(waiter)
        return {pid: each.reply.result() for pid, each in waiters.items()}


class _Waiter:
    """One who waits for a report, perhaps for one with queues in it."""

    def __init__(self, wants_queues: bool) -> None:
        self.wants_queues: Final = wants_queues
        self.reply: Final[asyncio.Future[Report | None]] = (
            asyncio.get_running_loop().create_future()
        )

    def answer(self, report: Report | None) -> None:
        if not self.reply.done():
            self.reply.set_result(report)


def _reason(reports: Sequence[Report | None]) -> str:
    """Return why none of them takes work, by the first that says so."""
    if not reports:
        return "no process takes work yet"
    said = [each.complaint for each in reports if each is not None]
    return said[0] if said else "no process answers"
