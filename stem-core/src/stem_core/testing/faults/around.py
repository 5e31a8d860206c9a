"""A broker around another one: every verb goes through one method that a subclass writes.

Rule of this module: it changes nothing by itself. Companions, and the verbs that run in
a caller's own transaction, are those of the broker inside: there it is the caller's
database that fails.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self, TypeVar

from stem_core.contracts.admin import BrokerAdmin
from stem_core.contracts.broker import Broker, TransactionalBroker
from stem_core.contracts.capabilities import Capabilities
from stem_core.contracts.control import ControlChannel
from stem_core.contracts.limits import LimitStore
from stem_core.contracts.losses import Losses
from stem_core.contracts.messages import (
    Cancellation,
    Cancelled,
    Delivery,
    Extended,
    Extension,
    Located,
    Message,
    Published,
    Settled,
    Settlement,
)

__all__ = ["AroundBroker", "AroundTransactional"]

T = TypeVar("T")


class AroundBroker(Broker):
    """Does what *inner* does, by way of `around`."""

    def __init__(self, inner: Broker) -> None:
        self.inner = inner

    @abstractmethod
    async def around(self, verb: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what *ask* returns, which calls *verb* of the broker inside."""

    @abstractmethod
    def sibling_of(self, inner: Any) -> Self:
        """Return what stands around *inner*, a sibling, as this stands around its own."""

    @property
    def capabilities(self) -> Capabilities:
        """Those of the broker inside."""
        return self.inner.capabilities

    @property
    def store_id(self) -> str:
        """That of the broker inside: it is the same store."""
        return self.inner.store_id

    @property
    def admin(self) -> BrokerAdmin | None:
        """That of the broker inside."""
        return self.inner.admin

    @property
    def control(self) -> ControlChannel | None:
        """That of the broker inside."""
        return self.inner.control

    @property
    def limits(self) -> LimitStore | None:
        """Those of the broker inside."""
        return self.inner.limits

    @property
    def losses(self) -> Losses | None:
        """Those of the broker inside."""
        return self.inner.losses

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        return await self.around("publish", lambda: self.inner.publish(messages))

    async def fetch(
        self, queues: Sequence[str], *, limit: int, wait_ms: int, worker: str
    ) -> Sequence[Delivery]:
        def ask() -> Awaitable[Sequence[Delivery]]:
            return self.inner.fetch(queues, limit=limit, wait_ms=wait_ms, worker=worker)

        return await self.around("fetch", ask)

    async def extend(self, extensions: Sequence[Extension]) -> Sequence[Extended]:
        return await self.around("extend", lambda: self.inner.extend(extensions))

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        return await self.around("settle", lambda: self.inner.settle(settlements))

    async def cancel(self, cancellations: Sequence[Cancellation]) -> Sequence[Cancelled]:
        return await self.around("cancel", lambda: self.inner.cancel(cancellations))

    async def lookup(self, ids: Sequence[str]) -> Sequence[Located | None]:
        return await self.around("lookup", lambda: self.inner.lookup(ids))

    def sibling(self) -> Self:
        return self.sibling_of(self.inner.sibling())

    async def aclose(self) -> None:
        await self.inner.aclose()


class AroundTransactional(AroundBroker, TransactionalBroker):
    """The same around a broker that takes part in transactions."""

    inner: TransactionalBroker

    def accepts(self, connection: object) -> bool:
        return self.inner.accepts(connection)

    async def publish_in(
        self, connection: object, messages: Sequence[Message]
    ) -> Sequence[Published]:
        return await self.inner.publish_in(connection, messages)

    async def settle_in(
        self, connection: object, settlements: Sequence[Settlement]
    ) -> Sequence[Settled]:
        return await self.inner.settle_in(connection, settlements)

    def publish_in_sync(
        self, connection: object, messages: Sequence[Message]
    ) -> Sequence[Published]:
        return self.inner.publish_in_sync(connection, messages)

    def settle_in_sync(
        self, connection: object, settlements: Sequence[Settlement]
    ) -> Sequence[Settled]:
        return self.inner.settle_in_sync(connection, settlements)
