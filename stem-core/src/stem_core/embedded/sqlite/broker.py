"""`SqliteBroker`: the broker contract over a file that many processes of one machine share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from stem_core import failpoints
from stem_core.contracts.admin import BrokerAdmin
from stem_core.contracts.broker import Broker
from stem_core.contracts.capabilities import Capabilities, Durability, Support
from stem_core.contracts.control import ControlChannel
from stem_core.contracts.limits import LimitStore
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
from stem_core.embedded.sqlite import moving, publishing, settling, taking
from stem_core.embedded.sqlite.admin import SqliteAdmin
from stem_core.embedded.sqlite.control import SqliteControl
from stem_core.embedded.sqlite.handle import SqliteHandle
from stem_core.embedded.sqlite.limits import SqliteLimits
from stem_core.embedded.sqlite.publishing import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    MAX_DELAY_MS,
    MAX_PAYLOAD,
)
from stem_core.embedded.sqlite.records import write as write_record
from stem_core.embedded.sqlite.rows import is_text
from stem_core.embedded.sqlite.settling import Order
from stem_core.embedded.sqlite.store import SqliteStore
from stem_core.embedded.sqlite.taking import Taken
from stem_core.embedded.waiting import Nap
from stem_core.model.errors import StoreError, StoreFull
from stem_core.model.outcome import storable
from stem_core.model.value import replace

__all__ = ["CAPABILITIES", "SqliteBroker"]

CAPABILITIES: Final = Capabilities(
    durability=Durability.SYNCED,
    delay=Support.NATIVE,
    priority=Support.NATIVE,
    uniqueness=Support.NATIVE,
    dedupe=Support.NATIVE,
    cancel=Support.NATIVE,
    pause=Support.NATIVE,
    dead_letters=Support.NATIVE,
    atomic_results=Support.NATIVE,
    broadcast=Support.EMULATED,
    limits=Support.NATIVE,
    multiprocess=True,
    embedded=True,
    max_batch=MAX_BATCH,
    max_batch_bytes=MAX_BATCH_BYTES,
    max_payload=MAX_PAYLOAD,
    max_delay_ms=MAX_DELAY_MS,
)
_CREATED: Final = PublishStatus.CREATED
_FAREWELL_S: Final = 2.0
"""How long a cancelled fetch may take to be sure. A lease that is left behind lapses."""

_NORMAL: Final = replace(CAPABILITIES, durability=Durability.CACHED)
_MEMORY: Final = replace(CAPABILITIES, durability=Durability.MEMORY, multiprocess=False)


class SqliteBroker(SqliteHandle, Broker):
    """A broker for one machine: what it has accepted survives the death of any process.

    With ``durability=full``, the default, it survives a power cut too. Safe to use from
    many processes, threads and loops, with one `sibling` for each loop.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this broker can do."""
        if self.store.location.is_memory:
            return _MEMORY
        return CAPABILITIES if self.store.durability == "full" else _NORMAL

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        store = self.enter()
        # Most publish one, and one that is too large is refused by itself.
        if len(messages) == 1 and store.is_quick and store.insert_here(messages[0]):
            replies: Sequence[Published] = [Published(_CREATED, messages[0].id)]
        elif messages:
            if len(messages) > 1:
                _refuse_too_much(messages)
            drafts = list(map(publishing.draft_of, messages))  # here: the writer serves everybody
            replies = await store.write(publishing.publish, messages, drafts)
        else:
            replies = []
        if failpoints.ARMED:
            failpoints.reach("sqlite.publish.after_commit")
        return replies

    async def fetch(
        self, queues: Sequence[str], *, limit: int, wait_ms: int, worker: str
    ) -> Sequence[Delivery]:
        self.enter()
        if limit <= 0 or not queues:
            return []
        if wait_ms <= 0:
            return (await self._take(queues, limit, worker)).deliveries
        return await self._wait(queues, limit, wait_ms, worker)

    async def _take(self, queues: Sequence[str], limit: int, worker: str) -> Taken:
        """Lease what is ready. What is leased for a caller who has gone is handed back."""
        store = self.store

        def hand_back(taken: Taken) -> None:
            if taken.deliveries:
                store.post(taking.hand_back, taken)

        try:
            taken = await store.write(
                taking.take,
                tuple(filter(is_text, queues)),
                limit,
                storable(worker),
                glance=taking.glance,
                lost=hand_back,
            )
        except asyncio.CancelledError:
            # It may be half way. The desk works in order: once it has come by twice, the
            # take has happened or has not, and what it took is handed back.
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await store.write(taking.nothing)
                    await store.write(taking.nothing)
            raise
        if failpoints.ARMED and taken.deliveries:
            failpoints.reach("sqlite.claim.after_commit")
        return taken

    async def _wait(
        self, queues: Sequence[str], limit: int, wait_ms: int, worker: str
    ) -> Sequence[Delivery]:
        store, clock, nap = self.store, self.store.clock, Nap()
        until_ms = clock.monotonic_ms() + wait_ms
        try:
            while not self.is_closed:
                # Noted before the look: what comes after the look ends the nap.
                store.waiters.wait_for_work(nap, queues)
                taken = await self._take(queues, limit, worker)
                if taken.deliveries or clock.monotonic_ms() >= until_ms:
                    return taken.deliveries
                look_again_ms = until_ms
                if taken.next_due_ms is not None:
                    look_again_ms = min(until_ms, store.monotonic_ms(taken.next_due_ms))
                    store.waiters.will_look(nap, queues, taken.next_due_ms)
                await nap.sleep(clock, look_again_ms)
        finally:
            store.waiters.dismiss(nap)
        return []

    async def extend(self, extensions: Sequence[Extension]) -> Sequence[Extended]:
        store = self.enter()
        if not extensions:
            return []
        replies = await store.write(settling.extend, extensions)
        if failpoints.ARMED:
            failpoints.reach("sqlite.extend.after_commit")
        return replies

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        store = self.enter()
        if not settlements:
            return []
        replies = await _settle(store, [_order(each) for each in settlements])
        if failpoints.ARMED:
            failpoints.reach("sqlite.settle.after_commit")
        return replies

    async def cancel(self, cancellations: Sequence[Cancellation]) -> Sequence[Cancelled]:
        store = self.enter()
        if not cancellations:
            return []
        wishes = [replace(each, reason=storable(each.reason)) for each in cancellations]
        replies = await store.write(moving.cancel, wishes)
        if failpoints.ARMED:
            failpoints.reach("sqlite.cancel.after_commit")
        return replies

    async def lookup(self, ids: Sequence[str]) -> Sequence[Located | None]:
        store = self.enter()
        return await store.read(moving.lookup, ids) if ids else []

    @property
    def admin(self) -> BrokerAdmin:
        """What operators do with this store."""
        return SqliteAdmin(self)

    @property
    def control(self) -> ControlChannel:
        """Fan-out to whoever listens on this machine."""
        return SqliteControl(self)

    @property
    def limits(self) -> LimitStore:
        """Limits shared by all who use the file."""
        return SqliteLimits(self)


async def _settle(store: SqliteStore, orders: Sequence[Order]) -> Sequence[Settled]:
    """Settle *orders*; where there is no room for all, each that fits by itself."""
    try:
        return await store.write(settling.settle, orders)
    except StoreFull as full:
        if len(orders) == 1:
            return [Settled(SettleStatus.FULL, full.message)]
        return [reply for order in orders for reply in await _settle(store, [order])]


def _order(settlement: Settlement) -> Order:
    """Write the record here, in the caller's thread: the writer's serves everybody."""
    outcome, objection = settlement.outcome, ""
    wait_ms = getattr(outcome, "after_ms", 0) or getattr(outcome, "keep_ms", 0)
    if wait_ms > MAX_DELAY_MS:
        objection = f"a wait of {wait_ms} ms is more than {MAX_DELAY_MS}"
    if settlement.record is None or objection:
        return settlement, None, objection
    return settlement, *write_record(settlement.record, settlement.receipt.id)


def _refuse_too_much(messages: Sequence[Message]) -> None:
    if len(messages) > MAX_BATCH:
        raise ValueError(f"{len(messages)} messages in one call, more than {MAX_BATCH}")
    size = sum([len(message.body) for message in messages])
    if size > MAX_BATCH_BYTES:
        raise ValueError(f"{size} bytes of bodies in one call, more than {MAX_BATCH_BYTES}")
