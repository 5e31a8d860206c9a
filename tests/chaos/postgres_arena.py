"""The arena on a real PostgreSQL, and a ledger that its own triggers keep.

A trigger writes each accepted settlement down inside its transaction: it is there exactly if the
settlement is. It knows a few columns of Stem's own tables and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import psycopg
from chaos.arena import Arena
from chaos.ledger import Ledger
from services.postgres import PostgresServer

from stem_core.plugin import StemURL, TlsConfig
from stem_core.testing.faults.truth import Commit
from stem_postgres.location import location_of
from stem_postgres.migrating import migrate
from stem_postgres.options import PostgresOptions

__all__ = ["PostgresArena"]

_TABLES = """
CREATE TABLE chaos_ledger (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text, fence bigint, is_final boolean
);
CREATE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    v_fence bigint := new.settled;
BEGIN
    IF tg_table_name = 'ended' THEN
        v_fence := coalesce(new.settled, new.fence);
    END IF;
    IF v_fence > 0 AND new.ns = (SELECT ns FROM stem.namespace WHERE name = 'stem') THEN
        INSERT INTO chaos_ledger (id, fence, is_final)
        VALUES (new.id, v_fence, tg_table_name <> 'message');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER chaos_settled AFTER UPDATE OF settled ON stem.message
    FOR EACH ROW WHEN (new.settled IS DISTINCT FROM old.settled) EXECUTE FUNCTION chaos_note();
CREATE TRIGGER chaos_died AFTER INSERT ON stem.dead FOR EACH ROW EXECUTE FUNCTION chaos_note();
CREATE TRIGGER chaos_ended AFTER INSERT OR UPDATE ON stem.ended
    FOR EACH ROW EXECUTE FUNCTION chaos_note();
CREATE TRIGGER chaos_recorded AFTER INSERT ON stem.record
    FOR EACH ROW WHEN (new.settled > 0) EXECUTE FUNCTION chaos_note();
CREATE ROLE shop LOGIN;
GRANT USAGE ON SCHEMA stem TO shop;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA stem TO shop;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA stem TO shop;
"""
"""The rights are those that the documentation gives to a worker."""


class TriggerLedger(Ledger):
    """All settlements that the server at *url* has accepted, as far as it could be asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._known: set[str] = set()

    def begin(self) -> None:
        """Let the store, whose tables are there, keep a ledger from now on."""
        with self.somebody() as connection:
            connection.execute(_TABLES)

    def commits(self) -> list[Commit]:
        """Return them in the order in which they were made; a row that moved is told once."""
        with self.somebody() as connection:
            rows = connection.execute("SELECT id, fence, is_final FROM chaos_ledger ORDER BY n")
            return [Commit(*row) for row in dict.fromkeys(rows)]

    def ended(self) -> set[str]:
        """Return the ids that have ended so far; those known before while nobody answers."""
        with contextlib.suppress(psycopg.OperationalError), self.somebody() as connection:
            rows = connection.execute("SELECT DISTINCT id FROM chaos_ledger WHERE is_final")
            self._known = {id for (id,) in rows}
        return self._known

    def can_write(self, within_s: float) -> bool:
        """True: a client that stands still holds up nobody, for each step is the server's."""
        return True

    @contextlib.contextmanager
    def somebody(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of the superuser, on which each statement commits."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            yield connection


class PostgresArena(Arena):
    """A server of its own, used by a role that has a worker's rights and no more."""

    config: ClassVar[Mapping[str, str]] = {}

    def __init__(self, folder: Path, dice: random.Random) -> None:
        super().__init__(folder, dice)
        self.server = PostgresServer(durable=True, config=self.config)

    def __enter__(self) -> Self:
        self.server.__enter__()
        place = location_of(StemURL.parse(self.server.url), PostgresOptions(), TlsConfig())
        asyncio.run(migrate(place))
        self.trigger_ledger = TriggerLedger(self.server.url)
        self.trigger_ledger.begin()
        self.ledger = self.trigger_ledger
        self.url = self.server.url_of("shop", database="postgres")
        self.broker = str(self.server.program)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self.server.__exit__(kind, error, trace)

    def do(self, *statements: str) -> list[Any]:
        """Run SQL as the superuser; return the rows of the last statement."""
        with self.trigger_ledger.somebody() as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


class CrowdedArena(PostgresArena):
    """A server that has room for a few connections only."""

    config: ClassVar[Mapping[str, str]] = {"max_connections": "24"}
