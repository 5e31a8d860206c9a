"""One delivery in this worker, from its arrival to its settlement."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from stem_core.contracts.messages import Delivery, Message, Settlement, SettleStatus
from stem_core.model.envelope import Envelope
from stem_core.model.outcome import Record
from stem_core.producer.context import TaskContext
from stem_core.producer.job import Job
from stem_core.producer.tasks import AnyTask, Call
from stem_core.worker.outcomes import Cause, Outcome, Returned
from stem_core.worker.plans import Plan
from stem_core.worker.threads import ThreadCall

if TYPE_CHECKING:
    from stem_core.worker.sinks import Outlet

__all__ = ["Caller", "Endable", "Run"]


class Caller(Protocol):
    """Who calls the function of a run."""

    def succeeded(self, run: Run, value: object) -> tuple[Returned, Settlement]:
        """Return what *run* would end with if its function returned *value*."""
        ...


class Endable(Protocol):
    """A call that runs somewhere else, and ends when it is told to."""

    def end(self, cause: Cause, reason: str) -> None:
        """End it, in the worker's loop."""
        ...


class Run:
    """One delivery in this worker. Fields are filled as it goes its way.

    It is also what the task's `TaskContext` talks to (its `ContextSink`).

    Attributes:
        delivery: as fetched.
        outlet: carries on what the task says while it runs.
        renew_at_ms: when the keeper asks for the lease anew. This and the next two are
            times of the worker's monotonic clock, written by the keeper once it holds the run.
        ends_at_ms: when the lease lapses, at the earliest.
        runs_since_ms: when the keeper first saw that its function runs; 0 before.
        envelope, plan: what was asked and how it is run here; known after decode and
            admission.
        context: what the task is told; made when it starts.
        admitted_ms: wall time of its admission.
        started_ms: the same once its function is about to be called; 0 before.
        is_started: it has, or had, a carrier.
        carrier: the asyncio task that takes it through the pipeline; None until its first
            step is over where Python makes that one at once (3.12).
        is_called: the task's function was called, or queued for a thread.
        call, queued: with a thread, the call and its future.
        waits_for_child: with a process, it waits for one that is free.
        elsewhere: with a process, the call in it.
        cause: set before Stem ends it.
        cancel_reason: why somebody cancels it, in their words.
        wants_end: read by `TaskContext.cancelled` from any thread.
        runner: who calls the function; None before.
        completed: how it came out in a transaction of its own, which may not be committed.
        published_now: what the task enqueued for at once and is not known to be there.
        outcome, settlement, ended_ms: how it came out; what it does from then on
            counts for nothing. *settlement* is None when there is nothing to settle.
        is_sent_again: its settlement was sent and no reply came.
        follow_ups_apart: its follow-ups must be published before it is settled.
        published_apart: those that were.
        is_saved: its record is in a backend that is another store than the broker.
        unsaved: its record, which was kept out of that backend for want of a lease.
        is_gone: its store does not know its message.
        fate: what became of it then, once its record was offered to the backend; None before.
        is_orphan: its record is kept, though its message is gone.
        announced: ids of follow-ups that observers were told of.
    """

    # Defaults of the class and not of an attrs field: a worker makes one of these for
    # each delivery, and most of them stay as they are.
    runs_since_ms: int = 0
    envelope: Envelope | None = None
    plan: Plan | None = None
    context: TaskContext | None = None
    admitted_ms: int = 0
    started_ms: int = 0
    is_started: bool = False
    carrier: asyncio.Task[None] | None = None
    is_called: bool = False
    call: ThreadCall | None = None
    queued: Future[Any] | None = None
    waits_for_child: bool = False
    elsewhere: Endable | None = None
    cause: Cause | None = None
    cancel_reason: str = ""
    wants_end: bool = False
    runner: Caller | None = None
    completed: Returned | None = None
    published_now: dict[str, Message] | None = None
    outcome: Outcome | None = None
    settlement: Settlement | None = None
    ended_ms: int = 0
    is_sent_again: bool = False
    follow_ups_apart: bool = False
    published_apart: tuple[Message, ...] = ()
    is_saved: bool = False
    unsaved: Record | None = None
    is_gone: bool = False
    fate: SettleStatus | None = None
    is_orphan: bool = False
    announced: frozenset[str] = frozenset()

    def __init__(self, delivery: Delivery, outlet: Outlet, now_ms: int) -> None:
        self.delivery = delivery
        self.outlet = outlet
        self.renew_at_ms: float = now_ms + delivery.lease_ms / 3
        self.ends_at_ms: float = now_ms + delivery.lease_ms

    @property
    def id(self) -> str:
        """The id that the message claims."""
        return self.delivery.receipt.id

    @property
    def label(self) -> str:
        """Who it is, for people."""
        return f"{self.delivery.message.task} ({self.delivery.receipt.id})"

    @property
    def lease_ms(self) -> int:
        """The length of its leases."""
        return self.delivery.message.lease_ms

    def let_go(self) -> None:
        """Drop what only its running needed: a settlement may wait long for its store."""
        self.carrier = self.context = self.envelope = self.call = self.queued = None
        self.elsewhere = None

    # ── ending it ────────────────────────────────────────────────────────────

    def end(self, cause: Cause) -> None:
        """Tell the task to end. To be called in the worker's loop.

        Not before its function is called: the pipeline looks at the cause itself. The
        first cause stands, but for a cancellation, which a thread may ignore.
        """
        if self.outcome is not None or self.cause not in (None, Cause.CANCEL):
            return
        self.wants_end = True
        self.cause = cause
        if not self.is_called:
            return
        if self.elsewhere is not None:
            self.elsewhere.end(cause, self.cancel_reason)
        elif self.queued is None or self.call is None:
            self._cancel_carrier()
        elif not self.queued.cancel() and cause is not Cause.CANCEL:
            self.call.interrupt()

    def take_back(self) -> None:
        """Hand it back if it waits for a thread or a process and has not begun."""
        if self.waits_for_child:
            self.end(Cause.SHUTDOWN)
        elif self.queued is not None and self.queued.cancel():
            self.cause = Cause.SHUTDOWN

    def _cancel_carrier(self) -> None:
        if self.carrier is not None:
            self.carrier.cancel()

    # ── what its context asks for, from any thread ───────────────────────────

    def progress(self, id: str, fence: int, value: bytes, /) -> None:
        """Pass on what the task says of itself."""
        self.outlet.progress(id, fence, value)

    def is_cancelled(self) -> bool:
        """Say whether the task should end."""
        return self.wants_end

    def prepare(
        self, call: Call[Any], /, *, task_id: str, parent: str, root: str, headers: dict[str, str]
    ) -> Message:
        """Return the sealed message of a follow-up."""
        return self.outlet.prepare(call, task_id=task_id, parent=parent, root=root, headers=headers)

    def publish_now(self, message: Message, /) -> None:
        """Publish a follow-up without waiting for the task's end."""
        self.outlet.publish_now(self, message)

    def job(self, id: str, task: AnyTask | None, /) -> Job[Any]:
        """Return the handle of a follow-up."""
        return self.outlet.job(id, task)

    async def complete(self, connection: object, value: object, /) -> None:
        """Settle it as succeeded in the transaction of *connection*."""
        assert self.runner is not None  # its function is being called
        returned, settlement = self.runner.succeeded(self, value)
        await self.outlet.complete(connection, settlement)
        self.completed = returned
