"""What a worker and its children say to each other, and how it looks on the socket.

A frame is four bytes of length, one of kind, and MessagePack. Rule of this module: both
sides are the same release of Stem, so nothing here is a format that lasts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from stem_core.contracts.messages import Delivery, Message
from stem_core.model.value import Value
from stem_core.worker.decide import Books
from stem_core.worker.outcomes import (
    Discarded,
    Failed,
    Handed,
    Outcome,
    Refused,
    Returned,
    Stopped,
)

__all__ = [
    "End",
    "Ended",
    "Frame",
    "Frames",
    "Line",
    "Mark",
    "Progressed",
    "Published",
    "Ready",
    "Rules",
    "Start",
    "Stillborn",
    "Stop",
    "TellSoft",
    "pack",
]

_HEAD: Final = struct.Struct("!IB")


class Mark(Protocol):
    """A number in memory that a child shares with its worker."""

    value: int


class Rules(Value, frozen=True, kw_only=True):
    """How a child works, the same for all of its tasks.

    Attributes:
        books: what is written down.
        max_payload: most bytes of a result.
        weighs: it says after each task how much memory it holds.
        log_level: below it nothing is logged, as a number of `logging`.
    """

    books: Books
    max_payload: int
    weighs: bool
    log_level: int


# ── the worker says ──────────────────────────────────────────────────────────


class Start(Value, frozen=True, kw_only=True):
    """Run this one. *serial* counts the tasks of the child; *started_ms* is wall time."""

    serial: int
    delivery: Delivery
    started_ms: int


class TellSoft(Value, frozen=True):
    """The soft limit of task *serial* is over."""

    serial: int


class End(Value, frozen=True):
    """Task *serial* is to end, for the `Cause` of this name."""

    serial: int
    cause: str
    reason: str = ""


class Stop(Value, frozen=True):
    """No more tasks: end as a program ends."""


# ── a child says ─────────────────────────────────────────────────────────────


class Ready(Value, frozen=True):
    """The application is loaded; *tasks* are the names that are registered."""

    tasks: frozenset[str]


class Stillborn(Value, frozen=True):
    """The application could not be loaded."""

    why: str


class Line(Value, frozen=True, kw_only=True):
    """One record of the log, its message complete; the fields are those of `LogRecord`."""

    name: str
    level: int
    message: str
    created: float
    pathname: str
    lineno: int
    function: str | None
    thread: str | None
    trace: str | None


class Progressed(Value, frozen=True):
    """The task says how far it is, as strict JSON."""

    value: bytes


class Published(Value, frozen=True):
    """The task enqueued this at once."""

    message: Message


class Ended(Value, frozen=True, kw_only=True):
    """How a task came out.

    Attributes:
        kind, outcome: the outcome's class by name, and its fields.
        follow_ups: what it enqueued.
        is_completed: it was settled in a transaction of the task's own.
        rss: bytes of memory that the child holds now; 0 where that is unknown.
    """

    kind: str
    outcome: msgspec.Raw
    follow_ups: tuple[Message, ...] = ()
    is_completed: bool = False
    rss: int = 0

    @classmethod
    def of(cls, outcome: Outcome, **facts: Any) -> Ended:
        """Return the frame of *outcome*."""
        return cls(kind=type(outcome).__name__, outcome=msgspec.Raw(_write(outcome)), **facts)

    def read(self) -> Outcome:
        """Return the outcome."""
        outcome: Outcome = _READ_OUTCOME[self.kind](self.outcome)
        return outcome


Frame: TypeAlias = (
    Start | TellSoft | End | Stop | Ready | Stillborn | Line | Progressed | Published | Ended
)


def _plain(value: Any) -> Any:
    """Return as a dict what only looks like one."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is nothing that a worker and a child say")


_write: Final = msgspec.msgpack.Encoder(enc_hook=_plain).encode
_KINDS: Final[tuple[type[Any], ...]] = (
    Start,
    TellSoft,
    End,
    Stop,
    Ready,
    Stillborn,
    Line,
    Progressed,
    Published,
    Ended,
)
_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}
_READ: Final = [msgspec.msgpack.Decoder(kind).decode for kind in _KINDS]
_READ_OUTCOME: Final[Mapping[str, Any]] = {
    kind.__name__: msgspec.msgpack.Decoder(kind).decode
    for kind in (Returned, Failed, Discarded, Refused, Handed, Stopped)
}


def pack(frame: Frame) -> bytes:
    """Return *frame* as it goes over the socket."""
    body = _write(frame)
    return _HEAD.pack(len(body), _NUMBERS[type(frame)]) + body


class Frames:
    """Puts together what comes in pieces."""

    def __init__(self) -> None:
        self._came = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with *data*."""
        came = self._came
        came += data
        begin = 0
        try:
            while len(came) - begin >= _HEAD.size:
                length, kind = _HEAD.unpack_from(came, begin)
                end = begin + _HEAD.size + length
                if len(came) < end:
                    return
                body = bytes(came[begin + _HEAD.size : end])
                begin = end
                yield _READ[kind](body)
        finally:
            del came[:begin]
