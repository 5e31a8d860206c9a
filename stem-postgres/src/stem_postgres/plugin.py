"""What `postgresql://` offers. Nothing of the adapter, nor the driver, is imported here."""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.plugin import BackendSpec, BrokerSpec, hookimpl

STEM_PLUGIN_API = (1, 0)

_SCHEMES = ("postgresql", "postgres", "pg")
_OPTIONS = "stem_postgres.options:PostgresOptions"
_EXAMPLES = (
    "postgresql://localhost/shop",
    "postgresql://user:password@db.example:5432/shop?schema=tasks",
    "postgresql://user:password@db1,db2/shop?target_session_attrs=read-write&sslmode=verify-full",
    "postgresql:///shop?host=/run/postgresql",
)


@hookimpl
def stem_register_brokers() -> Sequence[BrokerSpec]:
    """The broker that takes part in the caller's transaction."""
    return [
        BrokerSpec(
            schemes=_SCHEMES,
            factory="stem_postgres.factory:PostgresBroker",
            options=_OPTIONS,
            summary="messages at PostgreSQL 14+, in the transaction of your own rows",
            examples=_EXAMPLES,
        )
    ]


@hookimpl
def stem_register_backends() -> Sequence[BackendSpec]:
    """The result backend beside it."""
    return [
        BackendSpec(
            schemes=_SCHEMES,
            factory="stem_postgres.factory:PostgresResultBackend",
            options=_OPTIONS,
            summary="results at PostgreSQL 14+, pushed to whoever waits",
            examples=_EXAMPLES,
        )
    ]
