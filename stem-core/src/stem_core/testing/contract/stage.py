"""Where a contract test takes place: a fresh namespace of some store, and its time.

Rule of this module: a test gets a `Stage` and never asks which store is behind it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from attrs import define, field, frozen

from stem_core.contracts.admin import BrokerAdmin
from stem_core.contracts.backend import (
    HeartbeatStore,
    LockStore,
    ResultBackend,
    ScheduleStore,
)
from stem_core.contracts.broker import Broker
from stem_core.contracts.clock import SYSTEM_CLOCK
from stem_core.contracts.control import ControlChannel
from stem_core.contracts.limits import LimitStore
from stem_core.contracts.messages import (
    Delivery,
    Located,
    Message,
    Place,
    Published,
    PublishStatus,
    Settlement,
    SettleStatus,
    UniqueKey,
)
from stem_core.model.outcome import Record
from stem_core.model.value import replace
from stem_core.testing.contract.misuse import left_behind
from stem_core.testing.faults.proxy import FaultProxy

__all__ = ["Address", "Stage"]

_ROUNDING_MS: Final = 20
"""What a store may round up: let real time pass this much longer than asked."""

_BREATH_S: Final = 0.05
"""Real time in which a call that was started reaches its store."""

_KNOWN_ALREADY: Final = (PublishStatus.DUPLICATE, PublishStatus.CONFLICT)


@frozen
class Address:
    """How another process reaches what is on a stage; *backend* is empty when there is none."""

    broker: str
    backend: str
    namespace: str


@define
class Stage:
    """A broker and a backend, alone in their namespace.

    Without `let_pass` and `wall_ms` the stage goes by the real clock.

    Attributes:
        broker: belongs to the loop that opens the stage; None to prove a backend alone.
        backend: beside the broker, or None. Records of a settlement are looked for in it
            when the broker declares `atomic_results`.
        let_pass: lets that many milliseconds of the store's time pass.
        wall_ms: the wall clock of the store.
        unit_ms: a span that is long for the store and short for the test.
        due_shows: where a lookup may see what has become due and nobody has taken: in one
            place, where a step of the store makes it ready, or where time alone does.
        late_ms: delayed work may be late by this much; on a real clock.
        leftovers: names what the store still keeps for the namespace, whatever it is; proves
            that nothing stays behind when every retention time is over.
        cut: cuts the connections of the stage, once; proves that a listener comes back.
        full: a context in which the store has no room for new work; proves that a settlement
            which does not fit changes nothing.
        read_only: a context in which the store takes no writes, as a replica does; proves
            that `health` says so.
        network: stands before the store, and before nothing else; proves what becomes of a
            call whose reply is lost on the way.
        address: how a second process reaches the same namespace.
        given_again: the fixture, when its factory gave this store to an earlier test too.
    """

    _broker: Broker | None = None
    backend: ResultBackend | None = None
    _let_pass: Callable[[int], Awaitable[None]] | None = None
    wall_ms: Callable[[], int] = SYSTEM_CLOCK.wall_ms
    unit_ms: int = 1000
    due_shows: frozenset[Place] = frozenset({Place.DELAYED, Place.READY})
    late_ms: int = 500
    leftovers: Callable[[], Awaitable[Sequence[str]]] | None = None
    cut: Callable[[], Awaitable[None]] | None = None
    full: Callable[[], AbstractAsyncContextManager[object]] | None = None
    read_only: Callable[[], AbstractAsyncContextManager[object]] | None = None
    network: FaultProxy | None = None
    address: Address | None = None
    siblings: list[Broker] = field(factory=list, init=False)
    closers: list[Callable[[], Awaitable[None]]] = field(factory=list, init=False)
    is_closed: bool = field(default=False, init=False)
    given_again: str = field(default="", init=False)

    # ── what is on it ────────────────────────────────────────────────────────

    @property
    def has_broker(self) -> bool:
        """False on the stage of a backend alone."""
        return self._broker is not None

    @property
    def broker(self) -> Broker:
        """The broker, for tests of one."""
        assert self._broker is not None, "this stage has no broker"
        return self._broker

    @property
    def results(self) -> ResultBackend:
        """The backend, for tests that need one."""
        assert self.backend is not None, "this stage has no result backend"
        return self.backend

    @property
    def admin(self) -> BrokerAdmin:
        """The broker's `BrokerAdmin`."""
        assert self.broker.admin is not None, "the broker's `admin` is None"
        return self.broker.admin

    @property
    def control(self) -> ControlChannel:
        """The broker's `ControlChannel`."""
        assert self.broker.control is not None, "the broker's `control` is None"
        return self.broker.control

    @property
    def limits(self) -> LimitStore:
        """The broker's `LimitStore`."""
        assert self.broker.limits is not None, "the broker's `limits` is None"
        return self.broker.limits

    @property
    def heartbeats(self) -> HeartbeatStore:
        """The backend's `HeartbeatStore`."""
        assert self.results.heartbeats is not None, "the backend's `heartbeats` is None"
        return self.results.heartbeats

    @property
    def schedules(self) -> ScheduleStore:
        """The backend's `ScheduleStore`."""
        assert self.results.schedules is not None, "the backend's `schedules` is None"
        return self.results.schedules

    @property
    def locks(self) -> LockStore:
        """The backend's `LockStore`."""
        assert self.results.locks is not None, "the backend's `locks` is None"
        return self.results.locks

    @property
    def is_atomic(self) -> bool:
        """True when the broker's settlements save records in the backend of this stage."""
        return (
            self.backend is not None
            and bool(self.broker.capabilities.atomic_results)
            and self.backend.store_id == self.broker.store_id
        )

    def sibling(self) -> Broker:
        """A second handle, closed with the stage."""
        self.siblings.append(self.broker.sibling())
        return self.siblings[-1]

    def key(self, key: str = "k") -> UniqueKey | None:
        """A unique key, or None for a broker that declares none."""
        return UniqueKey(key=key) if self.broker.capabilities.uniqueness else None

    # ── what tests do all the time ───────────────────────────────────────────

    async def publish(self, *messages: Message) -> Sequence[Published]:
        """Publish, and insist that all were created."""
        replies = await self.broker.publish(messages)
        if self.given_again:
            for message, reply in zip(messages, replies, strict=False):
                if reply.status in _KNOWN_ALREADY:
                    store = self.broker.store_id
                    raise left_behind(self.given_again, store, f"the id {message.id!r}")
        assert [reply.status for reply in replies] == [PublishStatus.CREATED] * len(messages)
        return replies

    async def again(self, message: Message) -> PublishStatus:
        """Publish one message and say what became of it."""
        (reply,) = await self.broker.publish([message])
        return reply.status

    async def fetch(self, *queues: str, limit: int = 100, worker: str = "w1") -> list[Delivery]:
        """Take what is ready."""
        return list(
            await self.broker.fetch(queues or ("q",), limit=limit, wait_ms=0, worker=worker)
        )

    async def take(self, queue: str = "q", worker: str = "w1") -> Delivery:
        """Take exactly one."""
        taken = await self.fetch(queue, limit=1, worker=worker)
        assert len(taken) == 1, f"one message was there to be taken of {queue!r}, got {len(taken)}"
        return taken[0]

    async def settle(self, settlement: Settlement) -> SettleStatus:
        """Settle one delivery; its record is left out where the broker cannot save it."""
        if settlement.record is not None and not self.is_atomic:
            settlement = Settlement(
                receipt=settlement.receipt,
                outcome=settlement.outcome,
                follow_ups=settlement.follow_ups,
            )
        (reply,) = await self.broker.settle([settlement])
        return reply.status

    async def where(self, id: str) -> Located | None:
        """Look one message up."""
        (found,) = await self.broker.lookup([id])
        return found

    async def found(self, id: str) -> Located:
        """Look one message up that is there."""
        found = await self.where(id)
        assert found is not None, f"{id} is nowhere"
        return found

    async def assert_same(self, id: str, before: Located | None) -> None:
        """Insist that a message is as it was *before*, but for the time that has passed."""
        now = await self.where(id)
        if now is None or before is None:
            assert now == before
            return
        timeless = {"lease_ms": 0, "run_at_ms": 0}
        assert replace(now, **timeless) == replace(before, **timeless)
        assert before.lease_ms - 2 * self.unit_ms < now.lease_ms <= before.lease_ms
        assert abs(now.run_at_ms - before.run_at_ms) <= _ROUNDING_MS

    async def places(self, *ids: str) -> list[Place | None]:
        """Say where each of *ids* is; None for one that is nowhere."""
        found = await self.broker.lookup(ids)
        return [None if each is None else each.place for each in found]

    async def drain(self, *queues: str) -> list[str]:
        """Take and ack all that is ready; return the ids in order."""
        taken = await self.fetch(*queues)
        await self.broker.settle([Settlement(receipt=each.receipt) for each in taken])
        return [each.message.id for each in taken]

    async def record(self, id: str) -> Record | None:
        """Load one record; None where the broker cannot save any."""
        if not self.is_atomic:
            return None
        (record,) = await self.results.load([id])
        return record

    # ── time ─────────────────────────────────────────────────────────────────

    @property
    def is_real(self) -> bool:
        """True when time passes by itself."""
        return self._let_pass is None

    async def let_pass(self, duration_ms: int) -> None:
        """Return when that much of the store's time has passed."""
        if self._let_pass is None:
            await asyncio.sleep((duration_ms + _ROUNDING_MS) / 1000)
        else:
            await self._let_pass(duration_ms)

    async def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start *work* beside the test and let it run until it waits."""
        task = asyncio.ensure_future(work)
        await self.breathe()
        return task

    async def breathe(self) -> None:
        """Let everything run that can."""
        for _ in range(10):
            await asyncio.sleep(0)
        if self.is_real:
            await asyncio.sleep(_BREATH_S)

    async def aclose(self) -> None:
        """Close every handle."""
        self.is_closed = True
        for handle in (self._broker, *self.siblings):
            if handle is not None:
                await handle.aclose()
        if self.backend is not None:
            await self.backend.aclose()
        for close in self.closers:
            await close()


def elapsed_ms(since_s: float) -> float:
    """Milliseconds of real time since `time.monotonic` showed *since_s*."""
    return (time.monotonic() - since_s) * 1000
