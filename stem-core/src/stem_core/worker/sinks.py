"""What a running task tells the outside: its progress, and what it enqueues at once.

A task may speak from any thread and never waits: it leaves word here, and the worker's
loop carries it on. Rule of this module: nothing in here can fail a task.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from stem_core.contracts.backend import Progress, ResultBackend
from stem_core.contracts.messages import (
    ExtendStatus,
    Extension,
    Message,
    Published,
    PublishStatus,
    Settlement,
    SettleStatus,
)
from stem_core.model.errors import CapabilityMissing, Fault, LeaseLost, StemError, StoreError
from stem_core.producer.client import Stem
from stem_core.producer.job import Job
from stem_core.producer.publishing import transactional
from stem_core.producer.tasks import AnyTask
from stem_core.worker.run import Run

__all__ = ["Outbox", "Outlet", "ProgressBoard"]

_log = logging.getLogger("stem.worker")


class ProgressBoard:
    """The latest progress of each task, sent when the last sending is through."""

    def __init__(self, backend: ResultBackend | None, ttl_ms: int) -> None:
        self._backend = backend
        self._ttl_ms = ttl_ms
        self._latest: dict[str, Progress] = {}
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._bell = asyncio.Event()

    def put(self, id: str, fence: int, value: bytes) -> None:
        """Keep *value* as the progress of *id*. From any thread."""
        if self._backend is None:
            return
        with self._lock:
            was_quiet = not self._latest
            self._latest[id] = Progress(id, fence, value, self._ttl_ms)
        if was_quiet:
            self._loop.call_soon_threadsafe(self._bell.set)

    async def run(self) -> None:
        """Send for ever; what cannot be sent is dropped, for a later one says more."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            with self._lock:
                latest, self._latest = self._latest, {}
            if latest and self._backend is not None:
                try:
                    await self._backend.progress(list(latest.values()))
                except StoreError as error:
                    _log.warning("the progress of %d tasks was not kept: %s", len(latest), error)


class Outbox:
    """Publishes at once what tasks enqueue with ``now=True``.

    Until it is known to be there, the message also rides in the settlement of its task:
    same id, so it is there once, and no lost connection loses it.
    """

    def __init__(
        self,
        publish: Callable[[Message], Awaitable[Published]],
        wake: Callable[[], None],
        enqueued: Callable[[Run, Message], None],
    ) -> None:
        self._publish = publish
        self._wake = wake
        self._enqueued = enqueued
        self._loop = asyncio.get_running_loop()
        self._sending: set[asyncio.Task[None]] = set()

    @property
    def is_empty(self) -> bool:
        """True when nothing is on its way."""
        return not self._sending

    def put(self, run: Run, message: Message) -> None:
        """Publish *message* soon. From any thread."""
        if run.published_now is None:
            run.published_now = {}
        run.published_now[message.id] = message
        self._loop.call_soon_threadsafe(self._start, run, message)

    def _start(self, run: Run, message: Message) -> None:
        sending: asyncio.Task[None] = self._loop.create_task(self._send(run, message))
        self._sending.add(sending)
        sending.add_done_callback(self._sent)

    def _sent(self, sending: asyncio.Task[Any]) -> None:
        self._sending.discard(sending)
        self._wake()

    async def _send(self, run: Run, message: Message) -> None:
        try:
            reply = await self._publish(message)
        except StemError as error:
            _log.warning("%s of %s goes with its settlement: %s", message.id, run.id, error)
            return
        match reply.status:
            case PublishStatus.CREATED:
                self._enqueued(run, message)
            case PublishStatus.REFUSED:
                _log.error("%s of %s was not published: %s", message.id, run.id, reply.reason)
            case PublishStatus.CONFLICT if not _is_derived(message.id):
                _log.warning(
                    "%s of %s was not published: another call has that id", message.id, run.id
                )
            case _:  # it is there: also from an earlier attempt, which wrote another time into it
                pass
        if run.published_now is not None:
            run.published_now.pop(message.id, None)


def _is_derived(id: str) -> bool:
    """True for an id that `derived_id` made, and that so belongs to one follow-up."""
    return len(id) == 36 and id[14] == "8"


class Outlet:
    """Where all runs of a worker send what their tasks say.

    Args:
        progress: takes id, fence and value of a progress.
        publish_now: takes what a run enqueued for at once.
    """

    def __init__(
        self,
        stem: Stem,
        progress: Callable[[str, int, bytes], None],
        publish_now: Callable[[Run, Message], None],
    ) -> None:
        self._stem = stem
        self.prepare = stem.pipeline.prepare
        self.progress = progress
        self.publish_now = publish_now

    def job(self, id: str, task: AnyTask | None) -> Job[Any]:
        """Return the handle of a follow-up."""
        return Job(id, self._stem, task)

    async def complete(self, connection: object, settlement: Settlement) -> None:
        """Settle in the transaction of *connection*.

        Raises:
            LeaseLost: the store says that it is somebody else's.
            CapabilityMissing: the record would not be in that transaction.
            StoreError: what is settled cannot be kept.
        """
        lane = await self._stem.lane()
        broker = transactional(lane, connection)
        if settlement.record is not None and not lane.atomic:
            raise CapabilityMissing(
                "ctx.complete needs results in the database of the broker",
                way_out="Leave STEM_RESULT_BACKEND_URL out, or name the same database there.",
            )
        [reply] = await broker.settle_in(connection, [settlement])
        if reply.status in (SettleStatus.FULL, SettleStatus.INVALID):
            raise StoreError(f"{settlement.receipt.id}: {reply.detail}", fault=Fault.DATA)
        if reply.status is SettleStatus.BUSY:
            raise StoreError(f"{settlement.receipt.id} is locked", fault=Fault.BACKOFF)
        if reply.status is not SettleStatus.DONE:
            raise LeaseLost(
                f"{settlement.receipt.id} belongs to another worker by now",
                way_out="Roll back; what this run did must not count.",
            )

    async def is_committed(self, run: Run) -> bool:
        """Say whether the store knows that *run*, which was completed, has ended."""
        lane = await self._stem.lane()
        extension = Extension(run.delivery.receipt, run.lease_ms)
        [reply] = await lane.broker.extend([extension])
        return reply.status is ExtendStatus.LOST
