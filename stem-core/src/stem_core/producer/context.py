"""What a running task knows of itself, and what it can ask for while it runs.

Rule of this module: every verb is a plain call that returns at once, from the event
loop or from a thread. Whoever runs the task gives a `ContextSink`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, overload

from stem_core.contracts.messages import CancelStatus, Delivery, Message, Receipt
from stem_core.model.codec import decode_value, encode_value
from stem_core.model.duration import Duration
from stem_core.model.envelope import Envelope
from stem_core.model.errors import InvalidOption, UsageError
from stem_core.model.ids import derived_id
from stem_core.model.outcome import TaskStatus
from stem_core.model.structure import unstructure
from stem_core.producer.job import BlockingReader, Job
from stem_core.producer.sending import dropped
from stem_core.producer.tasks import Call, not_a_call

if TYPE_CHECKING:
    from stem_core.producer.tasks import AnyTask

__all__ = ["CURRENT", "INHERITED_HEADERS", "ContextSink", "TaskContext"]

R = TypeVar("R")

INHERITED_HEADERS: Final = ("traceparent", "tracestate", "baggage")
"""What a follow-up gets from its parent's headers unless the call says otherwise: the trace
and nothing else, for a header may mean something about the parent alone."""


class ContextSink(Protocol):
    """Who runs the task. Every verb is thread-safe and returns at once."""

    def progress(self, id: str, fence: int, value: bytes, /) -> None:
        """Pass on what the task says of itself, as strict JSON."""
        ...

    def is_cancelled(self) -> bool:
        """Say whether the task should end."""
        ...

    def prepare(
        self, call: Call[Any], /, *, task_id: str, parent: str, root: str, headers: dict[str, str]
    ) -> Message:
        """Return the sealed message of a follow-up: `Pipeline.prepare`."""
        ...

    def publish_now(self, message: Message, /) -> None:
        """Publish a follow-up without waiting for the task's end."""
        ...

    def job(self, id: str, task: AnyTask | None, /) -> Job[Any]:
        """Return the handle of a follow-up."""
        ...

    async def complete(self, connection: object, value: object, /) -> None:
        """Settle the task as succeeded in the transaction of *connection*."""
        ...


class TaskContext:
    """One run of a task, as the task sees it.

    Attributes:
        follow_ups: what it enqueued so far; published by the step that settles it,
            and only if it succeeds.
    """

    __slots__ = ("_delivery", "_envelope", "_is_completed", "_ordinals", "_sink", "follow_ups")

    def __init__(self, envelope: Envelope, delivery: Delivery, sink: ContextSink) -> None:
        self._envelope = envelope
        self._delivery = delivery
        self._sink = sink
        self._ordinals = itertools.count(1)
        self._is_completed = False
        self.follow_ups: list[Message] = []

    @staticmethod
    def current() -> TaskContext | None:
        """Return the context of the task that runs here, None outside of tasks.

        For code deep inside a library; a task itself declares ``context=True``.
        """
        return CURRENT.get()

    @property
    def id(self) -> str:
        """The same for all attempts of one call."""
        return self._envelope.id

    @property
    def task(self) -> str:
        """The name it was called by."""
        return self._envelope.task

    @property
    def queue(self) -> str:
        """Where it was taken from."""
        return self._envelope.queue

    @property
    def attempt(self) -> int:
        """1 for the first; grows only when the task itself failed."""
        return self._delivery.attempt

    @property
    def fence(self) -> int:
        """Grows with every lease of this id, for guarding effects: a lower one is stale."""
        return self._delivery.receipt.fence

    @property
    def lapses(self) -> int:
        """How many workers in a row lost this task before this one."""
        return self._delivery.lapses

    @property
    def headers(self) -> Mapping[str, str]:
        """As given at enqueue."""
        return self._envelope.headers

    @property
    def meta(self) -> Mapping[str, Any]:
        """As given at enqueue; kept with every result entry."""
        return self._envelope.meta

    @property
    def parent(self) -> str | None:
        """The task that enqueued this one."""
        return self._envelope.parent

    @property
    def root(self) -> str | None:
        """The first task of the whole line; None for itself."""
        return self._envelope.root

    @property
    def cancelled(self) -> bool:
        """True when somebody wants this task to end; look now and then in a long loop."""
        return self._sink.is_cancelled()

    def progress(self, value: object) -> None:
        """Say how far it is: any value that JSON can carry. The last one is kept.

        Raises:
            NotEncodable, PayloadTooLarge: it cannot be kept.
        """
        self._sink.progress(self.id, self.fence, encode_value(unstructure(value)))

    def enqueue(self, call: Call[R], *, now: bool = False) -> Job[R]:
        """Enqueue a follow-up: ``ctx.enqueue(charge.call("a", 1))``.

        It is published in the step that settles this task as succeeded; with *now* at
        once. Its id is derived from this task's and the number of the call, so an
        attempt that runs again makes no second one, as long as it makes its calls in
        the same order.

        Raises:
            UsageError: it is no call, such as ``charge.enqueue("a", 1)``; or the task is
                completed already.
        """
        if not isinstance(call, Call):
            dropped(call)
            raise not_a_call(call, "what ctx.enqueue was given")
        if call.how.connection is not None:
            raise InvalidOption(
                "a follow-up cannot join a connection's transaction",
                way_out="Leave out connection=: it is published with this task's own end.",
            )
        if self._is_completed:
            raise UsageError("ctx.enqueue after ctx.complete: this task has ended")
        ordinal = next(self._ordinals)
        child_id = call.how.task_id or derived_id(self.id, ordinal)
        message = self._sink.prepare(
            call,
            task_id=child_id,
            parent=self.id,
            root=self.root or self.id,
            headers=self._inherited(),
        )
        if now:
            self._sink.publish_now(message)
        else:
            self.follow_ups.append(message)
        return self._sink.job(child_id, call.task)

    @overload
    async def complete(self, connection: object) -> None: ...
    @overload
    async def complete(self, connection: object, value: R) -> R: ...

    async def complete(self, connection: object, value: Any = None) -> Any:
        """Settle this task as succeeded, with *value*, in the caller's own transaction; return
        *value*, for ``return await ctx.complete(connection, value)``.

        The task ends with the commit, together with whatever else was written there; its
        follow-ups are published by it. Without a commit it never ended: when the function
        returns, the attempt counts as failed. To be called once, and last.

        Raises:
            LeaseLost: the task belongs to another worker by now. Roll back.
            CapabilityMissing: the broker is not transactional, or keeps no results.
            InvalidOption: *connection* is none that the broker can use.
            NotEncodable, PayloadTooLarge: *value* cannot be kept.
        """
        if self._is_completed:
            raise UsageError("ctx.complete twice: this task has ended")
        await self._sink.complete(connection, value)
        self._is_completed = True
        return value

    def _inherited(self) -> dict[str, str]:
        headers = self._envelope.headers
        return {name: headers[name] for name in INHERITED_HEADERS if name in headers}

    def __repr__(self) -> str:
        return f"TaskContext({self.task!r}, id={self.id!r}, attempt={self.attempt})"

    @classmethod
    def for_testing(
        cls,
        *,
        id: str = "00000000-0000-7000-8000-000000000000",
        task: str = "tests.task",
        queue: str = "default",
        attempt: int = 1,
        fence: int = 1,
        lapses: int = 0,
        headers: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
        parent: str | None = None,
        root: str | None = None,
        cancelled: bool = False,
    ) -> TestingContext:
        """Return a context made of facts, for calling a task's function in a test."""
        envelope = Envelope(
            id=id,
            task=task,
            namespace="stem",
            queue=queue,
            enqueued_at_ms=0,
            headers=dict(headers or {}),
            meta=dict(meta or {}),
            parent=parent,
            root=root,
        )
        delivery = Delivery(
            message=Message(id=id, queue=queue, task=task, body=b"{}"),
            receipt=Receipt(id, queue, fence),
            attempt=attempt,
            lapses=lapses,
        )
        return TestingContext(envelope, delivery, cancelled=cancelled)


CURRENT: Final[ContextVar[TaskContext | None]] = ContextVar("stem_task_context", default=None)
"""The context of the task that runs; set by whoever runs it."""


class TestingContext(TaskContext):
    """A `TaskContext` that remembers what the task did with it.

    Attributes:
        reported: every progress, in order.
        enqueued: every call that was enqueued, in order.
        completed: the value that it was completed with, in a list; empty before.
        is_cancelled: what `cancelled` says from now on.
    """

    __test__ = False  # for pytest: not a class of tests
    __slots__ = ("completed", "enqueued", "is_cancelled", "reported")

    def __init__(self, envelope: Envelope, delivery: Delivery, *, cancelled: bool) -> None:
        super().__init__(envelope, delivery, _Remembering(self))
        self.is_cancelled = cancelled
        self.reported: list[Any] = []
        self.enqueued: list[Call[Any]] = []
        self.completed: list[Any] = []


class _Remembering:
    def __init__(self, context: TestingContext) -> None:
        self._context = context

    def progress(self, id: str, fence: int, value: bytes, /) -> None:
        self._context.reported.append(decode_value(value))

    def is_cancelled(self) -> bool:
        return self._context.is_cancelled

    def prepare(
        self, call: Call[Any], /, *, task_id: str, parent: str, root: str, headers: dict[str, str]
    ) -> Message:
        self._context.enqueued.append(call)
        return Message(id=task_id, queue="default", task=call.name, body=b"{}")

    def publish_now(self, message: Message, /) -> None:
        """Nobody is there to publish it; it is among `enqueued`."""

    def job(self, id: str, task: AnyTask | None, /) -> Job[Any]:
        return Job(id, _Nobody(), task)

    async def complete(self, connection: object, value: object, /) -> None:
        self._context.completed.append(value)


class _Nobody:
    """Whom a follow-up of a test asks: there is no broker behind it."""

    async def status(self, id: str) -> TaskStatus | None:
        raise _no_stores()

    async def cancel(self, id: str, reason: str = "") -> CancelStatus:
        raise _no_stores()

    async def _read(self, id: str, task: AnyTask | None, timeout: Duration | None) -> Any:
        raise _no_stores()

    @property
    def blocking(self) -> BlockingReader:
        raise _no_stores()


def _no_stores() -> UsageError:
    return UsageError(
        "a context for testing has no broker and no results",
        way_out="Look at its .enqueued, or use stem.override() for the whole path.",
    )
