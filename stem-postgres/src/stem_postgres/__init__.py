"""PostgreSQL for Stem: a broker and a result backend, in the transaction of your own rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stem_postgres.backend import PostgresResultBackend as PostgresResultBackend
    from stem_postgres.broker import PostgresBroker as PostgresBroker

__all__ = ["PostgresBroker", "PostgresResultBackend"]

_HOMES = {
    "PostgresBroker": "stem_postgres.broker",
    "PostgresResultBackend": "stem_postgres.backend",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    import_module("stem_postgres.driver")  # says what to do where there is none
    return getattr(import_module(_HOMES[name]), name)
