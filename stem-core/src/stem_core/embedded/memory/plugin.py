"""The plugin of ``memory://``: names its classes and imports none of them."""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.contracts.hookspecs import BackendSpec, BrokerSpec, hookimpl

STEM_PLUGIN_API = (1, 0)

_SUMMARY = "messages and results in this process; gone when it ends"
_EXAMPLES = ("memory://", "memory://orders")


@hookimpl
def stem_register_brokers() -> Sequence[BrokerSpec]:
    """The broker that needs no server."""
    return [
        BrokerSpec(
            schemes=("memory",),
            factory="stem_core.embedded.memory.broker:InMemoryBroker",
            summary=_SUMMARY,
            examples=_EXAMPLES,
        )
    ]


@hookimpl
def stem_register_backends() -> Sequence[BackendSpec]:
    """The result backend that needs no server."""
    return [
        BackendSpec(
            schemes=("memory",),
            factory="stem_core.embedded.memory.backend:InMemoryResultBackend",
            summary=_SUMMARY,
            examples=_EXAMPLES,
        )
    ]
