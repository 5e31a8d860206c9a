"""The Redis store keeps its promises on every server program that is here, not on the newest alone.

Those from before Redis 7 know no flags of scripts, and go by other rules when they are full.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conformance import test_redis as preferred
from services.finding import Program
from services.redis import RedisServer, programs

OTHERS = programs()[1:] or programs()
"""All but the preferred one, to which the other module is devoted; that one where there is no
other, as on a Python that has no package of another."""


def name_of(program: Program) -> str:
    return f"{program.name} {'.'.join(map(str, program.version))}"


@pytest.fixture(scope="module", params=OTHERS, ids=name_of)
def redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(request.param) as server:
        yield server


@pytest.fixture
def own_server(redis_server: RedisServer) -> RedisServer:
    return redis_server


class TestBroker(preferred.TestBroker):
    @pytest.fixture
    def stem_broker(self, redis_server: RedisServer) -> Any:
        return preferred.in_a_time_of_its_own(redis_server.url)


class TestBackend(preferred.TestBackend):
    pass


class TestTroubleOfTheServer(preferred.TestTroubleOfTheServer):
    pass
