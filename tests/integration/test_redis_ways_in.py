"""How a Redis server is reached: through TLS that checks both sides, and through sentinels."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from services.certificates import Authority
from services.redis import RedisServer
from services.sentinel import Sentinel

from stem_core.plugin import (
    ConfigError,
    Message,
    Settlement,
    SettleStatus,
    StoreError,
    StoreMisconfigured,
    StoreUnavailable,
    TlsConfig,
)
from stem_redis import RedisResultBackend, RedisStreamsBroker


def run(work: Coroutine[Any, Any, None]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(in_time())
    gc.collect()  # a socket that is still open would be told now, by a warning


async def one_task(broker: RedisStreamsBroker, id: str) -> None:
    """Publish, take and end one task."""
    await broker.publish([Message(id=id, queue="q", task="t", body=b"{}")])
    (delivery,) = await broker.fetch(["q"], limit=10, wait_ms=0, worker="w")
    (settled,) = await broker.settle([Settlement(receipt=delivery.receipt)])
    assert (delivery.message.id, settled.status) == (id, SettleStatus.DONE)


async def patiently(call: Callable[[], Awaitable[Any]]) -> Any:
    """Call again while the store is away, as a worker does."""
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(0.05)


# ── TLS ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_a_server_that_asks_for_a_certificate_gets_it(authority: Authority):
    client = authority.client("worker")
    ca = str(authority.certificate)
    shown = TlsConfig(
        ca_certificate_file=ca,
        client_certificate_file=str(client.certificate),
        client_key_file=str(client.key),
    )

    async def work(server: RedisServer) -> None:
        broker = await RedisStreamsBroker.connect(server.url, tls=shown)
        backend = await RedisResultBackend.connect(server.url, tls=shown)
        await one_task(broker, "m")
        await broker.aclose()
        await backend.aclose()
        with pytest.raises(StoreError) as refused:
            await RedisStreamsBroker.connect(server.url, tls=TlsConfig(ca_certificate_file=ca))
        assert server.url in str(refused.value)

    with RedisServer(tls=authority.identity(asks_clients=True)) as server:
        run(work(server))


def test_a_certificate_for_another_name_is_refused(authority: Authority):
    trusted = TlsConfig(ca_certificate_file=str(authority.certificate))

    async def work(server: RedisServer) -> None:
        # The certificate is for localhost and 127.0.0.1.
        elsewhere = server.url.replace("127.0.0.1", "127.1")
        with pytest.raises(StoreMisconfigured) as refused:
            await RedisStreamsBroker.connect(elsewhere, tls=trusted)
        assert "127.1" in str(refused.value)

    with RedisServer(tls=authority.identity()) as server:
        run(work(server))


def test_a_certificate_that_has_expired_is_refused(authority: Authority):
    trusted = TlsConfig(ca_certificate_file=str(authority.certificate))

    async def work(server: RedisServer) -> None:
        with pytest.raises(StoreMisconfigured, match="expired"):
            await RedisStreamsBroker.connect(server.url, tls=trusted)

    with RedisServer(tls=authority.identity(is_expired=True)) as server:
        run(work(server))


@pytest.mark.parametrize(
    "field", ["ca_certificate_file", "client_certificate_file", "client_key_file"]
)
def test_a_certificate_file_that_is_not_there_is_named(
    authority: Authority, tmp_path: Path, field: str
):
    missing = tmp_path / "missing.pem"
    client = authority.client()
    right = TlsConfig(
        ca_certificate_file=str(authority.certificate),
        client_certificate_file=str(client.certificate),
        client_key_file=str(client.key),
    )
    wrong: dict[str, Any] = {field: str(missing)}
    tls = evolve(right, **wrong)

    async def work(server: RedisServer) -> None:
        with pytest.raises(ConfigError, match=str(missing)):
            await RedisStreamsBroker.connect(server.url, tls=tls)

    with RedisServer(tls=authority.identity()) as server:
        run(work(server))


# ── sentinels ────────────────────────────────────────────────────────────────


def copies(master: RedisServer) -> dict[str, str]:
    return {"replicaof": f"127.0.0.1 {master.port}"}


async def copied(replica: RedisServer) -> None:
    """Return once *replica* has all that its master has."""
    reader, writer = await asyncio.open_unix_connection(replica.socket)
    try:
        while True:
            writer.write(b"INFO replication\r\n")
            told = await reader.read(65_536)
            if b"master_link_status:up" in told and b"master_sync_in_progress:0" in told:
                return
            await asyncio.sleep(0.05)
    finally:
        writer.close()


def test_the_master_that_sentinels_name_is_used_also_after_a_failover():
    async def work(master: RedisServer, replica: RedisServer, sentinel: Sentinel) -> None:
        await copied(replica)
        broker = await RedisStreamsBroker.connect(sentinel.url)
        await one_task(broker, "before")
        await broker.publish([Message(id="kept", queue="q", task="t", body=b"{}")])
        await asyncio.sleep(1.2)  # the sentinel asks its master for replicas once in a second
        master.kill()
        (kept,) = await patiently(lambda: broker.fetch(["q"], limit=10, wait_ms=1_000, worker="w"))
        assert kept.message.id == "kept"
        await patiently(lambda: broker.settle([Settlement(receipt=kept.receipt)]))
        await one_task(broker, "after")
        await broker.aclose()

    with (
        RedisServer() as master,
        RedisServer(config=copies(master)) as replica,
        Sentinel(master) as sentinel,
    ):
        run(work(master, replica, sentinel))


def test_a_service_that_no_sentinel_knows_is_named():
    async def work(sentinel: Sentinel) -> None:
        with pytest.raises(StoreUnavailable, match="'theirs'"):
            await RedisStreamsBroker.connect(sentinel.url.replace("/mymaster/", "/theirs/"))

    with RedisServer() as master, Sentinel(master) as sentinel:
        run(work(sentinel))
