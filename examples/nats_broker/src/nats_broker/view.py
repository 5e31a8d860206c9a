"""What a process knows of the stream: the last value under each subject, and lines to take from.

Rule of this module: no network, no clock, no await. The same messages in the same order make
the same view in every process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Final, TypeAlias

from nats_broker.draft import aged
from nats_broker.values import Entry, Kept, Value, name_of
from stem_core.plugin import Place

_GHOST_MS: Final = 30_000
"""How long a name is remembered after its value has ended: the server drops it meanwhile."""


_IsCurrent: TypeAlias = Callable[[Entry], bool]


class View:
    """The values of one namespace.

    Attributes:
        last: everything that the stream stored up to this number is in here.
    """

    def __init__(self) -> None:
        self.last = 0
        self._slots: dict[str, tuple[Value, int]] = {}
        self._lines: dict[str, _Line] = {}
        self._ends: list[tuple[int, str, int]] = []

    def become(self, other: View) -> None:
        """Know what *other* knows, which is to be used no more."""
        self.last = other.last
        self._slots, self._lines, self._ends = other._slots, other._lines, other._ends

    def get(self, name: str) -> Value | None:
        """Return the value under *name*, ended or not."""
        slot = self._slots.get(name)
        return None if slot is None else slot[0]

    def sequence(self, name: str) -> int:
        """Return the number under which the stream stored the value of *name*; 0 for none."""
        slot = self._slots.get(name)
        return 0 if slot is None else slot[1]

    def apply(self, raw: Value, sequence: int, stamp_ms: int) -> Value:
        """Take in a value as it was stored; one that is older than what is here changes nothing."""
        name = name_of(type(raw), raw.key)
        if sequence < self.sequence(name):
            return self._slots[name][0]
        value = raw.settled_at(sequence, stamp_ms)
        self._slots[name] = (value, sequence)
        if value.ends_ms:
            heappush(self._ends, (value.ends_ms + _GHOST_MS, name, sequence))
        if isinstance(value, Entry):
            self._line(value.message.queue).add(value)
        return value

    def lose(self, name: str) -> None:
        """Forget *name*, which the server does not have any more."""
        self._slots.pop(name, None)

    def tidy(self, now_ms: int) -> None:
        """Forget what has ended long ago."""
        while self._ends and self._ends[0][0] <= now_ms:
            _, name, sequence = heappop(self._ends)
            if self.sequence(name) == sequence:
                self.lose(name)

    # ── what waits ───────────────────────────────────────────────────────────

    def free(self, queues: Sequence[str], count: int, now_ms: int) -> list[str]:
        """Return the ids of the first *count* free messages: by queue, priority and age."""
        found: list[str] = []
        for queue in dict.fromkeys(queues):
            if queue in self._lines and len(found) < count:
                found += self._lines[queue].first(count - len(found), now_ms, self._is_current)
        return found

    def next_due_ms(self, queues: Sequence[str]) -> int | None:
        """Return when the next message of *queues* gets free by itself; None for never."""
        lines = [self._lines[queue] for queue in queues if queue in self._lines]
        due = [line.next_due_ms(self._is_current) for line in lines]
        return min((each for each in due if each is not None), default=None)

    def _line(self, queue: str) -> _Line:
        return self._lines.setdefault(queue, _Line())

    def _is_current(self, entry: Entry) -> bool:
        slot = self._slots.get(name_of(Entry, entry.key))
        return slot is not None and slot[0] is entry

    # ── all of it ────────────────────────────────────────────────────────────

    def entries(self, now_ms: int) -> Iterator[Entry]:
        """Yield every live or dead message."""
        for value, _ in self._slots.values():
            if isinstance(value, Entry) and (entry := aged(value, now_ms)) and entry.place:
                yield entry

    def records(self, now_ms: int) -> Iterator[Kept]:
        """Yield every record that is kept."""
        for value, _ in self._slots.values():
            if isinstance(value, Kept) and value.due_ms > now_ms:
                yield value


class _Line:
    """The messages of one queue: those whose time will come, and those that can be taken.

    A message that has moved on leaves its old places behind; they are passed over. The running
    number in a place keeps two messages from being compared.
    """

    def __init__(self) -> None:
        self._later: list[tuple[int, int, Entry]] = []
        self._ready: list[tuple[int, int, int, int, Entry]] = []
        self._count = 0

    def add(self, entry: Entry) -> None:
        if entry.place not in (None, Place.DEAD):
            self._count += 1
            heappush(self._later, (entry.due_ms, self._count, entry))

    def first(self, count: int, now_ms: int, is_current: _IsCurrent) -> list[str]:
        while self._later and self._later[0][0] <= now_ms:
            _, number, entry = heappop(self._later)
            rank = (-entry.message.priority, entry.due_ms, entry.turn, number, entry)
            heappush(self._ready, rank)
        taken: list[tuple[int, int, int, int, Entry]] = []
        while self._ready and len(taken) < count:
            place = heappop(self._ready)
            if is_current(place[-1]):
                taken.append(place)
        for place in taken:
            heappush(self._ready, place)
        return [place[-1].key for place in taken]

    def next_due_ms(self, is_current: _IsCurrent) -> int | None:
        while self._later and not is_current(self._later[0][-1]):
            heappop(self._later)
        return self._later[0][0] if self._later else None
