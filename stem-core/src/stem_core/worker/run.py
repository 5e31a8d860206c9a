"""One delivery in this worker, from its arrival to its settlement."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

from attrs import define, field

from stem_core.contracts.messages import Delivery, Message
from stem_core.model.envelope import Envelope
from stem_core.producer.context import TaskContext
from stem_core.worker.outcomes import Cause
from stem_core.worker.plans import Plan
from stem_core.worker.threads import ThreadCall

__all__ = ["Lease", "Run"]


@define(eq=False)
class Lease:
    """What the keeper knows of a lease, in milliseconds of the worker's monotonic clock.

    Attributes:
        length_ms: as the message asks for.
        renew_at_ms: when the keeper asks for it anew.
        ends_at_ms: when it lapses, at the earliest.
        give_up_at_ms: when it is not renewed any more, whatever the task does.
    """

    length_ms: int
    renew_at_ms: float
    ends_at_ms: float
    give_up_at_ms: float

    @property
    def self_fence_at_ms(self) -> float:
        """When the task must be told to end, because the lease may soon be somebody else's."""
        return self.ends_at_ms - 0.1 * self.length_ms


@define(eq=False)
class Run:
    """One delivery in this worker. Fields are filled as it goes its way.

    Attributes:
        delivery, lease: as fetched.
        envelope, plan: what was asked and how it is run here; known after decode and
            admission.
        context: what the task is told; made when it starts.
        started_ms: wall time of the start of the task's function; 0 before.
        job: the asyncio task that takes it through the pipeline.
        is_called: the task's function was called, or queued for a thread.
        call, queued: with a thread, the call and its future.
        cause: set before Stem ends it.
        is_cancelled: read by `TaskContext.cancelled` from any thread.
        published_now: what the task enqueued for at once and is not known to be there.
        is_over: its outcome is decided; what it still does counts for nothing.
    """

    delivery: Delivery
    lease: Lease
    envelope: Envelope | None = None
    plan: Plan | None = None
    context: TaskContext | None = None
    started_ms: int = 0
    job: asyncio.Task[None] | None = None
    is_called: bool = False
    call: ThreadCall | None = None
    queued: Future[Any] | None = None
    cause: Cause | None = None
    is_cancelled: bool = False
    published_now: dict[str, Message] = field(factory=dict)
    is_over: bool = False

    @property
    def id(self) -> str:
        """The id that the message claims."""
        return self.delivery.receipt.id

    @property
    def task_name(self) -> str:
        """The name that the message claims."""
        return self.delivery.message.task

    def end(self, cause: Cause) -> None:
        """Tell the task to end. To be called in the worker's loop.

        Not before its function is called: the pipeline looks at the cause itself. The
        first cause stands, but for a cancellation, which a thread may ignore.
        """
        if self.is_over or self.cause not in (None, Cause.CANCEL):
            return
        self.is_cancelled = True
        self.cause = cause
        if not self.is_called:
            return
        if self.queued is None or self.call is None:
            self._cancel_job()
        elif not self.queued.cancel() and cause is not Cause.CANCEL:
            self.call.interrupt()

    def take_back(self) -> None:
        """Hand it back if it waits for a thread and has not begun."""
        if self.queued is not None and self.queued.cancel():
            self.cause = Cause.SHUTDOWN

    def _cancel_job(self) -> None:
        if self.job is not None:
            self.job.cancel()
