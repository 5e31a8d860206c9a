"""Bringing a schema up to date: the one place that runs SQL which makes tables."""

from __future__ import annotations

from stem_core.plugin import StoreError
from stem_postgres.connection import Server
from stem_postgres.errors import translated
from stem_postgres.facts import facts_of
from stem_postgres.location import Location
from stem_postgres.schema import check_version, script
from stem_postgres.statements import statements

__all__ = ["migrate", "version_at"]

_PATIENCE_MS = 600_000
"""How long a step may take, and how long another process is waited for."""


async def version_at(server: Server) -> int | None:
    """Return the version of the tables; None when there are none."""
    schema = server.location.schema
    sql = statements(schema)
    (row,) = await server.run(sql["meta.facts"], (schema, schema))
    if not facts_of(row).has_tables:
        return None
    ((version,),) = await server.run(sql["meta.version"])
    return int(version)


async def migrate(location: Location) -> tuple[int, int]:
    """Bring the schema up to date; return the version before, and the one after.

    Safe to call from any number of processes at once: one does it, the others find it done.

    Raises:
        StoreMisconfigured: the schema is newer than this release, or may not be made.
    """
    server = Server(location)
    try:
        return await _migrated(server)
    finally:
        await server.aclose()


async def _migrated(server: Server) -> tuple[int, int]:
    location = server.location
    sql = statements(location.schema)
    try:
        async with server.alone(_PATIENCE_MS) as run:
            await run(sql["meta.alone"])
            (row,) = await run(sql["meta.facts"], (location.schema, location.schema))
            facts = facts_of(row)
            facts.check(location.shown)
            before = (await run(sql["meta.version"]))[0][0] if facts.has_tables else 0
            todo = script(before, location.schema)
            if todo:
                await run(todo.encode())
            ((after,),) = await run(sql["meta.version"])
    except StoreError:
        raise
    except Exception as error:
        raise translated(error, location.shown, location.schema) from None
    check_version(after, location.shown, location.schema)
    return before, after
