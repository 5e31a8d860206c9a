"""`RecordingBroker`: any broker, and a history of what it hands out and takes back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self, TypeVar

from stem_core.contracts.broker import Broker, TransactionalBroker
from stem_core.contracts.messages import Delivery, Settled, Settlement
from stem_core.model.errors import StoreError
from stem_core.testing.faults.around import AroundBroker, AroundTransactional
from stem_core.testing.faults.history import Event, Recorder, What, now

__all__ = ["RecordingBroker"]

T = TypeVar("T")


class RecordingBroker(AroundBroker):
    """Does what *inner* does, and notes leases, answers to settlements and store errors.

    What was accepted and what has started, it cannot know: the producer notes that its
    enqueue has returned, and the task that it was called. Around a `TransactionalBroker`
    it is one, too; what is settled in the caller's own transaction is not noted.
    """

    def __new__(cls, inner: Broker, *args: Any, **kwargs: Any) -> Self:
        """Take the shape of *inner*."""
        kind: type[Self] = _shape(cls, inner)
        return super().__new__(kind)

    def __init__(self, inner: Broker, recorder: Recorder) -> None:
        super().__init__(inner)
        self.recorder = recorder

    async def around(self, verb: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what *ask* returns; note a store error that it raises."""
        try:
            return await ask()
        except StoreError as error:
            self.recorder.note(What.TROUBLE, detail=f"{verb}: {error}")
            raise

    async def fetch(
        self, queues: Sequence[str], *, limit: int, wait_ms: int, worker: str
    ) -> Sequence[Delivery]:
        deliveries = await super().fetch(queues, limit=limit, wait_ms=wait_ms, worker=worker)
        self.recorder.write(*[_leased(each) for each in deliveries])
        return deliveries

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        replies = await super().settle(settlements)
        pairs = zip(settlements, replies, strict=True)
        self.recorder.write(*[_settled(each, reply) for each, reply in pairs])
        return replies

    def sibling_of(self, inner: Any) -> Self:
        """Return a handle that notes into the same history."""
        return type(self)(inner, self.recorder)


class RecordingTransactional(RecordingBroker, AroundTransactional):
    """What `RecordingBroker` makes of a `TransactionalBroker`."""


def _shape(asked: Any, inner: Broker) -> Any:
    is_plain = asked is RecordingBroker and isinstance(inner, TransactionalBroker)
    return RecordingTransactional if is_plain else asked


def _leased(delivery: Delivery) -> Event:
    receipt = delivery.receipt
    return now(What.LEASED, receipt.id, receipt.fence, delivery.attempt)


def _settled(settlement: Settlement, reply: Settled) -> Event:
    receipt = settlement.receipt
    detail = f"{reply.status.value} {type(settlement.outcome).__name__.lower()}"
    return now(What.SETTLED, receipt.id, receipt.fence, detail=detail)
