"""Sending settlements, many in one call, until the store has answered each of them.

While a call is on its way the next settlements gather. A call without a reply is sent
again as it was: what it did before answers `already`. Rule of this module: it decides
nothing about a task; it gives up only what the store says is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from attrs import define, evolve

from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.broker import Broker
from stem_core.contracts.messages import (
    DeadLetter,
    ExtendStatus,
    Extension,
    Settled,
    Settlement,
    SettleStatus,
)
from stem_core.model.errors import Fault, StoreError
from stem_core.model.outcome import Reason, State, TaskError
from stem_core.worker.backoff import Backoff
from stem_core.worker.outcomes import Outcome
from stem_core.worker.run import Run

__all__ = ["Item", "Settler", "Store"]

_log = logging.getLogger("stem.worker")

_MOST: Final = 500


class Store(Protocol):
    """What a settler needs of a lane."""

    @property
    def broker(self) -> Broker: ...
    @property
    def backend(self) -> ResultBackend | None: ...
    @property
    def atomic(self) -> bool: ...


@define(eq=False)
class Item:
    """A settlement on its way, and what it settles."""

    run: Run
    outcome: Outcome
    settlement: Settlement
    ended_ms: int = 0


class Settler:
    """Settles what it is given, in the loop that runs it.

    Args:
        done: called with each item when it is over, and what the store said of it.
    """

    def __init__(
        self, store: Store, backoff: Backoff, done: Callable[[Item, SettleStatus], None]
    ) -> None:
        self._store = store
        self._backoff = backoff
        self._done = done
        self._waiting: deque[Item] = deque()
        self._bell = asyncio.Event()

    def add(self, item: Item) -> None:
        """Settle *item* soon."""
        self._waiting.append(item)
        self._bell.set()

    async def run(self) -> None:
        """Settle for ever. A cancelled settler may be run again and forgets nothing."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
                try:
                    await self._settle(batch)
                except BaseException:
                    self._waiting.extendleft(reversed(batch))
                    self._bell.set()
                    raise

    async def _settle(self, batch: list[Item]) -> None:
        """Settle *batch*; what is settled is taken out of it at once."""
        while batch:
            try:
                replies = await self._send(batch)
            except StoreError as error:
                if error.fault is Fault.DATA:
                    await self._find_the_bad_one(batch, error)
                    return
                self._tell(len(batch), error)
                await self._backoff.wait()
                continue
            self._backoff.reset()
            again = [
                item
                for item, reply in zip(batch, replies, strict=True)
                if not self._is_over(item, reply)
            ]
            batch[:] = again
            if again:
                await self._backoff.wait()

    async def _find_the_bad_one(self, batch: list[Item], error: StoreError) -> None:
        """Something in *batch* cannot be kept, and the store did not say what."""
        if len(batch) == 1:
            if self._is_over(batch[0], Settled(SettleStatus.INVALID, str(error))):
                batch.clear()
            await self._settle(batch)
        while batch:
            await self._settle(batch[:1])
            del batch[:1]

    async def _send(self, batch: Sequence[Item]) -> Sequence[Settled]:
        if not self._store.atomic:
            await self._save_first(batch)
        return await self._store.broker.settle([item.settlement for item in batch])

    async def _save_first(self, batch: Sequence[Item]) -> None:
        """Save the records in a backend that is another store than the broker.

        In this order: hold the leases, save, settle. So a record is written by whoever
        may still settle, and a crash in between is repeated and not lost.
        """
        items = [item for item in batch if item.settlement.record is not None]
        if not items or self._store.backend is None:
            return
        held = await self._store.broker.extend(
            [Extension(item.run.delivery.receipt, item.run.lease.length_ms) for item in items]
        )
        mine = [
            item
            for item, reply in zip(items, held, strict=True)
            if reply.status is not ExtendStatus.LOST
        ]
        records = [item.settlement.record for item in mine]
        await self._store.backend.save([record for record in records if record is not None])
        for item in mine:
            item.settlement = evolve(item.settlement, record=None)

    def _is_over(self, item: Item, reply: Settled) -> bool:
        match reply.status:
            case SettleStatus.FULL:
                _log.error("no room to settle %s: %s", item.run.delivery.receipt.id, reply.detail)
                return False
            case SettleStatus.INVALID if not _is_replaced(item.settlement):
                item.settlement = _unsettleable(item.settlement, reply.detail)
                return False
            case _:
                self._done(item, reply.status)
                return True

    def _tell(self, count: int, error: StoreError) -> None:
        if self._backoff.failures == 0:
            _log.error("%d settlements wait: %s", count, error)


def _is_replaced(settlement: Settlement) -> bool:
    outcome = settlement.outcome
    return isinstance(outcome, DeadLetter) and outcome.reason is Reason.RESULT_ENCODE_ERROR


def _unsettleable(settlement: Settlement, detail: str) -> Settlement:
    """Return what is settled instead of something that the store cannot keep."""
    reason = Reason.RESULT_ENCODE_ERROR
    error = TaskError(type="stem.unsettleable", message=f"the store refused what it left: {detail}")
    record = settlement.record and evolve(
        settlement.record, state=State.DEAD, value=None, reason=reason.value, error=error
    )
    return Settlement(receipt=settlement.receipt, outcome=DeadLetter(reason, error), record=record)
