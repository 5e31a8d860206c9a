"""The driver, or what to do where it finds no libpq. Every door of the distribution goes by here.

Rule of this module: it is imported before all others that need the driver.
"""

from __future__ import annotations

from stem_core.plugin import ConfigError

__all__ = ["DriverMissing", "psycopg"]


class DriverMissing(ConfigError, ImportError):
    """psycopg is not there, or there is no libpq that it could use."""


try:
    import psycopg
except ImportError as error:
    raise DriverMissing(
        f"psycopg finds no libpq on this machine ({str(error).splitlines()[0]})",
        way_out='Run: pip install "stem-postgres[binary]"',
    ) from error
