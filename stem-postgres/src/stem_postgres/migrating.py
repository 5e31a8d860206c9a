"""Bringing a schema up to date: the one place that runs SQL which makes tables."""

from __future__ import annotations

from attrs import frozen

from stem_core.plugin import StoreError
from stem_postgres.connection import Server
from stem_postgres.errors import translated
from stem_postgres.facts import facts_of
from stem_postgres.location import Location
from stem_postgres.schema import Schema, check_schema, script
from stem_postgres.statements import statements

__all__ = ["Migrated", "migrate", "schema_at"]

_PATIENCE_MS = 600_000
"""How long a step may take, and how long another process is waited for."""


@frozen
class Migrated:
    """What there was, and what there is now."""

    before: Schema
    after: Schema


async def schema_at(server: Server) -> Schema | None:
    """Return what there is; None when there are no tables."""
    schema = server.location.schema
    sql = statements(schema)
    (row,) = await server.run(sql["meta.facts"], (schema, schema))
    if not facts_of(row).has_tables:
        return None
    (row,) = await server.run(sql["meta.version"])
    return Schema(*row)


async def migrate(location: Location) -> Migrated:
    """Bring the schema up to date: its tables, and functions that are not of a newer release.

    Safe to call from any number of processes at once: one does it, the others find it done.

    Raises:
        StoreMisconfigured: the schema is newer than this release, or may not be made.
    """
    server = Server(location)
    try:
        return await _migrated(server)
    finally:
        await server.aclose()


async def _migrated(server: Server) -> Migrated:
    location = server.location
    sql = statements(location.schema)
    try:
        async with server.alone(_PATIENCE_MS) as run:
            await run(sql["meta.alone"])
            (row,) = await run(sql["meta.facts"], (location.schema, location.schema))
            facts = facts_of(row)
            facts.check(location.shown)
            before = Schema(*(await run(sql["meta.version"]))[0]) if facts.has_tables else Schema(0)
            todo = script(before, location.schema)
            if todo:
                await run(todo.encode())
            after = Schema(*(await run(sql["meta.version"]))[0])
    except StoreError:
        raise
    except Exception as error:
        raise translated(error, location.shown, location.schema) from None
    check_schema(after, location.shown, location.schema)
    return Migrated(before, after)
