"""What one step wants to write: checked against its limits, and not yet written.

Rule of this module: it knows no network and no clock; the time is an argument.
"""

from __future__ import annotations

from typing import Final, Protocol, TypeVar

import stem_core.plugin as stem
from nats_broker.values import Entry, Kept, Note, Switch, Value, encode, name_of

V = TypeVar("V", Entry, Kept, Note, Switch)

MAX_CHANGES: Final = 1000
"""The server takes no larger atomic batch."""


class TooLarge(Exception):
    """A step would write more than the server takes in one; nothing of it is in the draft."""


class Shelf(Protocol):
    """Where values are read."""

    def get(self, name: str) -> Value | None:
        """Return the value under *name*, ended or not."""
        ...


class Change:
    """A value to be written.

    Attributes:
        value: as it will stand, with the instants taken from the clock of this process.
        data: as it is sent, with instants that wait for the server's stamp.
        ttl_s: after how many seconds the server may drop it; 0 for never.
    """

    __slots__ = ("data", "ttl_s", "value")

    def __init__(self, value: Value, data: bytes, ttl_s: int) -> None:
        self.value, self.data, self.ttl_s = value, data, ttl_s


class Draft:
    """The changes of one step at *now_ms*, over a shelf or over another draft.

    Attributes:
        changes: by name.
        is_proven: every answer so far rests on something that this step writes, so that the
            server refuses the step if it was out of date.
    """

    def __init__(self, below: Shelf, now_ms: int, max_bytes: int) -> None:
        self._below, self._max_bytes = below, max_bytes
        self.now_ms: Final = now_ms
        self.changes: dict[str, Change] = {}
        self.is_proven = True

    def get(self, name: str) -> Value | None:
        """Return the value under *name* as this step has left it."""
        change = self.changes.get(name)
        return self._below.get(name) if change is None else change.value

    def put(self, value: Value) -> None:
        """Write *value* when the step is made.

        Raises:
            TooLarge: one message of the server, or one batch, cannot hold it.
        """
        name, data = name_of(type(value), value.key), encode(value)
        if len(data) > self._max_bytes:
            raise TooLarge(f"{len(data)} bytes, more than {self._max_bytes}")
        settled = value.settled_at(0, self.now_ms)
        ends_ms = settled.ends_ms
        # The server counts in whole seconds, and takes none for "keep it".
        ttl_s = max(1, -(-(ends_ms - self.now_ms) // 1000)) if ends_ms else 0
        self.changes[name] = Change(settled, data, ttl_s)
        if len(self.changes) > MAX_CHANGES:
            raise TooLarge(f"more than {MAX_CHANGES} changes in one step")

    def doubt(self) -> None:
        """Say that an answer rests on something that is not written."""
        self.is_proven = False

    def inner(self) -> Draft:
        """Return a draft over this one, to be adopted whole or thrown away."""
        return Draft(self, self.now_ms, self._max_bytes)

    def adopt(self, inner: Draft) -> None:
        """Take over what *inner* wants to write.

        Raises:
            TooLarge: a batch cannot hold it beside what is here.
        """
        changes = {**self.changes, **inner.changes}
        if len(changes) > MAX_CHANGES:
            raise TooLarge(f"more than {MAX_CHANGES} changes in one step")
        self.changes = changes
        self.is_proven = self.is_proven and inner.is_proven

    # ── what is there by now ─────────────────────────────────────────────────

    def entry(self, id: str) -> Entry | None:
        """Return the message *id* as time has left it; None when its id is forgotten."""
        value = self.get(name_of(Entry, id))
        assert value is None or isinstance(value, Entry)
        return None if value is None else aged(value, self.now_ms)

    def record(self, id: str) -> stem.Record | None:
        """Return the record of *id* while it is kept."""
        value = self._lasting(Kept, id)
        return None if value is None else stem.decode_record(value.data)

    def note(self, id: str) -> Note | None:
        """Return the progress of *id* while it is kept."""
        return self._lasting(Note, id)

    def is_paused(self, queue: str) -> bool:
        """Say whether *queue* is held."""
        value = self.get(name_of(Switch, queue))
        return isinstance(value, Switch) and value.is_paused

    def _lasting(self, kind: type[V], key: str) -> V | None:
        value = self.get(name_of(kind, key))
        return value if isinstance(value, kind) and value.ends_ms > self.now_ms else None


def aged(entry: Entry, now_ms: int) -> Entry | None:
    """Return *entry* as it is at *now_ms*: a dead letter ends, an ended message is forgotten."""
    if entry.ends_ms and entry.ends_ms <= now_ms:
        return None
    if entry.place is stem.Place.DEAD and entry.due_ms <= now_ms:
        return stem.replace(entry, place=None, due_ms=entry.ends_ms)
    return entry
