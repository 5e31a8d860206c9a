"""``leaky://?bugs=no-fence,two-takers``: the broken broker by URL, as a stranger's plugin is.

It is registered where its module is named: ``STEM_PLUGINS=leaky.plugin``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen
from leaky.bugs import BUGS, leaky

from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.plugin import BackendSpec, BrokerSpec, ConfigError, PluginContext, StemURL, hookimpl

STEM_PLUGIN_API = (1, 0)


@frozen(kw_only=True)
class LeakyOptions:
    """Options of ``leaky://``.

    Attributes:
        bugs: names with commas between them; none for a sound broker.
    """

    bugs: str = ""


class LeakyBroker:
    """Opens a broker with the bugs that its URL names."""

    @classmethod
    async def open(
        cls, url: StemURL, options: LeakyOptions, context: PluginContext
    ) -> InMemoryBroker:
        """Open *url* for Stem."""
        names = [name for name in options.bugs.split(",") if name]
        if unknown := [name for name in names if name not in BUGS]:
            raise ConfigError(f"bugs={unknown[0]}: there is no such bug", way_out=", ".join(BUGS))
        return leaky(*names)("leaky", namespace=context.namespace, clock=context.clock)


class LeakyBackend:
    """Opens the results beside it, in which nothing is wrong."""

    @classmethod
    async def open(
        cls, url: StemURL, options: LeakyOptions, context: PluginContext
    ) -> InMemoryResultBackend:
        """Open *url* for Stem."""
        return InMemoryResultBackend("leaky", namespace=context.namespace, clock=context.clock)


@hookimpl
def stem_register_backends() -> Sequence[Any]:
    """Its results."""
    return [
        BackendSpec(
            schemes=("leaky",),
            factory="leaky.plugin:LeakyBackend",
            options="leaky.plugin:LeakyOptions",
        )
    ]


@hookimpl
def stem_register_brokers() -> Sequence[Any]:
    """The broker that nobody should use."""
    return [
        BrokerSpec(
            schemes=("leaky",),
            factory="leaky.plugin:LeakyBroker",
            options="leaky.plugin:LeakyOptions",
            summary="broken on purpose, to prove the kit",
            examples=("leaky://", "leaky://?bugs=no-fence"),
        )
    ]
