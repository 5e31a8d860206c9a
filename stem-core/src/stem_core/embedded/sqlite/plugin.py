"""What `sqlite://` offers. Nothing of the adapter, nor sqlite3, is imported here."""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.contracts.hookspecs import BackendSpec, BrokerSpec, hookimpl

STEM_PLUGIN_API = (1, 0)

_SUMMARY = "messages and results in one file, for all processes of a machine"
_EXAMPLES = ("sqlite:///tasks.db", "sqlite:////var/lib/shop/tasks.db?durability=normal")
_OPTIONS = "stem_core.embedded.sqlite.options:SqliteOptions"


@hookimpl
def stem_register_brokers() -> Sequence[BrokerSpec]:
    """The broker of one machine."""
    return [
        BrokerSpec(
            schemes=("sqlite",),
            factory="stem_core.embedded.sqlite.broker:SqliteBroker",
            options=_OPTIONS,
            summary=_SUMMARY,
            examples=_EXAMPLES,
        )
    ]


@hookimpl
def stem_register_backends() -> Sequence[BackendSpec]:
    """The result backend of one machine."""
    return [
        BackendSpec(
            schemes=("sqlite",),
            factory="stem_core.embedded.sqlite.backend:SqliteResultBackend",
            options=_OPTIONS,
            summary=_SUMMARY,
            examples=_EXAMPLES,
        )
    ]
