"""The result backend contract: remembering how tasks ended.

A backend keeps one record per id. Writers may be late, doubled or dead, so the
record's fence decides, never the order of arrival.

[BACKEND-1] Errors are `StoreError` and its kin; replies are by position.
[BACKEND-2] A handle belongs to the event loop that first awaits it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import msgspec

from stem_core.contracts.capabilities import BackendCapabilities
from stem_core.model.outcome import Record, State
from stem_core.model.value import Value

__all__ = [
    "Heartbeat",
    "HeartbeatStore",
    "LockStore",
    "Progress",
    "RecordFilter",
    "RecordPage",
    "ResultBackend",
    "ScheduleState",
    "ScheduleStore",
]


class RecordFilter(Value, frozen=True, gc=False, kw_only=True):
    """Which records to list: all conditions hold at once, an empty one always does.

    Attributes:
        states, tasks, queues: any of these.
        meta: each of these keys has this value in the record's meta.
    """

    states: frozenset[State] = frozenset()
    tasks: frozenset[str] = frozenset()
    queues: frozenset[str] = frozenset()
    meta: Mapping[str, Any] = msgspec.field(default_factory=dict)

    def matches(self, record: Record) -> bool:
        """Decide whether *record* is one of them."""
        return (
            (not self.states or record.state in self.states)
            and (not self.tasks or record.task in self.tasks)
            and (not self.queues or record.queue in self.queues)
            and all(
                key in record.meta and record.meta[key] == value for key, value in self.meta.items()
            )
        )


class RecordPage(Value, frozen=True, gc=False, kw_only=True):
    """One page; *cursor* asks for the next one, None after the last."""

    records: tuple[Record, ...] = ()
    cursor: str | None = None


class Progress(Value, frozen=True, gc=False):
    """What a running task says of itself: *value* is strict JSON bytes; *ttl_ms* its retention."""

    id: str
    fence: int
    value: bytes
    ttl_ms: int = 86_400_000


class ResultBackend(ABC):
    """Remembers one record per task until its time is over."""

    @property
    @abstractmethod
    def capabilities(self) -> BackendCapabilities:
        """What this backend can do; constant for the life of the handle."""

    @property
    @abstractmethod
    def store_id(self) -> str:
        """The identity of the store and namespace; see `Broker.store_id`."""

    @abstractmethod
    async def save(self, records: Sequence[Record]) -> Sequence[bool]:
        """Save each record iff `Record.replaces` says so; say which were.

        [SAVE-1] The comparison and the write are one atomic step per record.
        [SAVE-2] A terminal record is never overwritten by an equal or older fence.
        [SAVE-3] Saving the very same record again answers True and changes nothing:
        a lost reply can be sent again.
        [SAVE-4] A record is kept `ttl_ms` from the save, then it is gone.
        [SAVE-5] Waiters for a terminal record are woken.
        """

    @abstractmethod
    async def load(self, ids: Sequence[str]) -> Sequence[Record | None]:
        """Return records. [LOAD-1] Unknown and expired ids are None."""

    @abstractmethod
    async def wait(self, id: str, *, timeout_ms: int) -> Record | None:
        """Return the terminal record of *id* as soon as there is one, None after *timeout_ms*.

        [WAIT-1] One that exists already is returned at once.
        [WAIT-2] One that another process saves ends the wait: pushed by the store, with
        a poll as safety net.
        [WAIT-3] A cancelled wait leaves nothing behind.
        """

    @abstractmethod
    async def list(
        self,
        where: RecordFilter | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RecordPage:
        """List records, the latest id first.

        [LIST-1] Paged by a keyset: none twice, none skipped.
        """

    @abstractmethod
    async def progress(self, updates: Sequence[Progress]) -> None:
        """Keep the last progress of running tasks; `progress_of` reads it.

        [PROGRESS-1] An older fence never replaces a newer one, and an update after the
        terminal record changes nothing.
        """

    @abstractmethod
    async def progress_of(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Return the last progress of tasks, as strict JSON bytes."""

    @abstractmethod
    async def reopen(self, replayed: Sequence[tuple[str, int]]) -> Sequence[bool]:
        """Let the records of replayed tasks, given with their fences, go back to queued.

        For dead letters whose broker is another store; in the same store the replay
        does it. Says which existed.

        [REOPEN-1] The one way out of a terminal state: iff the record's fence is not
        above the one given. Its value and reason are forgotten, its meta stays.
        """

    @abstractmethod
    async def expire(self, ids: Sequence[str], *, ttl_ms: int) -> Sequence[bool]:
        """Let records live *ttl_ms* from now; 0 forgets them at once. Says which existed."""

    @abstractmethod
    def sibling(self) -> Self:
        """Return a second handle to the same store, for another loop or thread."""

    @abstractmethod
    async def aclose(self) -> None:
        """Free the connections. Idempotent."""

    # Companions that the same store may offer.

    @property
    def heartbeats(self) -> HeartbeatStore | None:
        """Where live workers are listed, or None."""
        return None

    @property
    def schedules(self) -> ScheduleStore | None:
        """Where schedules keep their state, or None."""
        return None

    @property
    def locks(self) -> LockStore | None:
        """Named locks with fences, or None."""
        return None


class Heartbeat(Value, frozen=True, gc=False, kw_only=True):
    """A sign of life: *detail* is strict JSON bytes, *ttl_ms* how long it is believed."""

    worker: str
    at_ms: int
    detail: bytes = b"{}"
    ttl_ms: int = 30_000


class HeartbeatStore(ABC):
    """Where workers say that they live."""

    @abstractmethod
    async def beat(self, heartbeat: Heartbeat) -> None:
        """Keep the last heartbeat of a worker. [BEAT-1] Gone after its `ttl_ms`."""

    @abstractmethod
    async def alive(self) -> Sequence[Heartbeat]:
        """Return the heartbeats that are believed now, by worker name."""

    @abstractmethod
    async def leave(self, worker: str) -> None:
        """Forget a worker that stops."""


class ScheduleState(Value, frozen=True, gc=False, kw_only=True):
    """What a schedule remembers: *state* is strict JSON bytes, *version* grows with each save."""

    name: str
    version: int
    state: bytes


class ScheduleStore(ABC):
    """Where schedules keep their state."""

    @abstractmethod
    async def load_schedules(self) -> Sequence[ScheduleState]:
        """Return every schedule, by name."""

    @abstractmethod
    async def save_schedule(self, state: ScheduleState) -> bool:
        """Save iff *state.version* is one more than what is kept (1 for a new one).

        [SCHEDULE-1] One atomic step; of two savers of one version one gets False.
        """

    @abstractmethod
    async def remove_schedule(self, name: str) -> bool:
        """Forget a schedule; say whether it existed."""


class LockStore(ABC):
    """Named locks that end by themselves."""

    @abstractmethod
    async def acquire(self, name: str, *, owner: str, ttl_ms: int) -> int | None:
        """Take or renew a lock; return its fence, or None while another owner holds it.

        [LOCK-1] The fence is higher than at any earlier owner of this name.
        """

    @abstractmethod
    async def release(self, name: str, *, owner: str) -> bool:
        """Give a lock back; False if it was not held by *owner*."""
