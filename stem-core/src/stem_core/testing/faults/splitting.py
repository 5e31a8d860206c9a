"""Where one request or reply ends and the next one begins.

Rule of this module: pure, and it never adds a fault of its own. Bytes that are not
what a splitter expects pass through it as they come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from attrs import frozen

__all__ = [
    "CHUNKS",
    "RESP",
    "ByChunk",
    "Dialect",
    "Piece",
    "RespReplies",
    "RespRequests",
    "Splitter",
]

_LONGEST_LINE: Final = 64 * 1024
"""As long as a server lets a line be; a longer one is none."""


@frozen
class Piece:
    """Bytes that are forwarded together; *counts* if they are a whole request or reply."""

    data: bytes
    counts: bool = True


class Splitter(Protocol):
    """Cuts one direction of one connection."""

    def feed(self, data: bytes, /) -> list[Piece]:
        """Return the pieces that *data* completes, in order."""
        ...

    def rest(self) -> bytes:
        """Return and forget what is not complete yet; the connection is at its end."""
        ...


@frozen
class Dialect:
    """How to cut both directions: each makes a splitter for one connection."""

    requests: Callable[[], Splitter]
    replies: Callable[[], Splitter]


class ByChunk:
    """Takes what arrives together for one piece.

    Fits any protocol whose client sends a small request, waits for its reply, and sends the next.
    """

    def feed(self, data: bytes, /) -> list[Piece]:
        """Return *data* as one piece."""
        return [Piece(data)]

    def rest(self) -> bytes:
        """Nothing is ever kept."""
        return b""


class NotRespError(ValueError):
    """These bytes are no RESP."""


class _ByValue:
    """Cuts behind each RESP value. A value is kept until it is whole."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._is_lost = False

    def feed(self, data: bytes, /) -> list[Piece]:
        """Return the values that *data* completes."""
        self._kept += data
        if self._is_lost:
            return [Piece(self.rest())]
        return self._whole()

    def rest(self) -> bytes:
        """Return the beginning of a value whose end has not come."""
        rest = bytes(self._kept)
        self._kept.clear()
        return rest

    def _whole(self) -> list[Piece]:
        pieces: list[Piece] = []
        start = 0
        try:
            while (end := self._end(self._kept, start)) is not None:
                pieces.append(self._piece(bytes(self._kept[start:end])))
                start = end
        except NotRespError:
            self._is_lost = True
            pieces.append(Piece(bytes(self._kept[start:])))
            start = len(self._kept)
        del self._kept[:start]
        return pieces

    def _end(self, kept: bytearray, start: int) -> int | None:
        return end_of_value(kept, start)

    def _piece(self, data: bytes) -> Piece:
        raise NotImplementedError


class RespRequests(_ByValue):
    """Cuts Redis commands out of a stream, each of a pipeline for itself.

    Inline commands are lines. What a server passes over without a reply, a blank line or
    an empty array, does not count.
    """

    def _end(self, kept: bytearray, start: int) -> int | None:
        is_array = kept[start : start + 1] == b"*"
        return end_of_value(kept, start) if is_array else _end_of_line(kept, start)

    def _piece(self, data: bytes) -> Piece:
        is_empty = not data.strip() or (data[:1] == b"*" and int(data[1:].split(b"\r\n")[0]) <= 0)
        return Piece(data, counts=not is_empty)


class RespReplies(_ByValue):
    """Cuts replies of RESP2 and RESP3. What the server pushes unasked does not count.

    A RESP2 connection that has subscribed gets messages that look like replies: they count.
    """

    def _piece(self, data: bytes) -> Piece:
        return Piece(data, counts=data[:1] != b">")


_STRINGS: Final = frozenset(b"$!=")
_PARTS: Final = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}
_ATTRIBUTES: Final = ord("|")
_KINDS: Final = frozenset(b"+-:_,#(") | _STRINGS | frozenset(_PARTS)


def end_of_value(data: bytearray, start: int) -> int | None:
    """Return where the RESP value at *start* ends, None while it does not.

    Raises:
        NotRespError: no value begins there, or a part of it is none.
    """
    missing, at = 1, start
    while missing:
        if data[at : at + 1] and data[at] not in _KINDS:
            raise NotRespError(f"no RESP value begins with {bytes(data[at : at + 1])!r}")
        end = _end_of_line(data, at)
        if end is None:
            return None
        kind, line = data[at], data[at + 1 : end].rstrip(b"\r\n")
        missing, at = missing - 1, end
        if kind in _STRINGS:
            length = _length(line)
            at += length + 2 if length >= 0 else 0
            if at > len(data):
                return None
        elif kind in _PARTS:
            missing += max(_length(line), 0) * _PARTS[kind]
            missing += kind == _ATTRIBUTES  # they stand before the value that they are about
    return at


def _end_of_line(data: bytearray, start: int) -> int | None:
    place = data.find(b"\n", start, start + _LONGEST_LINE)
    if place >= 0:
        return place + 1
    if len(data) - start >= _LONGEST_LINE:
        raise NotRespError(f"a line of more than {_LONGEST_LINE} bytes")
    return None


def _length(line: bytearray) -> int:
    try:
        return int(line)
    except ValueError:
        raise NotRespError(f"{bytes(line)!r:.40} is no length") from None


CHUNKS: Final = Dialect(requests=ByChunk, replies=ByChunk)
"""Any protocol; see `ByChunk`."""

RESP: Final = Dialect(requests=RespRequests, replies=RespReplies)
"""Redis and its kin, in the clear."""
