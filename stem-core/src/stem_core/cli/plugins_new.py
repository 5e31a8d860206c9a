"""`stem plugins new`: a whole distribution with a plugin that works and is proven."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import cast

import click

from stem_core.cli.extensions import plugin_host
from stem_core.cli.parameters import argument, choice, option
from stem_core.discovery.candidate import ALIASES, KINDS, Kind
from stem_core.model.errors import UsageError

__all__ = ["new"]


@click.command(short_help="Write a new plugin that works, to make your own of it.")
@argument("name")
@option(
    "--kind",
    variable="STEM_PLUGINS_NEW_KIND",
    type=choice(KINDS),
    metavar="KIND",
    required=True,
    help=f"What it opens: {', '.join(KINDS)}.",
)
@option(
    "--into",
    variable="STEM_PLUGINS_NEW_INTO",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    default=Path(),
    help="Write it into this folder, not into the working directory.",
)
def new(name: str, kind: str, into: Path) -> None:
    """Write a whole distribution with a plugin that opens NAME://, to make your own of it.

    It works as it is, is typed, and has the tests that prove it. It is called stem-NAME and
    is written to a folder of that name, which must not be there yet.

    \b
    stem plugins new acme --kind broker
    cd stem-acme && pip install -e ".[test]" && python -m pytest
    """
    # Reads templates; nobody who lists plugins needs it.
    from stem_core.scaffold.naming import PluginNames
    from stem_core.scaffold.rendering import rendered
    from stem_core.scaffold.writing import write_new_folder

    try:
        names = PluginNames.of(name, taken=_taken())
        folder = into / names.distribution
        write_new_folder(folder, rendered(names, cast(Kind, kind)))  # a choice of them
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    click.echo(f"{folder} is a {kind} for {names.scheme}://. It works; now make it yours:\n")
    click.echo(f"  cd {folder}")
    click.echo('  pip install -e ".[test]"')
    click.echo("  python -m pytest --numprocesses=4")


def _taken() -> Set[str]:
    """Return every scheme that a plugin must not take from another one."""
    from stem_core.discovery.explain import FIRST_PARTY

    ours = {scheme for _, scheme in FIRST_PARTY} | ALIASES.keys()
    return ours | {row.scheme for row in plugin_host().rows() if row.kind in KINDS}
