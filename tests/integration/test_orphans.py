"""A task whose message somebody deletes while it runs: its result is kept, in every store."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from attrs import frozen
from integration import shop
from integration.on_postgres import do, with_tables
from integration.shop import gate, stem
from services.postgres import PostgresServer
from services.redis import RedisServer

from stem_core import Worker
from stem_core.plugin import Event
from stem_redis import RedisStreamsBroker


@frozen
class Place:
    """A store, and how somebody else deletes all messages in it."""

    url: str
    delete: Callable[[], None]


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield Place(f"sqlite:///{tmp_path}/stem.db", lambda: in_file(tmp_path / "stem.db"))
    elif request.param == "postgres":
        with PostgresServer() as server:
            url = with_tables(server.url)
            yield Place(url, lambda: emptied(url))
    else:
        with RedisServer() as server:
            yield Place(server.url, lambda: asyncio.run(flushed(server.url)))


def emptied(url: str) -> None:
    do(url, "DELETE FROM stem.message")


def in_file(path: Path) -> None:
    with closing(sqlite3.connect(path, timeout=10)) as connection, connection:
        connection.execute("DELETE FROM stem_message")


async def flushed(url: str) -> None:
    broker = await RedisStreamsBroker.connect(url)
    await broker.enter().command("FLUSHALL")
    await broker.aclose()


class Ends:
    """How tasks came out."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event, /) -> None:
        if event.name in ("task-succeeded", "task-failed", "lease-lost"):
            self.events.append(event)


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    async with asyncio.timeout(60):
        yield


def test_what_ends_after_its_message_was_deleted_leaves_its_result(place: Place):
    shop.begin_again()

    async def main() -> None:
        ends = Ends()
        async with in_time(), stem, Worker(stem, observers=[ends]):
            id = (await shop.waits.enqueue("orphan")).id
            await asyncio.to_thread(gate.begun.wait)
            await asyncio.to_thread(place.delete)
            gate.open.set()
            while not ends.events:
                await asyncio.sleep(0.01)
            assert await stem.result(id, timeout=20) == "gate open"
        (end,) = ends.events
        assert (end.name, end.detail["orphan"]) == ("task-succeeded", True)

    with stem.override(broker=place.url, backend=place.url):
        asyncio.run(main())
