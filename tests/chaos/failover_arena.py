"""The arena on a primary and a standby that follows it, both in the URL of everybody."""

from __future__ import annotations

import random
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from chaos.arena import Arena
from chaos.outages import Outage, away
from chaos.postgres_arena import PostgresArena
from services.standby import Member, url_of_both

__all__ = ["FAILOVERS", "FailoverArena"]

_PATIENCE_S = 30.0
_LOOK_EVERY_S = 0.01


class FailoverArena(PostgresArena):
    """A primary that confirms only what its standby has, too."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        super().__init__(folder, dice)
        self.server: Member = Member(durable=True)
        self.standby = Member(durable=True)

    def __enter__(self) -> Self:
        super().__enter__()
        both = self.server, self.standby
        self.url = url_of_both(*both, user="shop")
        self.trigger_ledger.url = url_of_both(*both)
        self.attach()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.standby.close()
        super().__exit__(kind, error, trace)

    def fail_over(self) -> None:
        """Let the standby be the primary from now on."""
        self.server, self.standby = self.standby, self.server
        with psycopg.connect(self.server.url, autocommit=True) as person:
            assert person.execute("SELECT pg_promote(true, 30)").fetchall() == [(True,)]

    def attach(self) -> None:
        """Begin the standby as a copy of the primary, which waits for it from then on."""
        self.standby.follow(self.server)
        self.standby.start()
        self.do("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        until = time.monotonic() + _PATIENCE_S
        while self.do("SELECT sync_state FROM pg_stat_replication") != [("sync",)]:
            assert time.monotonic() < until, self.standby.log()
            time.sleep(_LOOK_EVERY_S)


def kill_the_primary(arena: Arena, seconds: float) -> None:
    """Let the primary die and its standby take its place; then there is a standby again."""
    assert isinstance(arena, FailoverArena)
    with away(arena):
        arena.server.kill()
        time.sleep(seconds)
        arena.fail_over()
    arena.attach()


FAILOVERS = {
    "D16": Outage(
        "SIGKILL of the primary and promotion of its synchronous standby, both in the URL; nobody "
        "to write to",
        FailoverArena,
        kill_the_primary,
        (1.5, 1.2),
    ),
}
"""By their ids, which stay the same for ever."""
