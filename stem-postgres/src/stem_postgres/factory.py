"""What the plugin opens; and what to do where the driver finds no libpq."""

from __future__ import annotations

try:
    import psycopg
except ImportError as error:
    raise ImportError(
        f"psycopg finds no libpq on this machine ({error}). "
        'Run: pip install "stem-postgres[binary]"'
    ) from error

from stem_postgres.backend import PostgresResultBackend
from stem_postgres.broker import PostgresBroker

__all__ = ["PostgresBroker", "PostgresResultBackend", "psycopg"]
