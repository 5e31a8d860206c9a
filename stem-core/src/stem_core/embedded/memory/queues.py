"""What waits where: one `Entry` per message, one `Queue` per name.

Rule of this module: order and counting only. What a step means for a message is
decided in `machine`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import IntEnum
from heapq import heappop, heappush
from itertools import chain, islice
from typing import Final

from stem_core.contracts.messages import Message, Place
from stem_core.model.outcome import TaskError

__all__ = ["Entry", "Queue", "Spot"]

LEVELS: Final = 10
_SLACK: Final = 64


class Spot(IntEnum):
    """Whether an entry stands in its queue's order, and how it came there."""

    NONE = 0
    LINE = 1  # at its turn
    FRONT = 2  # handed back: before all that is younger


_NONE: Final = Spot.NONE
_LINE: Final = Spot.LINE
_FRONT: Final = Spot.FRONT


class Entry:
    """One live or dead message with everything that the store keeps beside it.

    Instants are of the store's monotonic clock, but for *died_at_ms*. The defaults
    live on the class: a new entry writes only what differs.

    Attributes:
        place: where people see it.
        spot: whether it can be taken now.
        fence: of its last lease; before the first one what that is counted from.
        base: what the first lease was counted from.
        held: nobody has settled or replaced the last lease.
        settled: the last fence that settled it; 0 for none.
        failed: attempts that failed.
        due_ms: when it is ready (delayed, parked), when its lease ends (leased), when
            it is forgotten (dead).
        parked_at_ms: when it was first parked without a run since; -1 for never.
        ticket: its turn in the line; kept while it is leased.
        ghosts: left-over places in the line, all of them before the real one.
    """

    place: Place = Place.READY
    spot: Spot = _NONE
    fence: int = 0
    base: int = 0
    held: bool = False
    settled: int = 0
    failed: int = 0
    lapses: int = 0
    releases: int = 0
    cancel_requested: bool = False
    cancel_reason: str = ""
    due_ms: int = 0
    ready_at_ms: int = 0
    parked_at_ms: int = -1
    ticket: int = 0
    ghosts: int = 0
    worker: str = ""
    reason: str = ""
    died_at_ms: int = 0
    death: int = 0
    errors: tuple[TaskError, ...] = ()

    def __init__(self, message: Message, queue: Queue) -> None:
        self.message = message
        self.queue = queue


class Queue:
    """One queue: its order, its counts, and whether it is paused.

    Attributes:
        ready, delayed, parked, leased, dead: how many of its messages are shown there.
        later: its messages that wait for a time, by id.
    """

    __slots__ = (
        "_fronts", "_ghosts", "_lines",
        "dead", "delayed", "later", "leased", "name", "parked", "paused", "ready",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.paused = False
        self.ready = self.delayed = self.parked = self.leased = self.dead = 0
        self.later: dict[str, Entry] = {}
        # By rank: 0 for priority 9, so that walking up is the order of service.
        self._lines: list[deque[Entry]] = [deque() for _ in range(LEVELS)]
        self._fronts: list[list[tuple[int, Entry]]] = [[] for _ in range(LEVELS)]
        self._ghosts = 0

    @property
    def is_empty(self) -> bool:
        """True when it holds nothing, not even a dead letter."""
        return not (self.ready or self.delayed or self.parked or self.leased or self.dead)

    def append(self, entry: Entry, ticket: int, ready_at_ms: int) -> None:
        """Let *entry* stand at the end of the line of its priority."""
        entry.spot = _LINE
        entry.ticket = ticket
        entry.ready_at_ms = ready_at_ms
        self._lines[9 - entry.message.priority].append(entry)

    def bring_back(self, entry: Entry) -> None:
        """Let *entry* stand where its old ticket says: before all that is younger."""
        entry.spot = _FRONT
        heappush(self._fronts[9 - entry.message.priority], (entry.ticket, entry))

    def remove(self, entry: Entry) -> None:
        """Let *entry*, which is not counted any more, step out, wherever it stands."""
        if entry.spot is _LINE:
            entry.ghosts += 1
            self._ghosts += 1
            is_last = not (self.ready or self.parked)
            if is_last or self._ghosts > _SLACK + sum(map(len, self._lines)) // 2:
                self._close_ranks()
        elif entry.spot is _FRONT:
            rank = 9 - entry.message.priority
            # Handed-back entries are few and the first to be served: O(n) of few.
            self._fronts[rank] = sorted(pair for pair in self._fronts[rank] if pair[1] is not entry)
        entry.spot = _NONE

    def take(self, limit: int, into: list[Entry]) -> None:
        """Move up to *limit* entries to *into*, in the order of service."""
        for rank in range(LEVELS):
            front, line = self._fronts[rank], self._lines[rank]
            while front and limit > 0:
                _, entry = heappop(front)
                into.append(entry)
                limit -= 1
            while line and limit > 0:
                entry = line.popleft()
                if entry.ghosts:
                    entry.ghosts -= 1
                    self._ghosts -= 1
                else:
                    into.append(entry)
                    limit -= 1
            if limit <= 0:
                return

    def waiting(self, limit: int) -> list[Entry]:
        """Return up to *limit* waiting entries, those that could be taken first."""
        ready = (
            entry
            for front, line in zip(self._fronts, self._lines, strict=True)
            for entry in chain((entry for _, entry in sorted(front)), _without_ghosts(line))
        )
        return list(islice(chain(ready, self.later.values()), limit))

    def oldest_ready_ms(self) -> int | None:
        """Return since when the oldest one that could be taken has been ready."""
        since = [entry.ready_at_ms for front in self._fronts for _, entry in front]
        for line in self._lines:
            first = next(_without_ghosts(line), None)
            if first is not None:
                since.append(first.ready_at_ms)
        return min(since, default=None)

    def _close_ranks(self) -> None:
        for line in self._lines:
            for entry in [line.popleft() for _ in range(len(line))]:
                if entry.ghosts:
                    entry.ghosts -= 1
                else:
                    line.append(entry)
        self._ghosts = 0


def _without_ghosts(line: deque[Entry]) -> Iterator[Entry]:
    passed: dict[Entry, int] = {}
    for entry in line:
        if (count := passed.get(entry, 0)) < entry.ghosts:
            passed[entry] = count + 1
        else:
            yield entry
