"""A cancel of a running task reaches its worker at once; a forged hint reaches nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from services.server import Server
from unit.signing.rings import Given, an_entry

from stem_core import Stem, TaskCancelled, Worker
from stem_core.contracts.control import ControlMessage
from stem_core.producer.registry import TaskRegistry
from stem_core.producer.vouching import ControlWriter
from stem_signing.signer import KeyringSigner

LEASE_S = 90
"""It is renewed after 30 s: who hears of a cancel before that was told."""

PATIENCE_S = 20

registry = TaskRegistry()
running: set[str] = set()


@registry.task(name="orders.long", visibility_timeout=LEASE_S)
async def long(name: str) -> None:
    running.add(name)
    await asyncio.sleep(600)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "redis":
        server: Server = request.getfixturevalue("redis_server")
        yield server.url
    elif request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/tasks.db"
    else:
        yield f"memory://{tmp_path.name}"


@asynccontextmanager
async def started(stem: Stem, name: str) -> AsyncIterator[str]:
    """Run the long task in a worker; give its id."""
    async with stem, Worker(stem, grace=0):
        id = await stem.enqueue("orders.long", args={"name": name})
        async with asyncio.timeout(PATIENCE_S):
            while name not in running:
                await asyncio.sleep(0.01)
        yield id


def test_a_running_task_ends_as_soon_as_it_is_cancelled(url: str) -> None:
    async def trial() -> None:
        mine, other = (Stem(url, registry=registry) for _ in range(2))
        async with started(mine, url) as id, other:
            await other.cancel(id, "not needed")
            with pytest.raises(TaskCancelled, match="not needed"):
                await other.result(id, timeout=PATIENCE_S)

    asyncio.run(trial())


def test_with_keys_a_hint_that_nobody_signed_is_refused_and_a_signed_one_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path}/tasks.db"
    signer = KeyringSigner(Given([an_entry("one", "secret")]))
    stem = Stem(url, registry=registry, signer=signer)
    caplog.set_level(logging.ERROR, "stem.worker")

    async def trial() -> None:
        async with started(stem, "signed") as id:
            channel = (await stem.lane()).broker.control
            assert channel is not None
            for _ in range(3):
                await channel.send(ControlWriter(stem.config.namespace, None).write({"id": id}))
            async with asyncio.timeout(PATIENCE_S):
                while "a control message was refused" not in caplog.text:
                    await asyncio.sleep(0.01)
            await stem.cancel(id)
            with pytest.raises(TaskCancelled):
                await stem.result(id, timeout=PATIENCE_S)

    asyncio.run(trial())
    [line] = [each.getMessage() for each in caplog.records if "control message" in each.message]
    assert "(signature-missing)" in line


@pytest.mark.parametrize("body", [b"", b"\xff\x00", b"[]", b'{"v":9}', b"x" * 60_000])
def test_bytes_that_are_no_hint_harm_nobody(body: bytes, tmp_path: Path) -> None:
    stem = Stem(f"memory://{tmp_path.name}", registry=registry)

    async def trial() -> None:
        async with started(stem, f"bytes {body[:9]!r}") as id:
            channel = (await stem.lane()).broker.control
            assert channel is not None
            await channel.send(ControlMessage(body=body))
            await stem.cancel(id)
            with pytest.raises(TaskCancelled):
                await stem.result(id, timeout=PATIENCE_S)

    asyncio.run(trial())


def test_a_hint_without_a_cancel_ends_nothing(tmp_path: Path) -> None:
    """The broker decides: whoever forges a hint makes a worker ask once too often."""
    stem = Stem(f"memory://{tmp_path.name}", registry=registry)

    async def trial() -> None:
        async with started(stem, "forged") as id:
            channel = (await stem.lane()).broker.control
            assert channel is not None
            writer = ControlWriter(stem.config.namespace, None)
            await channel.send(writer.write({"do": "look", "id": id}))
            await channel.send(writer.write({"do": "look", "id": "another"}))
            await channel.send(writer.write({"do": "what is not known yet"}))
            await asyncio.sleep(0.2)
            status = await stem.status(id)
            assert status is not None
            assert not status.state.is_terminal
            await stem.cancel(id)
            with pytest.raises(TaskCancelled):
                await stem.result(id, timeout=PATIENCE_S)

    asyncio.run(trial())
