"""`stem migrate`: make the tables in a Postgres database, or bring them up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import click

from stem_core.cli.exits import ExitCode
from stem_core.cli.parameters import argument
from stem_core.cli.program import TeachingGroup
from stem_core.model.settings import StemConfig
from stem_core.plugin import ConfigError, StemURL, options_from_query
from stem_postgres import driver as driver
from stem_postgres.connection import Server
from stem_postgres.errors import migrate_up
from stem_postgres.location import Location, location_of
from stem_postgres.migrating import Migrated, schema_at
from stem_postgres.migrating import migrate as bring_up_to_date
from stem_postgres.options import PostgresOptions
from stem_postgres.schema import LATEST, Functions, Schema, script

__all__ = ["migrate"]

_OURS: Final = ("postgresql", "postgres", "pg")
_url = argument("url", metavar="[URL]", required=False)


@click.group(cls=TeachingGroup, short_help="Make the tables in a Postgres database.")
def migrate() -> None:
    """Make the tables in a Postgres database, or bring them up to date.

    URL is that of the broker or the result backend; if it is not given, STEM_BROKER_URL and
    STEM_RESULT_BACKEND_URL. Its user needs the right to make tables there, which workers
    and producers do not need.

    \b
    See:      stem migrate status postgresql://localhost/shop
    Do:       stem migrate up postgresql://localhost/shop
    Or read:  stem migrate sql postgresql://localhost/shop | psql shop
    """


@migrate.command(short_help="Say which version of the tables there is.")
@_url
def status(url: str | None) -> ExitCode:
    """Say which version of the tables there is, and which one this release needs.

    And whether the functions beside them are those of this release, or of a newer one. Exit
    code 0 when there is nothing to do, 1 when there is.

    \b
    stem migrate status
    stem migrate status postgresql://localhost/shop
    """
    codes = [_told(location) for location in _locations(url)]
    return ExitCode.FAILED if ExitCode.FAILED in codes else ExitCode.OK


def _told(location: Location) -> ExitCode:
    found = asyncio.run(_schema(location))
    shown = "no tables" if found is None else f"version {found.version}"
    click.echo(
        f"{location.shown}: schema {location.schema} has {shown}{_functions(found)}, "
        f"needed is {LATEST}"
    )
    if found is not None and found.is_ours:
        return ExitCode.OK
    is_newer = found is not None and found.version > LATEST
    click.echo("To do: upgrade stem-postgres" if is_newer else migrate_up(location.shown))
    return ExitCode.FAILED


def _functions(found: Schema | None) -> str:
    if found is None or found.functions is Functions.OURS:
        return ""
    of = "a newer" if found.functions is Functions.NEWER else "an earlier"
    return f" with functions of {of} release"


@migrate.command(short_help="Make the tables, or bring them up to date.")
@_url
def up(url: str | None) -> None:
    """Make the tables, or bring them up to date.

    All of it is one transaction. It can be run at any time and by many at once: one does it,
    the others find it done. Workers of the release before go on. What a newer release has made
    is left as it is.

    \b
    stem migrate up
    stem migrate up postgresql://localhost/shop
    """
    for location in _locations(url):
        done = asyncio.run(bring_up_to_date(location))
        click.echo(f"{location.shown}: schema {location.schema} is {_done(done)}")


def _done(done: Migrated) -> str:
    before, after = done.before, done.after
    if before.version < after.version:
        return f"from version {before.version} to {after.version}"
    if before.functions is Functions.OLDER:
        return f"at version {after.version} already; its functions are made anew"
    return f"at version {after.version} already{_functions(after)}"


@migrate.command(short_help="Print what `up` would run.")
@_url
@click.option(
    "--from",
    "version",
    type=click.IntRange(min=0, max=LATEST),
    default=0,
    metavar="N",
    help="The version that is there; 0, the default, for none.",
)
def sql(url: str | None, version: int) -> None:
    """Print the SQL that brings the tables from version N to the latest, and the functions.

    It connects to nothing: of URL only its schema= is used. To be run in one transaction.

    \b
    stem migrate sql
    stem migrate sql postgresql://localhost/shop --from 0 | psql shop
    """
    schema = _locations(url)[0].schema if url else PostgresOptions().schema
    text = script(Schema(version), schema)
    click.echo(f"BEGIN;\n{text}\nCOMMIT;")


async def _schema(location: Location) -> Schema | None:
    server = Server(location)
    try:
        return await schema_at(server)
    finally:
        await server.aclose()


def _locations(text: str | None) -> Sequence[Location]:
    """Return where tables are: at *text*, else wherever the environment says; at least one."""
    config = StemConfig.from_environment(require_broker=False)
    urls = [StemURL.parse(text)] if text else _urls_of(config)
    found: list[Location] = []
    for location in [_location(url, config) for url in urls]:
        if location not in found:
            found.append(location)
    return found


def _location(url: StemURL, config: StemConfig) -> Location:
    if url.scheme not in _OURS:
        raise ConfigError(
            f"{url} is no Postgres database, and nothing else has tables to make",
            way_out="Write postgresql://user@host/database.",
        )
    options = options_from_query(
        PostgresOptions, url.query, source="url", redacted_url=url.redacted(PostgresOptions)
    )
    return location_of(url, options, config.tls)


def _urls_of(config: StemConfig) -> Sequence[StemURL]:
    urls = (config.broker_url, config.result_backend_url)
    if found := [url for url in urls if url is not None and url.scheme in _OURS]:
        return found
    raise ConfigError(
        "no URL is given, and neither STEM_BROKER_URL nor STEM_RESULT_BACKEND_URL is one of "
        "Postgres",
        way_out="stem migrate up postgresql://user@host/database",
    )
