"""The ways in which a Redis server answers wrongly for a while, or somebody meddles with it."""

from __future__ import annotations

import socket
import time
from itertools import cycle
from typing import Literal

from chaos.arena import Arena
from chaos.outages import Outage, away
from chaos.redis_arena import RedisArena, SpoiledRedisArena, packed

__all__ = ["REDIS_OUTAGES"]

_EVERY_S = 0.02

_WAYS: tuple[Literal["cut", "swallow"], ...] = ("cut", "cut", "cut", "swallow")

_ERRORS = (
    "LOADING Redis is loading the dataset in memory",
    "MISCONF Redis is configured to save RDB snapshots, but is unable to persist to disk",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "CLUSTERDOWN The cluster is down",
    "NOREPLICAS Not enough good replicas to write.",
    "READONLY You can't write against a read only replica.",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
)


def on_redis(arena: Arena) -> RedisArena:
    assert isinstance(arena, RedisArena)
    return arena


def behind_a_proxy(arena: Arena) -> SpoiledRedisArena:
    assert isinstance(arena, SpoiledRedisArena)
    return arena


def keep_busy(arena: Arena) -> None:
    """Let there be tasks that end all the time from now on, and some that wait for their turn.

    None is left of the time before: one that is hit in many trials is poison, as it should be.
    """
    before = set(arena.accepted())
    arena.wait_until(lambda: before <= arena.ledger.ended(), "end of what was there")
    arena.enqueue([{"pause_ms": 20 * number} for number in range(80)])


def lose_replies(arena: Arena, seconds: float) -> None:
    """Let the server do what it is told, and its answers be lost, one in twenty milliseconds."""
    keep_busy(arena)
    proxy, ways = behind_a_proxy(arena).proxy, cycle(_WAYS)
    until, lost = time.monotonic() + seconds, proxy.sprung
    with away(arena):
        while time.monotonic() < until:
            proxy.drop_reply(matching=b"EVALSHA", then=next(ways))
            time.sleep(_EVERY_S)
        proxy.restore()
    assert proxy.sprung > lost


def answer_with_errors(arena: Arena, seconds: float) -> None:
    """Let the server refuse, in every way that passes, one command in twenty milliseconds."""
    keep_busy(arena)
    proxy, errors = behind_a_proxy(arena).proxy, cycle(_ERRORS)
    until, told = time.monotonic() + seconds, proxy.sprung
    with away(arena):
        while time.monotonic() < until:
            proxy.inject(f"-{next(errors)}\r\n".encode())
            time.sleep(_EVERY_S)
        proxy.restore()
    assert proxy.sprung > told


def change_the_password(arena: Arena, seconds: float) -> None:
    """Let the server ask everybody for a password that nobody was told, and then for none."""
    keep_busy(arena)
    with socket.socket(socket.AF_UNIX) as person:
        person.connect(str(on_redis(arena).server.socket))

        def say(*words: str) -> None:
            person.sendall(packed(words))
            assert person.recv(1024)[:1] in (b"+", b":")

        with away(arena):
            say("CONFIG", "SET", "requirepass", "another")
            say("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            say("CLIENT", "KILL", "TYPE", "pubsub")
            time.sleep(seconds)
            say("CONFIG", "SET", "requirepass", "")


def put_strangers_there(arena: Arena, seconds: float) -> None:
    """Let somebody write lists where Stem has two indexes, and put it right."""
    redis, keys = on_redis(arena), ["l:default", arena.dice.choice(("q:default", "d:default"))]
    names = [f"{{stem}}:{key}" for key in keys]
    keep_busy(arena)
    with away(arena):
        for name in names:
            redis.tell_all([("RENAME", name, f"aside:{name}"), ("RPUSH", name, "stranger")])
        time.sleep(seconds)
        for name in names:
            redis.tell_all([("DEL", name), ("RENAME", f"aside:{name}", name)])
    said = arena.whole_log()
    assert any(f"the key {name} holds a list that Stem did not write" in said for name in names)


REDIS_OUTAGES = {
    "C10": Outage(
        "the server does what it is told and replies are lost, 50 a second,",
        SpoiledRedisArena,
        lose_replies,
        (3.0, 1.2),
    ),
    "C18": Outage(
        "the server refuses 50 commands a second: LOADING, MISCONF, BUSY, MASTERDOWN, TRYAGAIN, "
        "CLUSTERDOWN, NOREPLICAS, READONLY, UNBLOCKED,",
        SpoiledRedisArena,
        answer_with_errors,
        (3.0, 1.2),
    ),
    "C19": Outage(
        "the server closes all connections and asks for a password that nobody was told",
        RedisArena,
        change_the_password,
        (1.5, 1.2),
        refuses=True,
    ),
    "C8": Outage(
        "strangers' lists stand where the leases of a queue were and another index of it",
        RedisArena,
        put_strangers_there,
        (1.5, 1.2),
        refuses=True,
    ),
}
"""By their ids, which stay the same for ever."""
