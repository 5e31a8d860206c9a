"""The broker: each verb is one step of the room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

import stem_core.plugin as stem
from nats_broker.admin import NatsAdmin
from nats_broker.draft import Draft, TooLarge
from nats_broker.handle import NatsHandle
from nats_broker.ledger import MAX_DELAY_MS, Ledger
from nats_broker.room import Room
from stem_core.plugin import Support

A = TypeVar("A")
R = TypeVar("R")

MAX_BATCH: Final = 200
_LEASED_AT_ONCE: Final = 500
_MOST_SPREAD: Final = 6
_FAREWELL_S: Final = 2.0
"""How long a cancelled fetch may take to hand back."""


class NatsBroker(NatsHandle, stem.Broker):
    """``nats://host:port``: for all processes that reach the server."""

    @property
    def capabilities(self) -> stem.Capabilities:
        """Declare what the kit is to prove, and nothing else: Stem refuses the rest for us."""
        return stem.Capabilities(
            durability=stem.Durability.CACHED,
            delay=Support.NATIVE,
            priority=Support.NATIVE,
            cancel=Support.NATIVE,
            pause=Support.NATIVE,
            dead_letters=Support.NATIVE,
            atomic_results=Support.NATIVE,
            max_batch=MAX_BATCH,
            max_batch_bytes=8 * self._max_payload,
            max_payload=self._max_payload,
            max_delay_ms=MAX_DELAY_MS,
        )

    @property
    def admin(self) -> NatsAdmin:
        """What operators do with this store."""
        return NatsAdmin(self, self._max_payload)

    # ── the verbs ────────────────────────────────────────────────────────────

    async def publish(self, messages: Sequence[stem.Message]) -> Sequence[stem.Published]:
        """Keep new messages."""
        size, most = sum(len(message.body) for message in messages), self.capabilities
        if len(messages) > most.max_batch:
            raise ValueError(f"{len(messages)} messages in one call, more than {most.max_batch}")
        if len(messages) > 1 and size > most.max_batch_bytes:
            raise ValueError(f"{size} bytes in one call, more than {most.max_batch_bytes}")
        return await self._each(Ledger.publish, messages)

    async def fetch(
        self, queues: Sequence[str], *, limit: int, wait_ms: int, worker: str
    ) -> Sequence[stem.Delivery]:
        """Lease messages; wait up to *wait_ms* for the first."""
        room, clock = await self.room(), self._context.clock
        until_ms = clock.monotonic_ms() + wait_ms
        await room.sync()
        while True:
            news = room.news
            if room.view.free(queues, 1, room.clock.now_ms()):
                taken = await self._take(room, queues, min(limit, _LEASED_AT_ONCE), worker)
                if taken:
                    return taken
            left_ms = until_ms - clock.monotonic_ms()
            if left_ms <= 0:
                return []
            await _first_of(news, min(left_ms, _until_due(room, queues)))

    async def extend(self, extensions: Sequence[stem.Extension]) -> Sequence[stem.Extended]:
        """Let leases end later."""
        return await self._each(Ledger.extend, extensions)

    async def settle(self, settlements: Sequence[stem.Settlement]) -> Sequence[stem.Settled]:
        """End leases; as many together as one batch of the server holds."""
        replies: list[stem.Settled] = []
        for part in _parts(settlements):
            try:
                replies += await self._each(Ledger.settle, part)
            except stem.StoreFull as error:
                replies += [stem.Settled(stem.SettleStatus.FULL, str(error))] * len(part)
        return replies

    async def cancel(self, cancellations: Sequence[stem.Cancellation]) -> Sequence[stem.Cancelled]:
        """End what waits; ask what runs to stop."""
        return await self._each(Ledger.cancel, cancellations)

    async def lookup(self, ids: Sequence[str]) -> Sequence[stem.Located | None]:
        """Say where messages are."""
        return await self._each(Ledger.lookup, ids)

    # ── pieces ───────────────────────────────────────────────────────────────

    async def _each(self, verb: Callable[[Ledger, A], R], batch: Sequence[A]) -> list[R]:
        room = await self.room()
        if not batch:
            return []

        def all_of_them(draft: Draft) -> list[R]:
            ledger = Ledger(draft, self._max_payload)
            return [verb(ledger, each) for each in batch]

        try:
            return await room.step(all_of_them)
        except TooLarge as error:
            raise stem.StoreError(str(error), fault=stem.Fault.DATA) from error

    async def _take(
        self, room: Room, queues: Sequence[str], limit: int, worker: str
    ) -> Sequence[stem.Delivery]:
        """Lease what is free. Who is cancelled meanwhile hands back what it took."""
        claim = _Claim(room, queues, limit, worker, self._max_payload, self._context.dice)
        taking = asyncio.ensure_future(room.step(claim, is_fresh=True))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            await asyncio.shield(self._hand_back(room, taking))
            raise

    async def _hand_back(self, room: Room, taking: asyncio.Future[Sequence[stem.Delivery]]) -> None:
        await asyncio.wait([taking])
        if taking.cancelled() or taking.exception() is not None:
            return
        receipts = [delivery.receipt for delivery in taking.result()]

        def undo(draft: Draft) -> None:
            for receipt in receipts:
                Ledger(draft, self._max_payload).hand_back(receipt)

        # The caller has gone, and hears of nothing: a lease that is left behind lapses.
        with suppress(stem.StoreError, TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await room.step(undo)


class _Claim:
    """Decides what one fetch leases.

    Where many take from one line, all of them want its first messages, and one gets them. So
    whoever was too late picks at random from twice as many of the same line as before.
    """

    def __init__(
        self,
        room: Room,
        queues: Sequence[str],
        limit: int,
        worker: str,
        max_payload: int,
        dice: stem.Dice,
    ) -> None:
        self._room, self._queues, self._limit, self._worker = room, queues, limit, worker
        self._max_payload, self._dice, self._attempts = max_payload, dice, 0

    def __call__(self, draft: Draft) -> Sequence[stem.Delivery]:
        open_queues = [queue for queue in self._queues if not draft.is_paused(queue)]
        spread = 1 << min(self._attempts, _MOST_SPREAD)
        self._attempts += 1
        ids = self._room.view.free(open_queues, self._limit * spread, draft.now_ms)
        return Ledger(draft, self._max_payload).lease(self._some(ids), self._worker)

    def _some(self, ids: list[str]) -> list[str]:
        """Return at most the limit of *ids*, beginning at a place that chance chooses."""
        first = int(self._dice.roll() * max(1, len(ids) - self._limit + 1))
        return ids[first : first + self._limit] if self._attempts > 1 else ids[: self._limit]


def _parts(settlements: Sequence[stem.Settlement]) -> list[list[stem.Settlement]]:
    """Split *settlements* so that the changes of each part fit one batch."""
    parts: list[list[stem.Settlement]] = [[]]
    changes = 0
    for settlement in settlements:
        changes += 2 + len(settlement.follow_ups)
        if changes > _LEASED_AT_ONCE and parts[-1]:
            parts.append([])
            changes = 2 + len(settlement.follow_ups)
        parts[-1].append(settlement)
    return parts


def _until_due(room: Room, queues: Sequence[str]) -> int:
    """Return how long it is until a message of *queues* gets free by itself."""
    due_ms = room.view.next_due_ms(queues)
    return MAX_DELAY_MS if due_ms is None else max(1, due_ms - room.clock.now_ms())


async def _first_of(news: asyncio.Event, at_most_ms: int) -> None:
    """Return at the next change of the view, or after a while."""
    with suppress(TimeoutError):
        await asyncio.wait_for(news.wait(), at_most_ms / 1000)
