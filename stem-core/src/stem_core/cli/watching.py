"""What one process of a worker says of itself: its counts, how it is, and what is queued.

Rule of this module: where the facts come from. What is said on which page is `pages`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Final

from stem_core.cli.pages import identity, metrics_page, pages_of, ready_page
from stem_core.contracts.admin import BrokerAdmin, QueueStats
from stem_core.contracts.clock import Clock
from stem_core.model.errors import StoreError
from stem_core.observe.families import Row
from stem_core.observe.health import Report, unready
from stem_core.observe.metrics import Metrics
from stem_core.observe.pages import Page, Pages
from stem_core.producer.client import Stem
from stem_core.worker.worker import Worker

__all__ = ["Survey", "Watch"]

_SURVEY_MS: Final = 5_000
_PATIENCE_S: Final = 2.0
_STATES: Final = ("ready", "delayed", "parked", "leased", "dead")


class Survey:
    """Asks how much waits in *queues*, every few seconds at most, however often it is read.

    A store that is away, or slow, costs a reader two seconds and its numbers.
    """

    def __init__(self, admin: BrokerAdmin | None, queues: Sequence[str], clock: Clock) -> None:
        self._admin = admin
        self._queues = queues
        self._clock = clock
        self._asked_ms: int | None = None
        self._rows: list[Row] = []
        self._lock = asyncio.Lock()

    async def rows(self) -> list[Row]:
        """Return what is known of the queues; nothing when the store does not say."""
        async with self._lock:  # those who come meanwhile get the same answer
            now_ms = self._clock.monotonic_ms()
            if self._asked_ms is None or now_ms - self._asked_ms >= _SURVEY_MS:
                self._asked_ms = now_ms
                self._rows = await self._ask()
            return self._rows

    async def _ask(self) -> list[Row]:
        if self._admin is None:
            return []
        try:
            async with asyncio.timeout(_PATIENCE_S):
                found = await self._admin.stats(self._queues)
        except (StoreError, TimeoutError):  # what is wrong is in the log, by those who need it
            return []
        return [row for each in found for row in _queue_rows(each)]


def _queue_rows(stats: QueueStats) -> Iterator[Row]:
    for state in _STATES:
        yield Row("stem_queue_depth", (stats.queue, state), [getattr(stats, state)])
    yield Row("stem_queue_oldest_seconds", (stats.queue,), [stats.oldest_ms / 1000])
    yield Row("stem_queue_paused", (stats.queue,), [int(stats.paused)])


class Watch:
    """What one worker says of itself.

    Attributes:
        observer: is to be one of the worker's; it counts.
        address: where that is to be seen.
    """

    def __init__(self, stem: Stem, admin: BrokerAdmin | None, address: str) -> None:
        self.address: Final = address
        self._queues: set[str] = set()
        self.observer: Final = Metrics(stem.registry, self._queues)
        self._admin = admin
        self._clock = stem.clock
        self._started_s = time.time()

    def see(self, worker: Worker) -> None:
        """Watch *worker*; before this there is nothing to be asked for."""
        self._queues.update(worker.queues)
        self._worker = worker
        self._survey = Survey(self._admin, worker.queues, self._clock)

    def report(self) -> Report:
        """Return what needs no store."""
        vitals = self._worker.vitals
        why_not = unready(vitals)
        rows = [
            *self.observer.rows(),
            Row("stem_worker_busy_slots", (), [vitals.busy]),
            Row("stem_worker_slots", (), [vitals.slots]),
            Row("stem_worker_ready", (), [int(not why_not)]),
            Row("stem_worker_processes", (), [1]),
        ]
        return Report(rows=rows, complaint=why_not)

    async def report_of(self, with_queues: bool) -> Report:
        """Return that, and what is in the queues if it is asked for."""
        if not with_queues:
            return self.report()
        queues = await self._survey.rows()
        report = self.report()
        return Report(rows=[*report.rows, *queues], complaint=report.complaint, has_queues=True)

    @property
    def pages(self) -> Pages:
        """The pages of a worker that is one process; its own loop answers."""
        return pages_of(self._live, self._ready, self._measured)

    async def _live(self) -> Page:
        return Page(body="ok\n")  # for the loop turns, or nobody would say so

    async def _ready(self) -> Page:
        return ready_page(unready(self._worker.vitals))

    async def _measured(self) -> Page:
        rows = (await self.report_of(with_queues=True)).rows
        return metrics_page([*rows, *identity(self._started_s)])
