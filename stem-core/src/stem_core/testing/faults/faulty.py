"""`FaultyBroker` and `FaultyBackend`: any store, with the failures of a plan."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self, TypeVar

from stem_core.contracts.backend import (
    HeartbeatStore,
    LockStore,
    Progress,
    RecordFilter,
    RecordPage,
    ResultBackend,
    ScheduleStore,
)
from stem_core.contracts.broker import Broker, TransactionalBroker
from stem_core.contracts.capabilities import BackendCapabilities
from stem_core.contracts.clock import SYSTEM_CLOCK, Clock
from stem_core.model.outcome import Record
from stem_core.testing.faults.around import AroundBroker, AroundTransactional
from stem_core.testing.faults.plan import FaultPlan

__all__ = ["FaultyBackend", "FaultyBroker"]

T = TypeVar("T")


async def meet(plan: FaultPlan, verb: str, ask: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """Return what *ask* returns, unless *plan* has it otherwise."""
    met = plan.meet(verb)
    if met.delay_ms:
        await clock.sleep(met.delay_ms)
    if met.error is None:
        return await ask()
    if met.is_executed:
        await ask()
    raise met.error


class FaultyBroker(AroundBroker):
    """Does what *inner* does, but for the calls that *plan* lets fail.

    Siblings follow the same plan. What operators do (`admin`), the control channel, the
    limits, and verbs in the caller's own transaction never fail by a plan. Around a
    `TransactionalBroker` it is one, too.
    """

    def __new__(cls, inner: Broker, *args: Any, **kwargs: Any) -> Self:
        """Take the shape of *inner*."""
        kind: type[Self] = _shape(cls, inner)
        return super().__new__(kind)

    def __init__(self, inner: Broker, plan: FaultPlan, *, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(inner)
        self._plan = plan
        self._clock = clock

    async def around(self, verb: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what *ask* returns, or fail as planned."""
        return await meet(self._plan, verb, ask, self._clock)

    def sibling_of(self, inner: Any) -> Self:
        """Return a handle that follows the same plan."""
        return type(self)(inner, self._plan, clock=self._clock)


class FaultyTransactional(FaultyBroker, AroundTransactional):
    """What `FaultyBroker` makes of a `TransactionalBroker`."""


def _shape(asked: Any, inner: Broker) -> Any:
    is_plain = asked is FaultyBroker and isinstance(inner, TransactionalBroker)
    return FaultyTransactional if is_plain else asked


class FaultyBackend(ResultBackend):
    """Does what *inner* does, but for the calls that *plan* lets fail.

    Siblings follow the same plan; heartbeats, schedules and locks never fail by it.
    """

    def __init__(
        self, inner: ResultBackend, plan: FaultPlan, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.inner = inner
        self._plan = plan
        self._clock = clock

    async def _around(self, verb: str, ask: Callable[[], Awaitable[T]]) -> T:
        return await meet(self._plan, verb, ask, self._clock)

    @property
    def capabilities(self) -> BackendCapabilities:
        """Those of the backend inside."""
        return self.inner.capabilities

    @property
    def store_id(self) -> str:
        """That of the backend inside: it is the same store."""
        return self.inner.store_id

    async def save(self, records: Sequence[Record]) -> Sequence[bool]:
        return await self._around("save", lambda: self.inner.save(records))

    async def load(self, ids: Sequence[str]) -> Sequence[Record | None]:
        return await self._around("load", lambda: self.inner.load(ids))

    async def wait(self, id: str, *, timeout_ms: int) -> Record | None:
        return await self._around("wait", lambda: self.inner.wait(id, timeout_ms=timeout_ms))

    async def list(
        self, where: RecordFilter | None = None, *, limit: int = 50, cursor: str | None = None
    ) -> RecordPage:
        def ask() -> Awaitable[RecordPage]:
            return self.inner.list(where, limit=limit, cursor=cursor)

        return await self._around("list", ask)

    async def progress(self, updates: Sequence[Progress]) -> None:
        await self._around("progress", lambda: self.inner.progress(updates))

    async def progress_of(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        return await self._around("progress_of", lambda: self.inner.progress_of(ids))

    async def reopen(self, replayed: Sequence[tuple[str, int]]) -> Sequence[bool]:
        return await self._around("reopen", lambda: self.inner.reopen(replayed))

    async def expire(self, ids: Sequence[str], *, ttl_ms: int) -> Sequence[bool]:
        return await self._around("expire", lambda: self.inner.expire(ids, ttl_ms=ttl_ms))

    def sibling(self) -> Self:
        return type(self)(self.inner.sibling(), self._plan, clock=self._clock)

    async def aclose(self) -> None:
        await self.inner.aclose()

    @property
    def heartbeats(self) -> HeartbeatStore | None:
        """Those of the backend inside."""
        return self.inner.heartbeats

    @property
    def schedules(self) -> ScheduleStore | None:
        """Those of the backend inside."""
        return self.inner.schedules

    @property
    def locks(self) -> LockStore | None:
        """Those of the backend inside."""
        return self.inner.locks
