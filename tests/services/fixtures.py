"""One server of each kind for a session, which every worker of xdist has for itself.

A session in which no test asks for it starts nothing. Tests share it: each keeps to a namespace
or schema of its own, and one that hits its server or changes its settings makes its own, with
`services.redis.RedisServer` or `services.postgres.PostgresServer`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from services import postgres, redis
from services.server import GivenServer, Server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[redis.RedisServer | GivenServer]:
    """A Redis or Valkey server; its `url` is all that a test needs."""
    with redis.available() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.PostgresServer | GivenServer]:
    """A PostgreSQL server; its `url` is all that a test needs."""
    with postgres.available() as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of the servers that a failed test used."""
    report = yield
    if report.failed:
        for server in _servers_of(item):
            report.sections.append((f"the log of {server}", server.log()))
    return report


def _servers_of(item: pytest.Item) -> list[Server]:
    used = getattr(item, "funcargs", {}).values()
    return [server for server in used if isinstance(server, Server) and server.is_running]
