"""What the stream holds: one value under each subject, whole, in the state that it has now.

An instant that a step sets is not known before the server has stored it, for it is the
server's stamp that counts. Until then it stands as a negative number: `from_stamp(500)`
means "half a second after the stamp". `settled_at` turns such numbers into instants.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final, TypeAlias

import msgspec

import stem_core.plugin as stem
from stem_core.plugin import replace

ERRORS_KEPT: Final = 20


def from_stamp(after_ms: int) -> int:
    """Return the instant *after_ms* milliseconds after the server stores this value."""
    return -1 - after_ms


def _instant(at_ms: int, stamp_ms: int) -> int:
    return at_ms if at_ms >= 0 else stamp_ms - 1 - at_ms


def digest_of(body: bytes) -> bytes:
    """Return what is kept of the body of a message that has ended."""
    return blake2b(body, digest_size=16).digest()


def name_of(kind: type[Value], key: str) -> str:
    """Return the last two parts of the subject of *key*; they are the name of a value.

    An id may hold what a subject may not, so a digest of it stands there.
    """
    token = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{kind.__struct_config__.tag}.{token}"


class Entry(msgspec.Struct, frozen=True, tag="m"):
    """One message, and all that is known of it.

    Attributes:
        due_ms: when its place is over: a wait, a lease, or the time that it is kept.
        arrived_ms: since when it is in line.
        turn: the place in the stream that it got when it lined up; -1 for that of this value.
        place: None when it has ended, and only its id is still known.
        born: the place in the stream where it was published; -1 for that of this value. Fences
            begin above it, so they are above those of any earlier message with this id.
        fence: one more with each lease; 0 before the first.
        settled: the last fence that settled it.
        failed: attempts in which the task itself failed.
        lapses: leases in a row that nobody settled.
        digest: of the body, when it has ended and the body is gone.
    """

    message: stem.Message
    due_ms: int = -1
    arrived_ms: int = -1
    turn: int = -1
    place: stem.Place | None = stem.Place.READY
    born: int = -1
    fence: int = 0
    settled: int = 0
    failed: int = 0
    lapses: int = 0
    releases: int = 0
    parked_at_ms: int = 0
    worker: str = ""
    cancel_requested: bool = False
    cancel_reason: str = ""
    reason: str = ""
    died_at_ms: int = 0
    errors: tuple[stem.TaskError, ...] = ()
    digest: bytes = b""

    @property
    def key(self) -> str:
        """Its id."""
        return self.message.id

    @property
    def ends_ms(self) -> int:
        """The instant after which nobody needs to know of it; 0 while it lives."""
        if self.place is None:
            return self.due_ms
        return self.due_ms + self.message.dedupe_for_ms if self.place is stem.Place.DEAD else 0

    @property
    def last_fence(self) -> int:
        """The fence that the next lease must be above."""
        return max(self.fence, self.born)

    def has_body(self, body: bytes) -> bool:
        """Say whether it was published with *body*."""
        return self.digest == digest_of(body) if self.digest else self.message.body == body

    def settled_at(self, sequence: int, stamp_ms: int) -> Entry:
        """Return it as it is once the server has stored it."""
        return replace(
            self,
            due_ms=_instant(self.due_ms, stamp_ms),
            arrived_ms=_instant(self.arrived_ms, stamp_ms),
            parked_at_ms=_instant(self.parked_at_ms, stamp_ms),
            died_at_ms=_instant(self.died_at_ms, stamp_ms),
            turn=sequence if self.turn < 0 else self.turn,
            born=sequence if self.born < 0 else self.born,
        )


class Kept(msgspec.Struct, frozen=True, tag="r"):
    """The record of *key*, as `encode_record` writes it, until *due_ms*."""

    key: str
    data: bytes
    due_ms: int

    @property
    def ends_ms(self) -> int:
        """The instant after which nobody needs it."""
        return self.due_ms

    def settled_at(self, sequence: int, stamp_ms: int) -> Kept:
        """Return it as it is once the server has stored it."""
        return replace(self, due_ms=_instant(self.due_ms, stamp_ms))


class Note(msgspec.Struct, frozen=True, tag="p"):
    """The last progress of *key*, until *due_ms*."""

    key: str
    fence: int
    data: bytes
    due_ms: int

    @property
    def ends_ms(self) -> int:
        """The instant after which nobody needs it."""
        return self.due_ms

    def settled_at(self, sequence: int, stamp_ms: int) -> Note:
        """Return it as it is once the server has stored it."""
        return replace(self, due_ms=_instant(self.due_ms, stamp_ms))


class Switch(msgspec.Struct, frozen=True, tag="q"):
    """Whether the queue *key* is paused."""

    key: str
    is_paused: bool

    @property
    def ends_ms(self) -> int:
        """It is kept for ever."""
        return 0

    def settled_at(self, sequence: int, stamp_ms: int) -> Switch:
        """Return it: it holds no instant."""
        return self


class Probe(msgspec.Struct, frozen=True, tag="h"):
    """What a health check writes, until *due_ms*."""

    key: str
    due_ms: int = -1

    @property
    def ends_ms(self) -> int:
        """The instant after which nobody needs it."""
        return self.due_ms

    def settled_at(self, sequence: int, stamp_ms: int) -> Probe:
        """Return it as it is once the server has stored it."""
        return replace(self, due_ms=_instant(self.due_ms, stamp_ms))


Value: TypeAlias = Entry | Kept | Note | Switch | Probe

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[Any]] = msgspec.msgpack.Decoder(Value)


def encode(value: Value) -> bytes:
    """Return *value* as the bytes of one message of the stream."""
    return _encoder.encode(value)


def decode(data: bytes) -> Value:
    """Return what `encode` wrote.

    Raises:
        msgspec.DecodeError: somebody else wrote it.
    """
    value: Value = _decoder.decode(data)
    return value
