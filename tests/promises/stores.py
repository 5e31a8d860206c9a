"""Whose promises are on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

__all__ = ["STORES", "Store"]


@frozen
class Store:
    """A broker with its own results: the page's word for it, and where it is.

    Attributes:
        url: relative to a folder that is empty when the proof begins; empty for a server.
        variable: of the environment, which names the server; it wins over *url*.
    """

    name: str
    url: str = ""
    variable: str = ""

    def found(self, environment: Mapping[str, str]) -> str:
        """Return the URL to prove; empty when nobody says where the server is."""
        return environment.get(self.variable, "") or self.url


STORES: Final = (
    Store("memory", "memory://"),
    Store("sqlite", "sqlite:///tasks.db"),
    Store("redis", variable="STEM_TEST_REDIS_URL"),
    Store("postgres", variable="STEM_TEST_POSTGRES_URL"),
)
"""The columns of the page, in order."""
