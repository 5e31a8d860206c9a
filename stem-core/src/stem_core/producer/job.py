"""A handle on one task that was enqueued: its result, its status, its cancellation.

Rule of this module: a handle is an id and who to ask. It holds no state of its own,
so it can be made again anywhere from the id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from stem_core.contracts.messages import CancelStatus
from stem_core.model.duration import Duration
from stem_core.model.outcome import TaskStatus

if TYPE_CHECKING:
    from stem_core.producer.tasks import Task

__all__ = ["BlockingJob", "BlockingReader", "Job", "Reader"]

R_co = TypeVar("R_co", covariant=True)


class Reader(Protocol):
    """Who a `Job` asks."""

    async def _read(
        self, id: str, task: Task[Any, Any, Any, Any] | None, timeout: Duration | None
    ) -> Any: ...
    async def status(self, id: str) -> TaskStatus | None: ...
    async def cancel(self, id: str, reason: str = "") -> CancelStatus: ...
    @property
    def blocking(self) -> BlockingReader: ...


class BlockingReader(Protocol):
    """Who a `BlockingJob` asks."""

    def _read(
        self, id: str, task: Task[Any, Any, Any, Any] | None, timeout: Duration | None
    ) -> Any: ...
    def status(self, id: str) -> TaskStatus | None: ...
    def cancel(self, id: str, reason: str = "") -> CancelStatus: ...


class Job(Generic[R_co]):
    """One task that was enqueued.

    Attributes:
        id: finds it from any process.
        created: False when this call made no new message, because its id or its
            unique key was held by a live one; then *id* is that one's.
    """

    __slots__ = ("_reader", "_task", "created", "id")

    def __init__(
        self,
        id: str,
        reader: Reader,
        task: Task[Any, Any, Any, Any] | None = None,
        *,
        created: bool = True,
    ) -> None:
        self.id = id
        self.created = created
        self._reader = reader
        self._task = task

    async def result(self, *, timeout: Duration | None = None) -> R_co:
        """Return what the task returned, as the type that it declares.

        Waits up to *timeout*, without one as long as the task is alive. A store that goes away
        meanwhile is waited for until *timeout*, without one for STEM_PUBLISH_DEADLINE.

        Raises:
            TaskFailed: it ended without a value: failed, dead, discarded or expired.
            TaskCancelled: somebody cancelled it.
            ResultTimeout: not yet; the task goes on. Or the store is away: the error says so.
            StoreUnavailable: it is away, and was so at the first call or there is no *timeout*.
            ResultExpired: nobody knows it, or nobody keeps its result.
            NoResultBackend: there is none to ask.
        """
        value: R_co = await self._reader._read(self.id, self._task, timeout)
        return value

    async def status(self) -> TaskStatus | None:
        """Return what is known about it, or None."""
        return await self._reader.status(self.id)

    async def cancel(self, reason: str = "") -> CancelStatus:
        """Ask that it does not run, or stops."""
        return await self._reader.cancel(self.id, reason)

    def __repr__(self) -> str:
        return f"Job({self.id!r})"


class BlockingJob(Generic[R_co]):
    """A `Job` for code without an event loop; the same verbs, waiting in place."""

    __slots__ = ("_reader", "_task", "created", "id")

    def __init__(
        self,
        id: str,
        reader: BlockingReader,
        task: Task[Any, Any, Any, Any] | None = None,
        *,
        created: bool = True,
    ) -> None:
        self.id = id
        self.created = created
        self._reader = reader
        self._task = task

    def result(self, *, timeout: Duration | None = None) -> R_co:
        """Return what the task returned; see `Job.result`."""
        value: R_co = self._reader._read(self.id, self._task, timeout)
        return value

    def status(self) -> TaskStatus | None:
        """Return what is known about it, or None."""
        return self._reader.status(self.id)

    def cancel(self, reason: str = "") -> CancelStatus:
        """Ask that it does not run, or stops."""
        return self._reader.cancel(self.id, reason)

    def __repr__(self) -> str:
        return f"BlockingJob({self.id!r})"
