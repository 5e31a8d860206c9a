"""What happened in a trial, as its processes wrote it down: one line for each event.

A line goes out in one write to a file that is open for appending: the lines of many
processes do not mix, and what was written outlives any kill. It begins with its newline,
so what a dying process left unfinished spoils nobody else's line.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from attrs import frozen


class What(StrEnum):
    """What an event tells."""

    ACCEPTED = "accepted"  # an enqueue of this id has returned
    LEASED = "leased"  # a worker's fetch has returned this id
    STARTED = "started"  # its function was called
    ENDED = "ended"  # its function returned, or was cancelled
    FOLLOWS = "follows"  # this id was enqueued by the run of another one; detail: by which
    SETTLED = "settled"  # the store has answered a settlement; detail: answer and outcome
    DROPPED = "dropped"  # a worker was told that the lease is lost
    READY = "ready"  # a worker takes work
    DRAINS = "drains"  # a worker says that it takes nothing more
    AWAY = "away"  # a worker says that the broker is away
    TROUBLE = "trouble"  # somebody was told of a store error; detail: which
    SIGNALLED = "signalled"  # a process is about to be asked to end
    KILLED = "killed"  # a process is about to be killed
    FROZEN = "frozen"  # a process is about to be stopped
    THAWED = "thawed"  # it was told to go on
    GONE = "gone"  # the store cannot be used from here on
    BACK = "back"  # it can be used again


KEPT = ("done", "already")
"""How the detail of a settlement begins that the store has accepted."""


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line.

    Attributes:
        what: see `What`.
        at_ns: of the monotonic clock, which all processes of a machine share.
        wall_ms: of the wall clock, for people.
        pid: whom it concerns.
        id, fence, attempt: of the task, where it is about one.
        detail: more.
    """

    what: What
    at_ns: int
    wall_ms: int
    pid: int
    id: str = ""
    fence: int = 0
    attempt: int = 0
    detail: str = ""


def now(
    what: What, id: str = "", fence: int = 0, attempt: int = 0, detail: str = "", pid: int = 0
) -> Event:
    """Return an event of this moment, about this process unless *pid* is given."""
    wall_ms = time.time_ns() // 1_000_000
    return Event(what, time.monotonic_ns(), wall_ms, pid or os.getpid(), id, fence, attempt, detail)


class Recorder:
    """Appends events to a history. Safe to use from any thread; ``with`` closes it."""

    def __init__(self, path: str | Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o666)
        self._encode = msgspec.json.Encoder().encode

    def write(self, *events: Event) -> None:
        """Append *events* in one write."""
        if events:
            lines = b"".join([b"\n" + self._encode(event) for event in events])
            if os.write(self._file, lines) != len(lines):
                raise OSError("the history has no room left: nothing of this trial counts")

    def note(
        self,
        what: What,
        *,
        id: str = "",
        fence: int = 0,
        attempt: int = 0,
        detail: str = "",
        pid: int = 0,
    ) -> Event:
        """Append one event of this moment, about this process unless *pid* is given; return it."""
        event = now(what, id, fence, attempt, detail, pid)
        self.write(event)
        return event

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@frozen
class History:
    """All events of a trial in the order of their lines; *torn* lines could not be read."""

    events: tuple[Event, ...] = ()
    torn: int = 0

    @classmethod
    def of(cls, path: str | Path) -> History:
        """Read the file at *path*."""
        return cls.read(Path(path).read_bytes().split(b"\n"))

    @classmethod
    def read(cls, lines: Iterable[bytes]) -> History:
        """Read *lines*; one that a killed process left unfinished is counted and passed over."""
        decode = msgspec.json.Decoder(Event).decode
        events: list[Event] = []
        torn = 0
        for line in filter(None, lines):
            try:
                events.append(decode(line))
            except msgspec.DecodeError:
                torn += 1
        return cls(tuple(events), torn)

    def only(self, *what: What) -> Iterator[Event]:
        """Yield the events that are *what*."""
        return (event for event in self.events if event.what in what)


class Tail:
    """Follows a history while it is written.

    Attributes:
        path: of the file.
        events: what was read so far.
        ids: the ids among them, by what was told of them.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._read_to = 0
        self._rest = b""
        self.events: list[Event] = []
        self.ids: dict[What, set[str]] = defaultdict(set)

    def look(self) -> list[Event]:
        """Read what is new; return all events so far.

        The last line may still be in the making; then it is left for the next look.
        """
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            new = file.read()
        self._read_to += len(new)
        *lines, rest = (self._rest + new).split(b"\n")
        if History.read([rest]).events:
            lines.append(rest)
            rest = b""
        self._rest = rest
        for event in History.read(lines).events:
            self.events.append(event)
            self.ids[event.what].add(event.id)
        return self.events
