"""`stem migrate`: make the tables in a Postgres database, or bring them up to date."""

from __future__ import annotations

import asyncio
from typing import Final

import click

from stem_core.cli.exits import ExitCode
from stem_core.cli.parameters import argument
from stem_core.cli.program import TeachingGroup
from stem_core.model.settings import StemConfig
from stem_core.plugin import ConfigError, StemURL, options_from_query
from stem_postgres.connection import Server
from stem_postgres.location import Location, location_of
from stem_postgres.migrating import migrate as bring_up_to_date
from stem_postgres.migrating import version_at
from stem_postgres.options import PostgresOptions
from stem_postgres.schema import LATEST, script

__all__ = ["migrate"]

_OURS: Final = ("postgresql", "postgres", "pg")
_url = argument("url", metavar="[URL]", required=False)


@click.group(cls=TeachingGroup, short_help="Make the tables in a Postgres database.")
def migrate() -> None:
    """Make the tables in a Postgres database, or bring them up to date.

    URL is that of the broker or the result backend; if it is not given, STEM_BROKER_URL or
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

    Exit code 0 when they are the same, 1 when they are not.

    \b
    stem migrate status
    stem migrate status postgresql://localhost/shop
    """
    location = _location(url)
    version = asyncio.run(_version(location))
    shown = "no tables" if version is None else f"version {version}"
    click.echo(f"{location.shown}: schema {location.schema} has {shown}, needed is {LATEST}")
    if version == LATEST:
        return ExitCode.OK
    is_newer = version is not None and version > LATEST
    way_out = "upgrade stem-postgres" if is_newer else f"stem migrate up '{location.shown}'"
    click.echo(f"To do: {way_out}")
    return ExitCode.FAILED


@migrate.command(short_help="Make the tables, or bring them up to date.")
@_url
def up(url: str | None) -> None:
    """Make the tables, or bring them up to date.

    All of it is one transaction. It can be run at any time and by many at once: one does it,
    the others find it done. Workers of the release before go on.

    \b
    stem migrate up postgresql://localhost/shop
    """
    location = _location(url)
    before, after = asyncio.run(bring_up_to_date(location))
    what = f"from version {before} to {after}" if before < after else f"at version {after} already"
    click.echo(f"{location.shown}: schema {location.schema} is {what}")


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
    """Print the SQL that brings the tables from version N to the latest.

    It connects to nothing: of URL only its schema= is used. To be run in one transaction.

    \b
    stem migrate sql
    stem migrate sql postgresql://localhost/shop --from 0 | psql shop
    """
    schema = _location(url).schema if url else PostgresOptions().schema
    text = script(version, schema)
    click.echo(f"BEGIN;\n{text}\nCOMMIT;" if text else "-- nothing to do")


async def _version(location: Location) -> int | None:
    server = Server(location)
    try:
        return await version_at(server)
    finally:
        await server.aclose()


def _location(text: str | None) -> Location:
    """Return where the tables are: at *text*, else where the environment says."""
    config = StemConfig.from_environment(require_broker=False)
    url = StemURL.parse(text) if text else _url_of(config)
    if url.scheme not in _OURS:
        raise ConfigError(
            f"{url} is no Postgres database, and nothing else has tables to make",
            way_out="Write postgresql://user@host/database.",
        )
    options = options_from_query(
        PostgresOptions, url.query, source="url", redacted_url=url.redacted()
    )
    return location_of(url, options, config.tls)


def _url_of(config: StemConfig) -> StemURL:
    for url in (config.broker_url, config.result_backend_url):
        if url is not None and url.scheme in _OURS:
            return url
    raise ConfigError(
        "no URL is given, and neither STEM_BROKER_URL nor STEM_RESULT_BACKEND_URL is one of "
        "Postgres",
        way_out="stem migrate up postgresql://user@host/database",
    )
