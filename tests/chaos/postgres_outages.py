"""The ways in which a PostgreSQL server is away for a while, and what each of them does."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial

import psycopg
from chaos.arena import Arena
from chaos.outages import Outage, away
from chaos.postgres_arena import CrowdedArena, PostgresArena

__all__ = ["KINDS", "POSTGRES_OUTAGES", "found", "running_tasks"]

_EVERY_S = 0.2
_LATER_S = 15.0
"""How much longer connections are ended until one of each kind was."""
_MINE = "application_name LIKE 'stem%'"
KINDS = {
    "claim": f"{_MINE} AND query LIKE '%.fetch(%'",
    "finish": f"{_MINE} AND query LIKE '%.settle%(%'",
    "beat": f"{_MINE} AND query LIKE '%.extend(%'",
    "listen": "application_name = 'stem listen'",
}
"""Connections by what they are doing, or have done last."""


def on_postgres(arena: Arena) -> PostgresArena:
    assert isinstance(arena, PostgresArena)
    return arena


def end_at_once(arena: Arena, seconds: float) -> None:
    """Let the server end as by ``pg_ctl stop -m immediate``, and start again from its log."""
    server = on_postgres(arena).server
    with away(arena):
        os.kill(server.pid, signal.SIGQUIT)
        time.sleep(seconds)
        server.kill()  # it has ended; this tidies up
    server.start()


def end_backends(
    arena: Arena, seconds: float, kinds: Mapping[str, str] = KINDS
) -> Mapping[str, int]:
    """Let an operator end a connection five times a second, one of each kind in turn.

    Some tasks run all the time, so that there are beats. Returns how many of each kind were ended.
    """
    hits: Counter[str] = Counter()
    turns = itertools.cycle(kinds.items())
    with running_tasks(arena):
        arena.wait_until(lambda: all(map(partial(found, arena), kinds.values())), "of each kind")
        until = time.monotonic() + seconds
        with away(arena):
            while not is_over(until, len(hits) == len(kinds)):
                kind, which = next(turns)
                ended = end_one(arena, which)
                hits.update({kind: ended} if ended else {})
                time.sleep(_EVERY_S)
    return hits


def is_over(until: float, is_done: bool) -> bool:
    """Say whether it is past *until*, or some time later where it is not done."""
    return time.monotonic() > until + (0 if is_done else _LATER_S)


@contextlib.contextmanager
def running_tasks(arena: Arena) -> Iterator[None]:
    """Let tasks run that end after the block, and need beats before."""
    gate = arena.folder / f"gate-{time.monotonic_ns()}"
    arena.enqueue([{"until": gate.name}] * 4)
    try:
        yield
    finally:
        gate.touch()


def found(arena: Arena, which: str) -> bool:
    """Say whether there are such connections."""
    return bool(on_postgres(arena).do(f"SELECT pid FROM pg_stat_activity WHERE {which}"))


def end_one(arena: Arena, which: str) -> int:
    """End a random one of those connections; return how many were."""
    return sum(
        ended
        for (ended,) in on_postgres(arena).do(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity "
            f"WHERE {which} ORDER BY random() LIMIT 1) AS one"
        )
    )


def end_listeners(arena: Arena, seconds: float) -> Mapping[str, int]:
    """The same, and only to those that wait to be told."""
    return end_backends(arena, seconds, {"listen": KINDS["listen"]})


def lock_the_table(arena: Arena, seconds: float) -> None:
    """Let a person lock all messages, longer than leases last."""
    assert seconds > arena.lease_s
    with psycopg.connect(on_postgres(arena).server.url) as person:
        person.execute("LOCK TABLE stem.message IN ACCESS EXCLUSIVE MODE")
        with away(arena):
            time.sleep(seconds)
        person.rollback()


def take_all_connections(arena: Arena, seconds: float) -> None:
    """Let others take every connection that there is, also those that Stem had."""
    until = time.monotonic() + seconds
    with contextlib.ExitStack() as crowd, away(arena):
        on_postgres(arena).do(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {_MINE}"
        )
        while time.monotonic() < until:
            try:
                crowd.enter_context(psycopg.connect(arena.url))
            except psycopg.OperationalError:
                time.sleep(0.05)


def make_it_a_standby(arena: Arena, seconds: float) -> None:
    """Let the server come back as a standby that refuses writes, and then be promoted."""
    arena = on_postgres(arena)
    with away(arena):
        arena.server.stop()
        signal_file = arena.server.data / "standby.signal"
        signal_file.touch()
        arena.server.program.runner.take(signal_file)
        arena.server.start()
        time.sleep(seconds)
        assert arena.do("SELECT pg_is_in_recovery()") == [(True,)]
        assert arena.do("SELECT pg_promote(true, 30)") == [(True,)]


POSTGRES_OUTAGES = {
    "D1": Outage("the server ends at once, and is away", PostgresArena, end_at_once, (1.5, 1.2)),
    "D2": Outage(
        "an operator ends a connection of Stem 5 times a second",
        PostgresArena,
        end_backends,
        (4.0, 2.0),
        hits=tuple(KINDS),
    ),
    "D3": Outage(
        "an operator ends a connection that listens 5 times a second",
        PostgresArena,
        end_listeners,
        (4.0, 2.0),
        hits=("listen",),
    ),
    "D8": Outage(
        "a person holds the table of messages in ACCESS EXCLUSIVE MODE, longer than leases last,",
        PostgresArena,
        lock_the_table,
        (3.0, 2.5),
    ),
    "D9": Outage(
        "the server is a standby that refuses writes, and is promoted",
        PostgresArena,
        make_it_a_standby,
        (2.0, 1.2),
    ),
    "D10": Outage(
        "others take every connection that there is", CrowdedArena, take_all_connections, (2.0, 1.2)
    ),
}  # fmt: skip
"""By their ids, which stay the same for ever."""
