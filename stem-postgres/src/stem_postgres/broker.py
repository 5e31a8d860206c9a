"""`PostgresBroker`: the broker contract over PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from stem_core.plugin import (
    BrokerAdmin,
    Cancellation,
    Cancelled,
    Capabilities,
    ControlChannel,
    Delivery,
    Durability,
    Extended,
    Extension,
    LimitStore,
    Located,
    Message,
    Nap,
    Published,
    Settled,
    Settlement,
    SettleStatus,
    StoreError,
    StoreFull,
    Support,
    TransactionalBroker,
    replace,
    started,
    storable,
)
from stem_postgres import publishing, settling, transaction
from stem_postgres.admin import PostgresAdmin
from stem_postgres.arrays import Int8s, Texts
from stem_postgres.control import PostgresControl
from stem_postgres.errors import translated
from stem_postgres.handle import PostgresHandle, Store
from stem_postgres.limits import PostgresLimits
from stem_postgres.low_water import LowWater
from stem_postgres.objections import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    MAX_DELAY_MS,
    MAX_PAYLOAD,
    is_text,
    refuse_too_much,
)
from stem_postgres.rows import locate
from stem_postgres.taking import Taken, read_taken
from stem_postgres.wakes import Wakes, word_of
from stem_postgres.wire import WAYS_TO_FAIL

__all__ = ["CAPABILITIES", "PostgresBroker"]

CAPABILITIES: Final = Capabilities(
    durability=Durability.SYNCED,
    delay=Support.NATIVE,
    priority=Support.NATIVE,
    uniqueness=Support.NATIVE,
    dedupe=Support.NATIVE,
    cancel=Support.NATIVE,
    pause=Support.NATIVE,
    dead_letters=Support.NATIVE,
    transactional=Support.NATIVE,
    atomic_results=Support.NATIVE,
    broadcast=Support.NATIVE,
    limits=Support.NATIVE,
    multiprocess=True,
    max_batch=MAX_BATCH,
    max_batch_bytes=MAX_BATCH_BYTES,
    max_payload=MAX_PAYLOAD,
    max_delay_ms=MAX_DELAY_MS,
)
_FIRST_LOOK_MS: Final = 100
"""When whoever fell asleep looks once more, for what his note came too late to be told of."""

_BUSY_MS: Final = 4_000
"""How long a worker that always finds work puts off clearing away what is over."""

_LONG_MS: Final = 60_000
"""How long it may take to find the first task, where a look has been given up."""

_FAREWELL_S: Final = 2.0
"""How long a cancelled fetch may take to hand back. A lease that is left behind lapses."""


class PostgresBroker(PostgresHandle, TransactionalBroker):
    """A broker for many machines: every step is one statement, fenced and by the server's clock.

    What an accepted message survives is what the server is set up for: see `capabilities`.

    Attributes:
        wakes: who waits here, and is told.
        low: where looks for work begin.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.wakes = Wakes(store.channel)
        self._in_order: Final = asyncio.Lock()
        self.low: Final = LowWater(store.clock, self.first_of)

    @property
    def capabilities(self) -> Capabilities:
        """What this broker can do, and how durable its server is."""
        return replace(CAPABILITIES, durability=self.store.facts.durability)

    # ── the verbs ────────────────────────────────────────────────────────────

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        self.enter()
        batch = self._publishing(messages)
        if not batch.sent:
            return batch.replies([])
        is_in_line = self._in_order.locked()  # behind a call that is out, as the last of many
        if len(batch.sent) == 1 and not is_in_line:
            ((reply,),) = await self.call(
                "calls.publish_one", *batch.alone, self.store.told, is_alone=True
            )
            return batch.replies([(1, int(reply[0]), reply[1:])])
        # Packed before the call that is out has ended, and sent after it: a second connection
        # might overtake the first.
        args = batch.arguments
        async with self._in_order:
            return batch.replies(await self.call("calls.publish", self.store.told, *args))

    def _publishing(self, messages: Sequence[Message]) -> publishing.Batch:
        batch = publishing.Batch(messages, self.store.clock.wall_ms())
        refuse_too_much(messages, batch.sent)
        return batch

    async def fetch(
        self, queues: Sequence[str], *, limit: int, wait_ms: int, worker: str
    ) -> Sequence[Delivery]:
        self.enter()
        names = [queue for queue in dict.fromkeys(queues) if is_text(queue)]
        if limit <= 0 or not names:
            return []
        until_ms = self.store.clock.monotonic_ms() + wait_ms
        nap = Nap()
        self.wakes.note(nap, [word_of("q", name) for name in names])
        try:
            await self.sweep(late_ms=_BUSY_MS)
            return await self._wait(nap, names, limit, until_ms, storable(worker))
        finally:
            self.wakes.leave(nap)

    async def _wait(
        self, nap: Nap, queues: Sequence[str], limit: int, until_ms: int, worker: str
    ) -> Sequence[Delivery]:
        clock, options = self.store.clock, self.store.location.options
        pause_ms, was_woken = min(_FIRST_LOOK_MS, options.poll), False
        while True:
            asked_ms = clock.monotonic_ms()
            left_ms = max(0, until_ms - asked_ms)
            wait_ms = min(left_ms, options.poll)
            taken = await self._take(queues, limit, wait_ms, worker, is_urgent=was_woken)
            if taken.deliveries:
                return taken.deliveries
            await self.sweep()  # now nobody waits for it
            if left_ms <= 0 or self.is_closed:
                return ()
            wakes_ms = asked_ms + min(left_ms, pause_ms, taken.look_again_ms)
            if self.store.listens:
                within_ms = await self.wakes.follow(self.enter())
                wakes_ms = min(wakes_ms, clock.monotonic_ms() + within_ms)
            was_woken = await nap.sleep(clock, wakes_ms)
            if self.is_closed:
                return ()
            pause_ms = _FIRST_LOOK_MS if was_woken else options.poll

    async def _take(
        self, queues: Sequence[str], limit: int, wait_ms: int, worker: str, *, is_urgent: bool
    ) -> Taken:
        """Look once. What is leased for a caller who has gone is handed back."""
        arguments = (Texts(queues), limit, wait_ms, worker, self.low.of(queues))
        began = time.perf_counter()
        call = started(self.call("calls.fetch", *arguments, is_urgent=is_urgent))
        try:
            taken = read_taken(await asyncio.shield(call))
        except asyncio.CancelledError:
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await self._hand_back(read_taken(await call).deliveries)
            raise
        except StoreError:
            self._looked(queues, began, 0)  # a look that passes by very much is given up
            raise
        self._looked(queues, began, len(taken.deliveries))
        return taken

    def _looked(self, queues: Sequence[str], began: float, count: int) -> None:
        if not self.is_closed:
            self.low.looked(queues, 1000 * (time.perf_counter() - began), count)

    async def first_of(
        self, queues: Sequence[str], low: Int8s | None = None, is_long: bool = False
    ) -> tuple[Sequence[int], int]:
        """Return where the first message stands of each priority, and how much was passed by."""
        if not is_long:
            ((lows, passed),) = await self.call("calls.lowest", Texts(queues), low)
            return lows, passed
        arguments = (self.store.ns, self.store.instant(), Texts(queues), low)
        try:
            async with self.enter().alone(_LONG_MS) as run:
                ((lows, passed),) = await run(self.store.sql("calls.lowest"), arguments)
        except WAYS_TO_FAIL as error:
            location = self.store.location
            raise translated(error, location.shown, location.schema) from None
        return lows, passed

    async def _hand_back(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            await self.call(
                "calls.settle", self.store.told, *settling.hand_back_arguments(deliveries)
            )

    async def extend(self, extensions: Sequence[Extension]) -> Sequence[Extended]:
        self.enter()
        if not extensions:
            return []
        rows = await self.call(
            "calls.extend",
            Texts([storable(each.receipt.id) for each in extensions]),
            Int8s([each.receipt.fence for each in extensions]),
            Int8s([max(0, each.lease_ms) for each in extensions]),
        )
        return [settling.extended(row) for row in rows]

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        self.enter()
        if not settlements:
            return []
        batch = settling.Batch(settlements, self.store.clock.wall_ms())
        try:
            return batch.replies(await self.call("calls.settle", self.store.told, *batch.arguments))
        except StoreFull as error:
            return await self._settle_what_fits(settlements, error)

    async def _settle_what_fits(
        self, settlements: Sequence[Settlement], error: StoreFull
    ) -> Sequence[Settled]:
        """Settle each by itself: there may be room for most, and an end makes more of it."""
        if len(settlements) == 1:
            return [Settled(SettleStatus.FULL, error.message)]
        return [reply for each in settlements for reply in await self.settle([each])]

    async def cancel(self, cancellations: Sequence[Cancellation]) -> Sequence[Cancelled]:
        self.enter()
        if not cancellations:
            return []
        rows = await self.call("calls.cancel", False, *settling.cancel_arguments(cancellations))
        return [settling.read_cancelled(row) for row in rows]

    async def lookup(self, ids: Sequence[str]) -> Sequence[Located | None]:
        self.enter()
        if not ids:
            return []
        asked = [id for id in dict.fromkeys(ids) if is_text(id)]
        rows = await self.run("lookup.located", {**self.here, "ids": asked})
        found = {each.message.id: each for each in map(locate, rows)}
        return [found.get(id) for id in ids]

    # ── in the caller's transaction ──────────────────────────────────────────

    def accepts(self, connection: object) -> bool:
        """Return whether *connection* is of psycopg 3, or a SQLAlchemy session or connection."""
        return transaction.accepts(connection)

    async def publish_in(
        self, connection: object, messages: Sequence[Message]
    ) -> Sequence[Published]:
        batch = self._publishing(messages)
        if not batch.sent:
            return batch.replies([])
        call = transaction.Call(self.store, "calls.publish", batch.arguments)
        return batch.replies(await call.run(connection))

    async def settle_in(
        self, connection: object, settlements: Sequence[Settlement]
    ) -> Sequence[Settled]:
        if not settlements:
            return []
        batch = settling.Batch(settlements, self.store.clock.wall_ms())
        call = transaction.Call(self.store, "calls.settle", batch.arguments)
        return batch.replies(await call.run(connection))

    def publish_in_sync(
        self, connection: object, messages: Sequence[Message]
    ) -> Sequence[Published]:
        batch = self._publishing(messages)
        if not batch.sent:
            return batch.replies([])
        call = transaction.Call(self.store, "calls.publish", batch.arguments)
        return batch.replies(call.run_sync(connection))

    def settle_in_sync(
        self, connection: object, settlements: Sequence[Settlement]
    ) -> Sequence[Settled]:
        if not settlements:
            return []
        batch = settling.Batch(settlements, self.store.clock.wall_ms())
        call = transaction.Call(self.store, "calls.settle", batch.arguments)
        return batch.replies(call.run_sync(connection))

    # ── companions ───────────────────────────────────────────────────────────

    @property
    def admin(self) -> BrokerAdmin:
        """What operators do with this store."""
        return PostgresAdmin(self)

    @property
    def control(self) -> ControlChannel:
        """Fan-out to whoever listens in this namespace."""
        return PostgresControl(self)

    @property
    def limits(self) -> LimitStore:
        """Limits shared by all who use the namespace."""
        return PostgresLimits(self)

    async def aclose(self) -> None:
        """Free the connections. Idempotent; leases are left to lapse."""
        if self._server is not None and self._loop is asyncio.get_running_loop():
            self.is_closed = True
            await self.wakes.stop()
            await self.low.stop()
        await super().aclose()
