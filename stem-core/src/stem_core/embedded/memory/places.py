"""Where every message of the memory broker is: the one place of each, and the moves between.

Rule of this module: a move keeps order and counts right and wakes whom it may
concern. Whether a message may move is decided in `machine`, which builds on this.
"""

from __future__ import annotations

from typing import Final

from stem_core.contracts.messages import Place
from stem_core.embedded.memory.agenda import Agenda
from stem_core.embedded.memory.queues import Entry, Queue, Spot
from stem_core.embedded.sleepers import Sleepers

__all__ = ["Places"]

# Members of an Enum cost a lookup each time; these are on the hot path.
_READY: Final = Place.READY
_DELAYED: Final = Place.DELAYED
_PARKED: Final = Place.PARKED
_LEASED: Final = Place.LEASED
_DEAD: Final = Place.DEAD
_UNSPOTTED: Final = Spot.NONE


class Places:
    """Messages and where they are.

    Attributes:
        entries: every live and dead message by id.
        queues: every queue that is known, by name.
        graves: the dead letters by id.
    """

    def __init__(self, sleepers: Sleepers) -> None:
        self.entries: dict[str, Entry] = {}
        self.queues: dict[str, Queue] = {}
        self.graves: dict[str, Entry] = {}
        self._sleepers = sleepers
        self._later = Agenda()
        self._leases = Agenda()
        self._grave_ends = Agenda(coarse=8)
        self._tickets = 0
        self._deaths = 0

    @property
    def next_ms(self) -> int:
        """Before this instant nothing becomes due and nothing lapses."""
        return min(self._later.next_ms, self._leases.next_ms)

    def queue(self, name: str) -> Queue:
        """Return the queue of this name, made on first use."""
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[name] = Queue(name)
        return queue

    def _advance(self, now_ms: int) -> None:
        """Promote what is due and make ready again what has lapsed."""
        if self._later.next_ms <= now_ms:
            for id in self._later.due(now_ms):
                self._promote(self.entries[id])
        if self._leases.next_ms <= now_ms:
            for id in self._leases.due(now_ms):
                self._lapse(self.entries[id])

    def _promote(self, entry: Entry) -> None:
        queue = entry.queue
        del queue.later[entry.message.id]
        if entry.place is _DELAYED:
            queue.delayed -= 1
            queue.ready += 1
            entry.place = _READY
        self._line_up(entry, entry.due_ms)

    def _lapse(self, entry: Entry) -> None:
        entry.lapses += 1
        entry.queue.leased -= 1
        self._make_ready(entry, entry.due_ms)

    def _make_ready(self, entry: Entry, ready_at_ms: int) -> None:
        """Let *entry*, which is counted nowhere, be ready behind all that is."""
        entry.place = _READY
        entry.queue.ready += 1
        self._line_up(entry, ready_at_ms)

    def _line_up(self, entry: Entry, ready_at_ms: int) -> None:
        """Let *entry*, whose place is counted, stand at the end of its line."""
        self._tickets = ticket = self._tickets + 1
        entry.queue.append(entry, ticket, ready_at_ms)
        if self._sleepers.latest_ms >= 0:
            self._sleepers.ready(entry.queue.name)

    def _wait(self, entry: Entry, place: Place, due_ms: int) -> None:
        """Let *entry* wait for *due_ms*, delayed or parked."""
        entry.place = place
        entry.due_ms = due_ms
        if place is _PARKED:
            entry.queue.parked += 1
        else:
            entry.queue.delayed += 1
        entry.queue.later[entry.message.id] = entry
        self._later.add(entry.message.id, due_ms)
        self._announce(due_ms)

    def _leave(self, entry: Entry) -> None:
        """Take *entry* out of where it is."""
        queue, place, id = entry.queue, entry.place, entry.message.id
        if place is _LEASED:
            queue.leased -= 1
            self._leases.drop(id, entry.due_ms)
            return
        if place is _DEAD:
            queue.dead -= 1
            del self.graves[id]
            self._grave_ends.drop(id, entry.due_ms)
            return
        if place is _READY:
            queue.ready -= 1
        elif place is _PARKED:
            queue.parked -= 1
        else:
            queue.delayed -= 1
        if entry.spot is _UNSPOTTED:
            del queue.later[id]
            self._later.drop(id, entry.due_ms)
        else:
            queue.remove(entry)

    def _bring_back(self, entry: Entry, place: Place, now_ms: int) -> None:
        """Let *entry*, handed back at once, stand at its old turn."""
        entry.place = place
        entry.due_ms = entry.ready_at_ms = now_ms
        if place is _PARKED:
            entry.queue.parked += 1
        else:
            entry.queue.ready += 1
        entry.queue.bring_back(entry)
        if self._sleepers.latest_ms >= 0:
            self._sleepers.ready(entry.queue.name)

    def _hold(self, entry: Entry, until_ms: int) -> None:
        """Let *entry* be under a lease that ends at *until_ms*."""
        entry.place = _LEASED
        entry.queue.leased += 1
        entry.due_ms = until_ms
        self._leases.add(entry.message.id, until_ms)
        self._announce(until_ms)

    def _lay_down(self, entry: Entry, until_ms: int) -> None:
        """Let *entry* be a dead letter until *until_ms*."""
        self._deaths += 1
        entry.place = _DEAD
        entry.death = self._deaths
        entry.due_ms = until_ms
        entry.queue.dead += 1
        self.graves[entry.message.id] = entry
        self._grave_ends.add(entry.message.id, until_ms)

    def _announce(self, due_ms: int) -> None:
        """Let whoever sleeps beyond *due_ms* know that something will change then."""
        if due_ms < self._sleepers.latest_ms:
            self._sleepers.sooner(due_ms)
