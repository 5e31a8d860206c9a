"""A broker that notes what it accepted, for tests.

Rule of this module: it changes nothing that passes through. A message counts as
accepted when the broker said so, published by itself or by the step that settled another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

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
    PublishStatus,
    Settled,
    Settlement,
    SettleStatus,
)

__all__ = ["Accepted", "watched"]


class Accepted:
    """The messages that a broker accepted, in order, each id once."""

    def __init__(self) -> None:
        self._messages: dict[str, Message] = {}

    @property
    def messages(self) -> tuple[Message, ...]:
        """What was accepted so far."""
        return tuple(self._messages.values())

    def published(self, messages: Sequence[Message], replies: Sequence[Published]) -> None:
        """Take note of the replies to a publish call."""
        for message, reply in zip(messages, replies, strict=True):
            if reply.status is PublishStatus.CREATED:
                self._messages.setdefault(message.id, message)

    def settled(self, settlements: Sequence[Settlement], replies: Sequence[Settled]) -> None:
        """Take note of the follow-ups of a settle call."""
        for settlement, reply in zip(settlements, replies, strict=True):
            if reply.status is SettleStatus.DONE:
                for message in settlement.follow_ups:
                    self._messages.setdefault(message.id, message)


def watched(broker: Broker, accepted: Accepted) -> Broker:
    """Return *broker*, noting in *accepted* what it accepts."""
    if isinstance(broker, TransactionalBroker):
        return _WatchedTransactional(broker, accepted)
    return _Watched(broker, accepted)


class _Watched(Broker):
    def __init__(self, broker: Broker, accepted: Accepted) -> None:
        self._inner = broker
        self._accepted = accepted

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    @property
    def store_id(self) -> str:
        return self._inner.store_id

    @property
    def admin(self) -> BrokerAdmin | None:
        return self._inner.admin

    @property
    def control(self) -> ControlChannel | None:
        return self._inner.control

    @property
    def limits(self) -> LimitStore | None:
        return self._inner.limits

    @property
    def losses(self) -> Losses | None:
        return self._inner.losses

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        replies = await self._inner.publish(messages)
        self._accepted.published(messages, replies)
        return replies

    async def fetch(
        self, queues: Sequence[str], *, limit: int, wait_ms: int, worker: str
    ) -> Sequence[Delivery]:
        return await self._inner.fetch(queues, limit=limit, wait_ms=wait_ms, worker=worker)

    async def extend(self, extensions: Sequence[Extension]) -> Sequence[Extended]:
        return await self._inner.extend(extensions)

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        replies = await self._inner.settle(settlements)
        self._accepted.settled(settlements, replies)
        return replies

    async def cancel(self, cancellations: Sequence[Cancellation]) -> Sequence[Cancelled]:
        return await self._inner.cancel(cancellations)

    async def lookup(self, ids: Sequence[str]) -> Sequence[Located | None]:
        return await self._inner.lookup(ids)

    def sibling(self) -> Self:
        return type(self)(self._inner.sibling(), self._accepted)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _WatchedTransactional(_Watched, TransactionalBroker):
    def __init__(self, broker: TransactionalBroker, accepted: Accepted) -> None:
        super().__init__(broker, accepted)
        self._theirs = broker

    def accepts(self, connection: object) -> bool:
        return self._theirs.accepts(connection)

    async def publish_in(
        self, connection: object, messages: Sequence[Message]
    ) -> Sequence[Published]:
        replies = await self._theirs.publish_in(connection, messages)
        self._accepted.published(messages, replies)
        return replies

    async def settle_in(
        self, connection: object, settlements: Sequence[Settlement]
    ) -> Sequence[Settled]:
        replies = await self._theirs.settle_in(connection, settlements)
        self._accepted.settled(settlements, replies)
        return replies

    def publish_in_sync(
        self, connection: object, messages: Sequence[Message]
    ) -> Sequence[Published]:
        replies = self._theirs.publish_in_sync(connection, messages)
        self._accepted.published(messages, replies)
        return replies

    def settle_in_sync(
        self, connection: object, settlements: Sequence[Settlement]
    ) -> Sequence[Settled]:
        replies = self._theirs.settle_in_sync(connection, settlements)
        self._accepted.settled(settlements, replies)
        return replies
