"""`MemoryStore`: one namespace of messages and records in this process, shared by name.

Rule of this module: it holds the lock and the clock, and no event loop. Every
verb runs as one `step`: under the lock, with one instant.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from os import getpid
from typing import ClassVar, Final, TypeVar, TypeVarTuple, Unpack

from stem_core import failpoints
from stem_core.contracts.clock import SYSTEM_CLOCK, Clock
from stem_core.contracts.control import ControlMessage
from stem_core.contracts.messages import Delivery
from stem_core.embedded import forks
from stem_core.embedded.memory.companions import Heartbeats, Locks, Schedules
from stem_core.embedded.memory.limits import Limits
from stem_core.embedded.memory.machine import Machine
from stem_core.embedded.memory.records import Records
from stem_core.embedded.sleepers import Sleeper, Sleepers
from stem_core.model.errors import UsageError
from stem_core.model.ids import check_name
from stem_core.model.outcome import Record

__all__ = ["MemoryStore"]

_log: Final = logging.getLogger("stem.memory")
_Args = TypeVarTuple("_Args")
_R = TypeVar("_R")
_SWEEP_EVERY_MS: Final = 250
_SWEEP_BUDGET: Final = 2000


class MemoryStore:
    """What brokers and backends of one name and namespace share. Thread-safe.

    Attributes:
        lock: held by every step; nothing that waits happens under it.
        generation: grows in a forked child, where handles of the parent end.
        machine, records, sleepers, heartbeats, schedules, locks, limits: the parts,
            each to be used in a step.
    """

    _named: ClassVar[dict[tuple[str, str], MemoryStore]] = {}
    _serials: ClassVar[count[int]] = count(1)

    def __init__(
        self, name: str = "default", namespace: str = "stem", clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.name: Final = check_name(name, kind="memory store")
        self.namespace: Final = check_name(namespace, kind="namespace")
        self.clock: Final = clock
        self.generation = 0
        self._is_copy = False
        self._begin()
        forks.watch(self)

    def _begin(self) -> None:
        """Start empty, as a store of its own."""
        self.lock = threading.Lock()
        serial = next(self._serials)
        self.store_id = f"memory:{getpid()}.{serial}:{self.namespace}:{self.name}"
        self.sleepers = Sleepers()
        self._leaving: deque[tuple[Sleeper, str | None]] = deque()
        self.records = Records(self.sleepers)
        self.machine = Machine(self.records, self.sleepers, self.clock.wall_ms)
        self.heartbeats = Heartbeats()
        self.schedules = Schedules()
        self.locks = Locks()
        self.limits = Limits()
        self._listeners: dict[Callable[[ControlMessage], None], None] = {}
        self._sweep_at_ms = self.clock.monotonic_ms() + _SWEEP_EVERY_MS

    # ── by name ──────────────────────────────────────────────────────────────

    @classmethod
    def named(
        cls, name: str = "default", namespace: str = "stem", clock: Clock = SYSTEM_CLOCK
    ) -> MemoryStore:
        """Return the store of this name, made on first use.

        Raises:
            UsageError: it exists and goes by another clock that is not the system's.
        """
        store = cls._named.get((namespace, name))
        if store is None:  # setdefault: of two threads that come first, both get one store
            store = cls._named.setdefault((namespace, name), cls(name, namespace, clock))
        if clock is not store.clock and clock is not SYSTEM_CLOCK:
            raise UsageError(
                f"memory store {name!r} of namespace {namespace!r} goes by another clock",
                way_out="Give each clock a store with a name of its own, or "
                "MemoryStore.forget(name, namespace) first.",
            )
        return store

    @classmethod
    def forget(cls, name: str = "default", namespace: str = "stem") -> None:
        """Let the next use of this name begin an empty store; handles of the old one keep it."""
        cls._named.pop((namespace, name), None)

    # ── steps ────────────────────────────────────────────────────────────────

    def step(
        self,
        verb: Callable[[int, Unpack[_Args]], _R],
        *args: *_Args,
    ) -> _R:
        """Run *verb* under the lock with the instant of now: one atomic step."""
        with self.lock:
            return verb(self.now_ms(), *args)

    def now_ms(self) -> int:
        """Return the instant of the step that begins, and clear away a little of what is over."""
        now_ms = self.clock.monotonic_ms()
        if now_ms >= self._sweep_at_ms:
            self._sweep(now_ms)
        return now_ms

    def take_or_sleep(
        self,
        queues: Sequence[str],
        limit: int,
        worker: str,
        *,
        sleeper: Sleeper,
        until_ms: int,
    ) -> tuple[Sequence[Delivery], int]:
        """Lease what is ready, or note *sleeper* in the same step.

        Gives with it the instant, *until_ms* or earlier, at which to look again.
        """

        def verb(now_ms: int) -> tuple[Sequence[Delivery], int]:
            taken = self.machine.take(now_ms, queues, limit, worker)
            look_again_ms = min(until_ms, self.machine.next_ms)
            if not taken:
                self.sleepers.wait_for_work(sleeper, queues, look_again_ms)
            return taken, look_again_ms

        return self.step(verb)

    def ended_or_sleep(self, id: str, sleeper: Sleeper) -> Record | None:
        """Return the terminal record of *id*, or note *sleeper* in the same step."""

        def verb(now_ms: int) -> Record | None:
            record = self.records.get(id, now_ms)
            if record is not None and record.state.is_terminal:
                return record
            self.sleepers.wait_for_result(sleeper, id)
            return None

        return self.step(verb)

    def dismiss(self, sleeper: Sleeper, result_of: str | None = None) -> None:
        """Forget who waited for work, or for the record of *result_of*.

        Never blocks: a waiter of a dead loop is thrown away by the garbage collector,
        which may run in the middle of a step of this very thread.
        """
        self._leaving.append((sleeper, result_of))
        if self.lock.acquire(blocking=False):
            try:
                self._let_leave()
            finally:
                self.lock.release()

    def _let_leave(self) -> None:
        while self._leaving:
            sleeper, result_of = self._leaving.popleft()
            if result_of is None:
                self.sleepers.dismiss(sleeper)
            else:
                self.sleepers.dismiss_from(sleeper, result_of)

    # ── the control channel ──────────────────────────────────────────────────

    def broadcast(self, message: ControlMessage) -> None:
        """Hand *message* to every listener."""
        with self.lock:
            for deliver in self._listeners:
                deliver(message)

    def add_listener(self, deliver: Callable[[ControlMessage], None]) -> None:
        """Call *deliver*, which must not wait, with every message from now on."""
        with self.lock:
            self._listeners[deliver] = None

    def remove_listener(self, deliver: Callable[[ControlMessage], None]) -> None:
        """Stop calling *deliver*."""
        with self.lock:
            self._listeners.pop(deliver, None)

    # ── housekeeping ─────────────────────────────────────────────────────────

    def _sweep(self, now_ms: int) -> None:
        self._let_leave()
        if failpoints.ARMED:
            failpoints.reach("memory.sweep.before_write")
        # Bounded, so that no step pays for all; far more than what can expire meanwhile.
        self.machine.sweep(now_ms, _SWEEP_BUDGET)
        self.records.sweep(now_ms, _SWEEP_BUDGET)
        self._sweep_at_ms = now_ms + _SWEEP_EVERY_MS
        if failpoints.ARMED:
            failpoints.reach("memory.sweep.after_write")

    def before_fork(self) -> None:
        """Hold the lock, so that it is not copied in the hands of a thread that the child lacks."""
        self.lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.lock.release()

    def after_fork_in_child(self) -> None:
        """Start empty in the child: what was in here belongs to the parent."""
        self._begin()
        self.generation += 1
        self._is_copy = True

    def warn_of_fork(self) -> None:
        """Say once, in a forked child, that this store is another one now."""
        if self._is_copy:
            self._is_copy = False
            _log.warning(
                "memory store %r was made before this process forked and begins empty here: "
                "another process cannot see what is in memory://. Use redis://, postgresql:// "
                "or sqlite:// between processes.",
                self.name,
            )
