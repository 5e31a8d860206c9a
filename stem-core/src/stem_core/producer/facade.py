"""The verbs of a Stem for code without an event loop.

Rule of this module: every verb runs its asynchronous twin in the background loop of
the process and waits. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, overload

from stem_core.contracts.messages import CancelStatus
from stem_core.model.duration import Duration
from stem_core.model.errors import EnqueueError
from stem_core.model.ids import check_id
from stem_core.model.options import TaskOptions
from stem_core.model.outcome import State, TaskStatus
from stem_core.producer.blocking import run
from stem_core.producer.job import BlockingJob
from stem_core.producer.listing import StatusPage
from stem_core.producer.tasks import AnyTask, Call, call_by_name

if TYPE_CHECKING:
    from stem_core.producer.client import Stem

__all__ = ["BlockingStem"]

R = TypeVar("R")

# `list` is a verb here, so inside of the class nothing else can be called so.
BlockingJobs: TypeAlias = list[BlockingJob[R]]
BlockingJobsOrErrors: TypeAlias = list[BlockingJob[R] | EnqueueError]


class BlockingStem:
    """The verbs of a `Stem`, waiting in place; from any number of threads.

    Every verb raises `UseAwait` inside a running event loop.
    """

    __slots__ = ("_stem",)

    def __init__(self, stem: Stem) -> None:
        self._stem = stem

    def enqueue(
        self,
        name: str,
        args: Mapping[str, Any] | None = None,
        *,
        options: TaskOptions | None = None,
        headers: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
        not_before: datetime | None = None,
        delay: Duration | None = None,
        task_id: str | None = None,
        connection: object = None,
    ) -> str:
        """Send a call by the task's name; return its id. See `Stem.enqueue`.

        With *connection* it is published in this thread, in that transaction.
        """
        how = {
            "headers": headers,
            "meta": meta,
            "not_before": not_before,
            "delay": delay,
            "task_id": task_id,
            "connection": connection,
        }
        return self._stem._send_blocking(call_by_name(name, args, options, how)).id

    @overload
    def enqueue_many(
        self, calls: Iterable[Call[R]], *, return_exceptions: Literal[False] = False
    ) -> BlockingJobs[R]: ...
    @overload
    def enqueue_many(
        self, calls: Iterable[Call[R]], *, return_exceptions: Literal[True]
    ) -> BlockingJobsOrErrors[R]: ...

    def enqueue_many(self, calls: Iterable[Call[Any]], *, return_exceptions: bool = False) -> Any:
        """Send many calls; jobs by position. See `Stem.enqueue_many`.

        With a connection they are published in this thread, in that transaction.
        """
        return self._stem._send_many_blocking(calls, return_exceptions)

    def job(self, id: str, task: AnyTask | None = None) -> BlockingJob[Any]:
        """Return the handle of a task by its id."""
        return BlockingJob(check_id(id), self, task)

    def status(self, id: str) -> TaskStatus | None:
        """Return what is known about a task; None for an unknown id."""
        return run(self._stem.status(id))

    def list(
        self,
        *,
        states: Iterable[State | str] = (),
        tasks: Iterable[str] = (),
        queues: Iterable[str] = (),
        meta: Mapping[str, Any] | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> StatusPage:
        """Return what the result backend remembers; see `Stem.list`."""
        stem = self._stem
        return run(
            stem.list(
                states=states, tasks=tasks, queues=queues, meta=meta, limit=limit, cursor=cursor
            )
        )

    def result(self, id: str, timeout: Duration | None = None) -> Any:
        """Return what a task returned; see `Stem.result`."""
        return run(self._stem.result(id, timeout))

    def cancel(self, id: str, reason: str = "") -> CancelStatus:
        """Ask that a task does not run, or stops; see `Stem.cancel`."""
        return run(self._stem.cancel(id, reason))

    def _read(self, id: str, task: AnyTask | None, timeout: Duration | None) -> Any:
        return run(self._stem._read(id, task, timeout))
