"""What a proxy does to the bytes that pass: facts, and the decision which request is hit.

Rule of this module: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from attrs import define, evolve, field, frozen, validators

from stem_core.contracts.clock import Clock

__all__ = ["CLEAR", "Fate", "Network", "Path", "Trap", "Traps", "pieces"]


@frozen(kw_only=True)
class Path:
    """One direction of every connection.

    Attributes:
        is_black: what is sent is taken and never arrives.
        latency_ms: how much later each chunk arrives.
        size: the most bytes that are written at once; 0 for no bound.
        pause_ms: between two slices.
        bytes_per_s: the bandwidth; 0 for no bound.
    """

    is_black: bool = False
    latency_ms: int = field(default=0, validator=validators.ge(0))
    size: int = field(default=0, validator=validators.ge(0))
    pause_ms: int = field(default=0, validator=validators.ge(0))
    bytes_per_s: int = field(default=0, validator=validators.ge(0))


CLEAR = Path()


def pieces(data: bytes, path: Path) -> Iterator[tuple[bytes, int]]:
    """Yield *data* as *path* carries it: what is written at once, and the pause behind it in ms."""
    size = path.size or _tenth_of_a_second(path) or len(data) or 1
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        is_last = start + size >= len(data)
        pause_ms = 0 if is_last else path.pause_ms
        if path.bytes_per_s:
            pause_ms = max(pause_ms, round(len(piece) * 1000 / path.bytes_per_s))
        yield piece, pause_ms


def _tenth_of_a_second(path: Path) -> int:
    return max(path.bytes_per_s // 10, 1) if path.bytes_per_s else 0


class Fate(Enum):
    """What becomes of a request and its reply."""

    PASS = "pass"
    CUT = "cut"  # executed, and the connection is cut when the reply has come
    SWALLOW = "swallow"  # executed, and from its reply on the client hears nothing
    REPLACE = "replace"  # executed, and the client gets another reply
    REFUSE = "refuse"  # never sent, and the client gets a reply all the same


@define(kw_only=True)
class Trap:
    """Waits for a request: the *missing*-th of those that hold the bytes *matching*."""

    fate: Fate
    missing: int
    matching: bytes = b""
    reply: bytes = b""


PASSING = Trap(fate=Fate.PASS, missing=0)


class Traps:
    """All that are set. Each is sprung once.

    Attributes:
        sprung: how many have been, so that a test can show that its fault was there.
    """

    def __init__(self) -> None:
        self._set: list[Trap] = []
        self.sprung = 0

    def add(self, trap: Trap) -> None:
        """Set *trap*."""
        self._set.append(trap)

    def clear(self) -> None:
        """Remove all."""
        self._set.clear()

    def meet(self, request: bytes) -> Trap:
        """Count *request* for each trap; return the one that it springs, or one that lets it pass.

        The trap that was set first goes first; a second one that the same request springs is
        spent with it.
        """
        matching = [trap for trap in self._set if trap.matching in request]
        for trap in matching:
            trap.missing -= 1
        sprung = [trap for trap in matching if trap.missing == 0]
        self._set = [trap for trap in self._set if trap.missing > 0]
        self.sprung += len(sprung)
        return sprung[0] if sprung else PASSING


@define(kw_only=True)
class Network:
    """What all connections of one proxy share. It changes while they run.

    Attributes:
        clock: of latencies and pauses.
        up, down: the way to the server, and back.
        traps: what waits for a request.
        requests: how many were seen.
    """

    clock: Clock
    up: Path = CLEAR
    down: Path = CLEAR
    traps: Traps = field(factory=Traps)
    requests: int = 0

    def change(self, up: Mapping[str, Any], down: Mapping[str, Any]) -> None:
        """Change these fields of the two ways."""
        self.up, self.down = evolve(self.up, **up), evolve(self.down, **down)

    def clear(self) -> None:
        """End every fault."""
        self.up = self.down = CLEAR
        self.traps.clear()
