"""`InMemoryBroker`: the broker contract over a store in this process."""

from __future__ import annotations

from collections.abc import Sequence
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
    Settled,
    Settlement,
)
from stem_core.embedded.memory.admin import MemoryAdmin
from stem_core.embedded.memory.control import MemoryControl
from stem_core.embedded.memory.handle import MemoryHandle
from stem_core.embedded.memory.limits import MemoryLimits
from stem_core.embedded.memory.machine import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    MAX_DELAY_MS,
    MAX_PAYLOAD,
)
from stem_core.embedded.waiting import Nap

__all__ = ["CAPABILITIES", "InMemoryBroker"]

CAPABILITIES: Final = Capabilities(
    durability=Durability.MEMORY,
    delay=Support.NATIVE,
    priority=Support.NATIVE,
    uniqueness=Support.NATIVE,
    dedupe=Support.NATIVE,
    cancel=Support.NATIVE,
    pause=Support.NATIVE,
    dead_letters=Support.NATIVE,
    atomic_results=Support.NATIVE,
    broadcast=Support.NATIVE,
    limits=Support.NATIVE,
    multiprocess=False,
    embedded=True,
    max_batch=MAX_BATCH,
    max_batch_bytes=MAX_BATCH_BYTES,
    max_payload=MAX_PAYLOAD,
    max_delay_ms=MAX_DELAY_MS,
)


class InMemoryBroker(MemoryHandle, Broker):
    """A broker for one process: everything that Stem can do, and nothing survives the process.

    Safe to use from many threads and loops, with one `sibling` for each loop.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this broker can do."""
        return CAPABILITIES

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        store = self.enter()
        with store.lock:  # a step, spelt out: this is the hottest path
            return store.machine.publish(store.now_ms(), messages)

    async def fetch(
        self, queues: Sequence[str], *, limit: int, wait_ms: int, worker: str
    ) -> Sequence[Delivery]:
        store = self.enter()
        if limit <= 0 or not queues:
            return []
        taken = store.step(store.machine.take, queues, limit, worker)
        if taken or wait_ms <= 0:
            return taken
        return await self._wait(queues, limit, wait_ms, worker)

    async def _wait(
        self, queues: Sequence[str], limit: int, wait_ms: int, worker: str
    ) -> Sequence[Delivery]:
        # Nothing is awaited between a take and the return: a cancelled fetch holds no lease.
        store, clock, nap = self.store, self.store.clock, Nap()
        until_ms = clock.monotonic_ms() + wait_ms
        try:
            while not self.is_closed:
                taken, look_again_ms = store.take_or_sleep(
                    queues, limit, worker, sleeper=nap, until_ms=until_ms
                )
                if taken or clock.monotonic_ms() >= until_ms:
                    return taken
                await nap.sleep(clock, look_again_ms)
        finally:
            store.dismiss(nap)
        return []

    async def extend(self, extensions: Sequence[Extension]) -> Sequence[Extended]:
        store = self.enter()
        if failpoints.ARMED:
            failpoints.reach("memory.extend.before_write")
        replies = store.step(store.machine.extend, extensions)
        if failpoints.ARMED:
            failpoints.reach("memory.extend.after_write")
        return replies

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        store = self.enter()
        return store.step(store.machine.settle, settlements)

    async def cancel(self, cancellations: Sequence[Cancellation]) -> Sequence[Cancelled]:
        store = self.enter()
        if failpoints.ARMED:
            failpoints.reach("memory.cancel.before_write")
        replies = store.step(store.machine.cancel, cancellations)
        if failpoints.ARMED:
            failpoints.reach("memory.cancel.after_write")
        return replies

    async def lookup(self, ids: Sequence[str]) -> Sequence[Located | None]:
        store = self.enter()
        return store.step(store.machine.lookup, ids)

    @property
    def admin(self) -> BrokerAdmin:
        """What operators do with this store."""
        return MemoryAdmin(self)

    @property
    def control(self) -> ControlChannel:
        """Fan-out to whoever listens in this process."""
        return MemoryControl(self)

    @property
    def limits(self) -> LimitStore:
        """Limits shared by all handles of the store."""
        return MemoryLimits(self)
