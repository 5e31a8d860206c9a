"""What operators do with a broker: look, hold, replay, remove.

None of it is on the hot path. Lists are paged by an opaque cursor (a keyset,
never an offset), so a page neither skips nor repeats what others add meanwhile.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum

from stem_core.contracts.messages import Cancelled, Located
from stem_core.model.value import Value

__all__ = ["BrokerAdmin", "Health", "LocatedPage", "QueueStats", "ReplayStatus", "Replayed"]


class QueueStats(Value, frozen=True, gc=False, kw_only=True):
    """One queue at one moment; counts of messages, *oldest_ms* the age of the oldest ready one."""

    queue: str
    ready: int = 0
    delayed: int = 0
    parked: int = 0
    leased: int = 0
    dead: int = 0
    oldest_ms: int = 0
    paused: bool = False


class LocatedPage(Value, frozen=True, gc=False, kw_only=True):
    """One page; *cursor* asks for the next one, None after the last."""

    items: tuple[Located, ...] = ()
    cursor: str | None = None


class ReplayStatus(Enum):
    """What became of one replay or discard."""

    DONE = "done"
    ALREADY = "already"  # it is live: somebody replayed it before
    UNKNOWN = "unknown"
    UNIQUE = "unique"  # its unique key is held by another message
    FULL = "full"


class Replayed(Value, frozen=True, gc=False):
    """The reply for one replay or discard.

    *fence* is the message's last one, given with `DONE`: a caller whose records are in
    another store hands it to `ResultBackend.reopen`.
    """

    status: ReplayStatus
    fence: int = 0


class Health(Value, frozen=True, gc=False, kw_only=True):
    """A real write and read at the store: its round trip, and what is worth saying."""

    ok: bool
    round_trip_ms: float
    detail: str = ""
    warnings: tuple[str, ...] = ()


class BrokerAdmin(ABC):
    """The operators' view of one broker and namespace."""

    @abstractmethod
    async def stats(self, queues: Sequence[str] = ()) -> Sequence[QueueStats]:
        """Return statistics of *queues*, or of every queue that is known.

        [ADMIN-1] Names come sorted; a named queue that is unknown counts as empty.
        """

    @abstractmethod
    async def peek(self, queue: str, *, limit: int = 20, cursor: str | None = None) -> LocatedPage:
        """Show live messages of *queue* in the order of their ids. [ADMIN-2] Leases nothing."""

    @abstractmethod
    async def dead_letters(
        self, queue: str | None = None, *, limit: int = 20, cursor: str | None = None
    ) -> LocatedPage:
        """List dead letters, the latest first. [ADMIN-3] Bodies byte for byte."""

    @abstractmethod
    async def replay(self, ids: Sequence[str]) -> Sequence[Replayed]:
        """Put dead letters back to ready.

        [ADMIN-4] Same id, bytes and signature; attempt and lapses start anew, the
        fence goes on, the history stays; the record goes back to queued in the
        same step.
        """

    @abstractmethod
    async def discard(self, ids: Sequence[str]) -> Sequence[Replayed]:
        """Remove dead letters for good. [ADMIN-5] Their records stay as they are."""

    @abstractmethod
    async def purge(self, queue: str, *, limit: int = 500) -> Sequence[Cancelled]:
        """Cancel up to *limit* waiting messages of *queue*; return those, with their fences.

        [ADMIN-6] Each one ends in one step with a record in state cancelled (task and queue
        but no meta: a broker does not read bodies) and its unique key freed.
        Leased and dead ones are untouched. Call again until it returns none.
        """

    @abstractmethod
    async def pause(self, queue: str) -> None:
        """Hold *queue*: [ADMIN-7] fetch gives nothing of it until `resume`; leases go on."""

    @abstractmethod
    async def resume(self, queue: str) -> None:
        """Let *queue* go on. [ADMIN-8] Waiting workers are woken."""

    @abstractmethod
    async def health(self) -> Health:
        """Write and read back at the store. [ADMIN-9] A read-only replica is not healthy."""
