"""`stem version`: what is installed, for people and for bug reports."""

from __future__ import annotations

import json
import platform
from importlib.metadata import distribution, entry_points
from importlib.metadata import version as version_of
from typing import Any, Final

import click

from stem_core.cli.parameters import json_option
from stem_core.contracts.hookspecs import PLUGIN_API

__all__ = ["version", "versions"]

_GROUPS: Final = ("stem.brokers", "stem.backends", "stem.signers", "stem.plugins", "stem.commands")
_LIBRARIES: Final = ("pluggy", "attrs", "cattrs", "msgspec", "click")


@click.command(short_help="Show the versions of Stem and its plugins.")
@json_option("VERSION")
def version(as_json: bool) -> None:
    """Show the versions of Stem, of the plugins that are installed, and of Python.

    \b
    stem version --json
    """
    facts = versions()
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    plugins: dict[str, str] = facts["plugins"]
    click.echo(f"stem-core {facts['stem-core']} (plugin API {facts['plugin_api']})")
    for name, number in plugins.items():
        click.echo(f"{name} {number}")
    click.echo(f"Python {facts['python']} on {facts['platform']}")
    click.echo(", ".join(f"{name} {number}" for name, number in facts["libraries"].items()))


def versions() -> dict[str, Any]:
    """Return all that is worth knowing of what is installed, for programs."""
    return {
        "stem-core": version_of("stem-core"),
        "plugin_api": ".".join(map(str, PLUGIN_API)),
        "plugins": _plugins(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: version_of(name) for name in _LIBRARIES},
    }


def _plugins() -> dict[str, str]:
    """Return the distributions, other than the core, that offer anything to Stem."""
    points = (point for group in _GROUPS for point in entry_points(group=group))
    names = {point.dist.name for point in points if point.dist} - {"stem-core"}
    return {name: distribution(name).version for name in sorted(names)}
