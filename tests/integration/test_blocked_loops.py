"""A task that blocks the event loop of its worker, and what that worker had asked for before."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from integration.on_postgres import with_tables
from services.postgres import PostgresServer
from services.redis import RedisServer

from stem_core import Stem, Worker

MANY: Final = 100
ROOM: Final = 64
LEASE_S: Final = 4
LAST: Final = 1_000


@pytest.fixture(params=["redis", "postgres"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    server = RedisServer() if request.param == "redis" else PostgresServer()
    with server as running:
        url = with_tables(running.url) if request.param == "postgres" else running.url
        # No call is given up while the loop is blocked: what it has asked for, it hears of.
        yield f"{url}{'&' if '?' in url else '?'}timeout=60s"


class Crew:
    """Two workers, each in a thread with a loop of its own. The first to run a task blocks, until
    the second has run all that the first does not hold."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.runs: Counter[int] = Counter()
        self.is_blocked = threading.Event()
        self.is_taken_over = threading.Event()

    def run_one(self, number: int) -> None:
        self.runs[number] += 1
        if not self.is_blocked.is_set():
            self.is_blocked.set()
            assert self.is_taken_over.wait(40)
        elif len(self.runs) == 1 + MANY - ROOM // 2:
            self.is_taken_over.set()

    def stem(self) -> Stem:
        stem = Stem(broker=self.url)
        stem.task(name="one", visibility_timeout=LEASE_S, ignore_result=True)(one)
        return stem

    async def enqueue(self, *numbers: int) -> None:
        async with self.stem() as stem:
            for number in numbers:
                await stem.enqueue("one", args={"number": number})

    async def work(self, concurrency: int, until: Callable[[], bool]) -> None:
        async with self.stem() as stem, Worker(stem, concurrency=concurrency):
            async with asyncio.timeout(60):
                while not until():
                    await asyncio.sleep(0.02)

    def in_a_thread(self, name: str, *args: Any) -> threading.Thread:
        thread = threading.Thread(target=lambda: asyncio.run(self.work(*args)), name=name)
        thread.start()
        return thread


crew: Crew


async def one(number: int) -> None:
    crew.run_one(number)


def test_what_a_worker_had_asked_for_when_a_task_blocked_it_is_run_once_by_somebody(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody renews a lease of which a blocked worker has not heard: it lapses, another worker
    has the task, and the first one, once it hears, must not run it as well."""
    global crew
    crew = Crew(url)
    asyncio.run(crew.enqueue(*range(MANY)))
    # Room for more than half of what waits, so that it asks for more before the first begins.
    first = crew.in_a_thread("first", ROOM, lambda: crew.runs[LAST] > 0)
    assert crew.is_blocked.wait(30)
    second = crew.in_a_thread("second", 8, crew.is_taken_over.is_set)
    assert crew.is_taken_over.wait(40)
    second.join(60)
    asyncio.run(crew.enqueue(LAST))  # which the first asks for once it has heard of all others
    first.join(60)
    assert [each.name for each in (first, second) if each.is_alive()] == []
    assert sorted(crew.runs) == [*range(MANY), LAST]
    assert [number for number, times in crew.runs.items() if times > 1] == []
    if url.startswith("redis"):  # what goes to Postgres may still stand behind the first batch
        assert f"{ROOM // 2} of {ROOM // 2} tasks are left to others" in caplog.text
