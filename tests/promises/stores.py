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
        proofs: tests in tests/conformance that try what cannot be tried by URL.
    """

    name: str
    url: str = ""
    servers: Servers | None = None
    scheme: str = ""
    proofs: tuple[str, ...] = ()

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


_ROOM = "test_a_settlement_without_room_for_what_it_adds_changes_nothing"
_WRITES = "test_a_store_that_takes_no_writes_is_not_healthy"
_RETENTION = "test_when_every_retention_is_over_nothing_is_left_at_the_store"
_IN_TRANSACTIONS = (
    "test_nothing_is_visible_before_the_commit",
    "test_nothing_exists_after_a_rollback",
    "test_a_settlement_takes_effect_with_the_commit",
    "test_each_call_leaves_the_transaction_open",
    "test_a_blocking_connection_does_the_same",
    "test_a_message_that_an_open_transaction_locks_counts_as_held",
)


def _tests(of: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{of}::{name}" for name in names)


STORES: Final = (
    Store(
        "memory",
        "memory://",
        scheme="memory",
        proofs=_tests("test_memory.py::TestBroker", _RETENTION),
    ),
    Store(
        "sqlite",
        "sqlite:///tasks.db",
        scheme="sqlite",
        proofs=_tests("test_sqlite.py::TestBroker", _ROOM, _WRITES, _RETENTION),
    ),
    Store(
        "redis",
        servers=redis.available,
        scheme="redis",
        proofs=_tests("test_redis.py", "TestTroubleOfTheServer", "TestRetentionInTheServersTime"),
    ),
    Store(
        "postgres",
        servers=postgres.available,
        scheme="postgresql",
        proofs=(
            *_tests("test_postgres.py", "TestTroubleOfTheServer"),
            *_tests("test_postgres.py::TestBrokerInTheServersTime", *_IN_TRANSACTIONS),
        ),
    ),
)
"""The columns of the page, in order."""

SIGNERS: Final = ("ed25519", "hmac-sha256")
"""The columns of its second table."""
