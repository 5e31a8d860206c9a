"""What the plugin opens."""

from __future__ import annotations

from stem_postgres import driver as driver
from stem_postgres.backend import PostgresResultBackend
from stem_postgres.broker import PostgresBroker

__all__ = ["PostgresBroker", "PostgresResultBackend"]
