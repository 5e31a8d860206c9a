"""The ways in which a store is away for a while, and what each of them does."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from attrs import frozen
from chaos.arena import Arena
from chaos.redis_arena import RedisArena
from services.redis import RedisServer

from stem_core.testing.faults.history import What

__all__ = ["OUTAGES", "Outage"]


@frozen
class Outage:
    """What happens to a store.

    Attributes:
        fault: in words.
        kind: of the arena in which it can be done.
        do: makes it happen, and returns after that many seconds, when it is over; what it has
            counted, by name.
        seconds: how long it lasts where figures are made, and elsewhere.
        hits: what must have been counted at least once, or nothing was tried.
        refuses: it does not pass by itself, so producers are told at once and not asked to wait.
    """

    fault: str
    kind: type[Arena]
    do: Callable[[Arena, float], Mapping[str, int] | None]
    seconds: tuple[float, float]
    hits: tuple[str, ...] = ()
    refuses: bool = False


@contextmanager
def away(arena: Arena) -> Iterator[None]:
    """Note that the store is gone for the block."""
    arena.pen.note(What.GONE)
    yield
    arena.pen.note(What.BACK)


# ── SQLite ───────────────────────────────────────────────────────────────────


def lock_it(arena: Arena, seconds: float) -> None:
    """Let another program hold the file; it notes by itself when."""
    assert arena.holder(seconds).wait(60) == 0


def move_it_away(arena: Arena, seconds: float) -> None:
    """Move the file away and back, as somebody does who mistakes it for rubbish."""
    aside = arena.folder / "aside"
    arena.file.rename(aside)
    with away(arena):
        time.sleep(seconds)
    aside.rename(arena.file)


# ── Redis ────────────────────────────────────────────────────────────────────


def server_of(arena: Arena) -> RedisServer:
    assert isinstance(arena, RedisArena)
    return arena.server


def tell(arena: Arena, *words: str) -> bytes:
    """Say a command to the server at its socket; return what it answers first."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(server_of(arena).socket))
        line.sendall(" ".join(words).encode() + b"\r\n")
        return line.recv(1024)


def kill_it(arena: Arena, seconds: float) -> None:
    """Let the server die, and start again on its append-only file."""
    server = server_of(arena)
    with away(arena):
        server.kill()
        time.sleep(seconds)
    server.start()


def hang_up(arena: Arena, seconds: float) -> None:
    """Let the server close every connection, five times a second."""
    until = time.monotonic() + seconds
    with away(arena):
        while time.monotonic() < until:
            assert tell(arena, "CLIENT", "KILL", "TYPE", "normal").startswith(b":")
            time.sleep(0.2)


def pause_it(arena: Arena, seconds: float) -> None:
    """Let the server take every command and answer none, longer than leases last."""
    assert seconds > arena.lease_s
    with away(arena):
        assert tell(arena, "CLIENT", "PAUSE", f"{seconds * 1000:.0f}", "ALL") == b"+OK\r\n"
        time.sleep(seconds)


def make_it_a_replica(arena: Arena, seconds: float) -> None:
    """Let the server refuse every write, as the old master does after a failover."""
    with away(arena):
        assert tell(arena, "REPLICAOF", "127.0.0.1", "1").startswith(b"+OK")
        time.sleep(seconds)
    assert tell(arena, "REPLICAOF", "NO", "ONE").startswith(b"+OK")


OUTAGES = {
    "C1": Outage("the server is killed, and is away", RedisArena, kill_it, (1.5, 1.2)),
    "C11": Outage(
        "the server closes all connections 5 times a second,", RedisArena, hang_up, (3.0, 2.0)
    ),
    "C12": Outage(
        "the server takes commands and answers none, longer than leases last,",
        RedisArena,
        pause_it,
        (3.0, 2.5),
    ),
    "C16": Outage(
        "the server is a replica that refuses writes", RedisArena, make_it_a_replica, (2.0, 1.2)
    ),
    "E1": Outage("another program holds BEGIN EXCLUSIVE", Arena, lock_it, (3.0, 1.2)),
    "E11": Outage("the file is moved away and back", Arena, move_it_away, (3.0, 1.2)),
}  # fmt: skip
"""By their ids, which stay the same for ever."""
