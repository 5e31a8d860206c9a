"""The ways in which a PostgreSQL server is away for a while, and what each of them does."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import psycopg
from chaos.arena import LEASE_S, Arena
from chaos.outages import Outage, away
from chaos.postgres_arena import CrowdedArena, PostgresArena

__all__ = ["POSTGRES_OUTAGES"]

_EVERY_S = 0.2
_MINE = "application_name = 'stem'"
_LISTENERS = f"{_MINE} AND query LIKE 'LISTEN%'"


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


def end_backends(arena: Arena, seconds: float, which: str = _MINE) -> None:
    """Let an operator end a random one of those connections, five times a second."""
    until = time.monotonic() + seconds
    with away(arena):
        while time.monotonic() < until:
            on_postgres(arena).do(
                "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity "
                f"WHERE {which} ORDER BY random() LIMIT 1) AS one"
            )
            time.sleep(_EVERY_S)


def end_listeners(arena: Arena, seconds: float) -> None:
    """The same, and only to those that wait to be told."""
    end_backends(arena, seconds, _LISTENERS)


def lock_the_table(arena: Arena, seconds: float) -> None:
    """Let a person lock all messages, longer than leases last."""
    assert seconds > LEASE_S
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
        "an operator ends a random connection of Stem 5 times a second",
        PostgresArena,
        end_backends,
        (4.0, 2.0),
    ),
    "D3": Outage(
        "an operator ends a connection that listens 5 times a second",
        PostgresArena,
        end_listeners,
        (4.0, 2.0),
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
