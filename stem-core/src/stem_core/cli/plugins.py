"""`stem plugins`: what is installed, what one of them says of itself, and what is broken."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

import click

from stem_core.cli.completing import schemes
from stem_core.cli.exits import ExitCode
from stem_core.cli.extensions import plugin_host
from stem_core.cli.failures import telling_warnings
from stem_core.cli.parameters import argument, json_option, option, read_duration
from stem_core.cli.plugins_check import checked_apart
from stem_core.cli.plugins_new import new
from stem_core.cli.program import TeachingGroup
from stem_core.cli.terminal import Paint, Shade, table, visible
from stem_core.discovery.table import PluginRow, PluginState, SchemeInfo

__all__ = ["plugins"]

_COLUMNS: Final = ("kind", "scheme", "distribution", "version", "module", "api", "state")
_STATE: Final = _COLUMNS.index("state")
_SHADES: Final[dict[PluginState, Shade]] = {
    "ok": "good",
    "error": "bad",
    "conflict": "bad",
    "disabled": "dim",
    "unused": "dim",
}


@click.group(
    cls=TeachingGroup,
    short_help="List the installed plugins, or check them.",
    invoke_without_command=True,
    subcommand_metavar="[COMMAND] [ARGS]...",
)
@option(
    "--check",
    variable="STEM_PLUGINS_CHECK",
    is_flag=True,
    help="Import each one and say what is wrong with it.",
)
@option(
    "--timeout",
    variable="STEM_PLUGINS_TIMEOUT",
    type=read_duration,
    metavar="DURATION",
    default="10s",
    show_default=True,
    help="With --check: how long the import of one may take.",
)
@json_option("PLUGINS")
@click.pass_context
def plugins(ctx: click.Context, check: bool, timeout: timedelta, as_json: bool) -> ExitCode:
    """List the installed plugins; nothing of them is imported.

    With --check each one is imported in turn, in another process: one that hangs, or
    ends the process, is found as well. Exit code 4 if any is broken or if two claim one
    scheme.

    \b
    stem plugins --check
    stem plugins show redis
    stem plugins new acme --kind broker
    """
    if ctx.invoked_subcommand is not None:
        return ExitCode.OK  # the subcommand's own code follows
    host = plugin_host()
    rows = checked_apart(host, timeout.total_seconds()) if check else host.rows()
    if as_json:
        click.echo(json.dumps([row.to_json() for row in rows], indent=2))
    else:
        click.echo("\n".join(_listed(rows, Paint.of(sys.stdout))))
    return ExitCode.OK if all(row.is_healthy for row in rows) else ExitCode.CONFIG


plugins.add_command(new)


@plugins.command(short_help="Show what opens URLs of one scheme, and with which parameters.")
@argument("scheme", shell_complete=schemes)
@json_option("PLUGINS_SHOW")
def show(scheme: str, as_json: bool) -> None:
    """Show what opens URLs that begin with SCHEME://, and with which parameters.

    Imports the plugins of that scheme.

    \b
    stem plugins show redis
    stem plugins show redis --json
    """
    with telling_warnings():
        found = plugin_host().show(scheme.removesuffix("://"))
    if as_json:
        click.echo(json.dumps([info.to_json() for info in found], indent=2))
    else:
        click.echo("\n\n".join("\n".join(_shown(info, Paint.of(sys.stdout))) for info in found))


def _listed(rows: Sequence[PluginRow], paint: Paint) -> Iterator[str]:
    cells = [tuple(str(getattr(row, name)) or "-" for name in _COLUMNS) for row in rows]
    header, *lines = table(_COLUMNS, cells)
    yield paint(header, "bold")
    for line, row in zip(lines, rows, strict=True):
        shade = _SHADES.get(row.state)
        yield line.removesuffix(row.state) + (paint(row.state, shade) if shade else row.state)
        if row.detail:
            yield f"  {visible(row.detail)}"


def _shown(info: SchemeInfo, paint: Paint) -> Iterator[str]:
    schemes = ", ".join(f"{scheme}://" for scheme in info.schemes)
    yield paint(f"{info.kind} {schemes}", "bold")
    if info.summary:
        yield f"  {visible(info.summary)}"
    facts = {
        "from": f"{info.distribution} {info.version}".strip(),
        "module": info.module,
        "plugin API": info.api,
        "opens": info.factory,
        "variants": ", ".join(f"{info.schemes[0]}+{name}://" for name in info.variants),
        "examples": ", ".join(info.examples),
    }
    yield from (f"  {name:<10}  {visible(text)}" for name, text in facts.items() if text)
    if info.options:
        yield "  parameters:"
        rows = [(each.name, each.type, each.default or "-", each.help) for each in info.options]
        yield from (f"    {line}" for line in table(("name", "type", "default", ""), rows))
    if info.capabilities:
        yield "  capabilities:"
        pairs = table(("", ""), list(info.capabilities.items()))[1:]
        yield from (f"    {line}" for line in pairs)
