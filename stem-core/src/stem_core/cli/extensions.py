"""What plugins add to the program: their commands, by name until one is called.

Rule of this module: plugin settings are read apart from all others, so that
`stem --help` works whatever else is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import click

from stem_core.cli.failures import telling_warnings
from stem_core.contracts.hookspecs import CommandSpec
from stem_core.discovery.host import PluginHost
from stem_core.discovery.settings import PluginSettings
from stem_core.model.errors import PluginBroken
from stem_core.model.settings import StemConfig

__all__ = ["added_commands", "load_added", "plugin_host"]


def plugin_host() -> PluginHost:
    """Return a host that obeys the ``STEM_PLUGINS_*`` of the environment."""
    names = [name for name in os.environ if name in _VARIABLES]
    config = StemConfig.from_environment(
        {name: os.environ[name] for name in names}, require_broker=False
    )
    return PluginHost(PluginSettings.of(config))


_VARIABLES = frozenset(
    {
        "STEM_PLUGINS",
        "STEM_PLUGINS_AUTOLOAD",
        "STEM_PLUGINS_DISABLE",
        "STEM_PLUGINS_PREFER",
        "STEM_PLUGINS_STRICT",
    }
)


def added_commands() -> Mapping[str, CommandSpec]:
    """Return the commands of installed plugins by name; none of them is imported."""
    with telling_warnings():
        return {spec.name: spec for spec in plugin_host().commands()}


def load_added(name: str) -> click.Command | None:
    """Import the command *name*, or raise `PluginBroken`; None if it may not be used."""
    with telling_warnings():
        host = plugin_host()
        spec = next((each for each in host.commands() if each.name == name), None)
    if spec is None:
        return None
    command = host.load_command(spec)
    if not isinstance(command, click.Command):
        raise PluginBroken(
            f"the command {spec.name!r} {spec.summary} is a {type(command).__name__}, "
            f"not a click command ({spec.target})"
        )
    return command
