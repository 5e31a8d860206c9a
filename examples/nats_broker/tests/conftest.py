"""One server for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from nats_server import available


@pytest.fixture(scope="session")
def nats_url() -> Iterator[str]:
    """The URL of a server; a test makes namespaces of its own there."""
    with available() as url:
        yield url
