"""Whose promises are on the page."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from attrs import frozen
from services import postgres, redis
from services.server import GivenServer, Server

__all__ = ["SIGNERS", "STORES", "Store"]

Servers = Callable[[], AbstractContextManager[Server | GivenServer]]


@frozen
class Store:
    """A broker with its own results: the page's word for it, and where it is.

    Attributes:
        url: relative to a folder that is empty when the proof begins; empty for a server.
        servers: gives what can serve it, the best first; `services` says which those are.
        scheme: by which its plugin opens it.
    """

    name: str
    url: str = ""
    servers: Servers | None = None
    scheme: str = ""

    @contextmanager
    def running(self) -> Iterator[str]:
        """Give the URL to prove; a server runs meanwhile."""
        if self.servers is None:
            yield self.url
            return
        with self.servers() as server:
            if self.scheme == "postgresql":
                migrate = [sys.executable, "-m", "stem_core", "migrate", "up", server.url]
                subprocess.run(migrate, check=True, stdout=subprocess.DEVNULL)
            yield server.url


STORES: Final = (
    Store("memory", "memory://", scheme="memory"),
    Store("sqlite", "sqlite:///tasks.db", scheme="sqlite"),
    Store("redis", servers=redis.available, scheme="redis"),
    Store("postgres", servers=postgres.available, scheme="postgresql"),
)
"""The columns of the page, in order."""

SIGNERS: Final = ("ed25519", "hmac-sha256")
"""The columns of its second table."""
