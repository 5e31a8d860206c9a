"""How a Redis server is reached: through TLS that checks both sides, and through sentinels."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from services.certificates import Authority
from services.redis import RedisServer
from services.sentinel import SERVICE, Sentinel
from services.server import HOST

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
from stem_core.testing.faults import FaultProxy
from stem_core.testing.faults.splitting import ByChunk, Dialect, Piece
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


def test_an_encrypted_key_is_refused_at_the_start_and_asks_nobody(authority: Authority):
    client = authority.client(password=b"hunter2")
    tls = TlsConfig(
        client_certificate_file=str(client.certificate), client_key_file=str(client.key)
    )

    async def work() -> None:
        with pytest.raises(ConfigError, match="STEM_TLS_CLIENT_KEY") as refused:
            await RedisStreamsBroker.connect("rediss://127.0.0.1:1", tls=tls)
        assert str(client.key) in str(refused.value)
        assert "openssl pkey" in str(refused.value)

    run(work())


def test_a_key_that_is_replaced_by_an_encrypted_one_is_a_matter_for_people(
    authority: Authority, tmp_path: Path
):
    client, encrypted = authority.client(), authority.client("other", password=b"hunter2")
    tls = TlsConfig(
        ca_certificate_file=str(authority.certificate),
        client_certificate_file=str(client.certificate),
        client_key_file=str(client.key),
    )

    async def work(server: RedisServer) -> None:
        broker = await RedisStreamsBroker.connect(server.url, tls=tls)
        client.key.write_bytes(encrypted.key.read_bytes())
        with pytest.raises(StoreMisconfigured, match="encrypted"):
            await one_task(broker, "m")
        await broker.aclose()

    with RedisServer(tls=authority.identity(asks_clients=True)) as server:
        run(work(server))


def test_a_certificate_and_a_key_that_do_not_belong_together_are_named(authority: Authority):
    tls = TlsConfig(
        client_certificate_file=str(authority.client().certificate),
        client_key_file=str(authority.client("other").key),
    )

    async def work() -> None:
        with pytest.raises(ConfigError, match="STEM_TLS_CLIENT_KEY cannot be used"):
            await RedisStreamsBroker.connect("rediss://127.0.0.1:1", tls=tls)

    run(work())


def test_certificates_that_are_named_are_trusted_instead_of_the_systems(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))  # of the system, from here on
    named = TlsConfig(ca_certificate_file=str(Authority(elsewhere).certificate))

    async def work(server: RedisServer) -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await one_task(broker, "m")
        await broker.aclose()
        with pytest.raises(StoreMisconfigured, match="STEM_TLS_CA_CERT"):
            await RedisStreamsBroker.connect(server.url, tls=named)

    with RedisServer(tls=authority.identity()) as server:
        run(work(server))


@pytest.mark.parametrize(
    ("newest", "works"), [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)]
)
def test_tls_that_is_older_than_1_2_is_refused(
    authority: Authority, newest: ssl.TLSVersion, works: bool
):
    trusted = TlsConfig(ca_certificate_file=str(authority.certificate))

    async def work(server: RedisServer) -> None:
        for tls in (trusted, TlsConfig(allow_insecure=True)):
            if works:
                await (await RedisStreamsBroker.connect(server.url, tls=tls)).aclose()
            else:
                with pytest.raises(StoreError):
                    await RedisStreamsBroker.connect(server.url, tls=tls)

    with RedisServer(tls=evolve(authority.identity(), newest=newest)) as server:
        run(work(server))


def test_an_authority_that_is_replaced_on_disk_is_trusted_from_the_next_connection_on(
    authority: Authority, tmp_path: Path
):
    elsewhere, trusted = tmp_path / "elsewhere", tmp_path / "trusted.pem"
    elsewhere.mkdir()
    next_authority = Authority(elsewhere)
    trusted.write_bytes(authority.certificate.read_bytes())
    tls = TlsConfig(ca_certificate_file=str(trusted))

    async def work(old: RedisServer, new: RedisServer) -> None:
        async with FaultProxy(port=old.port) as proxy:
            broker = await RedisStreamsBroker.connect(f"rediss://{proxy.netloc}/0", tls=tls)
            await one_task(broker, "a")
            proxy._upstream = (HOST, new.port, None)  # the server shows another certificate
            proxy.cut()
            proxy.restore()
            with pytest.raises(StoreMisconfigured, match="no trusted TLS"):
                await patiently(lambda: one_task(broker, "b"))
            trusted.write_bytes(next_authority.certificate.read_bytes())
            await one_task(broker, "b")
            await broker.aclose()

    with (
        RedisServer(tls=authority.identity()) as old,
        RedisServer(tls=next_authority.identity()) as new,
    ):
        run(work(old, new))


def test_a_name_is_looked_up_anew_for_each_connection(monkeypatch: pytest.MonkeyPatch):
    ask, here = socket.getaddrinfo, {"redis.test": "127.0.0.2"}

    def resolved(host: Any, *args: Any, **named: Any) -> Any:
        return ask(here.get(host, host), *args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)

    async def work(old: RedisServer) -> None:
        broker = await RedisStreamsBroker.connect(f"redis://redis.test:{old.port}/0")
        await one_task(broker, "a")
        old.stop()
        here["redis.test"] = "127.0.0.1"
        await patiently(lambda: one_task(broker, "b"))
        await broker.aclose()

    with RedisServer() as new:
        old = RedisServer(config={"bind": "127.0.0.2"})
        old._port = new.port
        with old:
            run(work(old))


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


async def known(replica: RedisServer, sentinel: Sentinel) -> None:
    """Return once *sentinel* has heard from *replica* that it follows its master."""
    wanted = (b"%d" % replica.port, b"master-link-status\r\n$2\r\nok")
    reader, writer = await asyncio.open_connection("127.0.0.1", sentinel.port)
    told = b""
    while not all(each in told for each in wanted):
        await asyncio.sleep(0.05)
        writer.write(b"SENTINEL REPLICAS mymaster\r\n")
        told = await reader.read(65_536)
    writer.close()


def test_the_master_that_sentinels_name_is_used_also_after_a_failover():
    async def work(master: RedisServer, replica: RedisServer, sentinel: Sentinel) -> None:
        await known(replica, sentinel)
        broker = await RedisStreamsBroker.connect(sentinel.url)
        await one_task(broker, "before")
        await broker.publish([Message(id="kept", queue="q", task="t", body=b"{}")])
        master.kill()
        (kept,) = await patiently(lambda: broker.fetch(["q"], limit=10, wait_ms=1_000, worker="w"))
        assert kept.message.id == "kept"
        await patiently(lambda: broker.settle([Settlement(receipt=kept.receipt)]))
        await one_task(broker, "after")
        await broker.aclose()

    with RedisServer() as master, RedisServer(config=copies(master)) as replica:
        run(copied(replica))  # a sentinel asks for replicas when it starts, and then seldom
        with Sentinel(master) as sentinel:
            run(work(master, replica, sentinel))


def test_a_service_that_no_sentinel_knows_is_named():
    async def work(sentinel: Sentinel) -> None:
        with pytest.raises(StoreUnavailable, match="'theirs'"):
            await RedisStreamsBroker.connect(sentinel.url.replace("/mymaster/", "/theirs/"))

    with RedisServer() as master, Sentinel(master) as sentinel:
        run(work(sentinel))


def test_sentinels_of_a_master_with_tls_are_asked_over_tls_and_checked(
    authority: Authority, tmp_path: Path
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    strange = TlsConfig(ca_certificate_file=str(Authority(elsewhere).certificate))
    trusted = TlsConfig(ca_certificate_file=str(authority.certificate))

    async def work(sentinel: Sentinel) -> None:
        broker = await RedisStreamsBroker.connect(sentinel.url, tls=trusted)
        await one_task(broker, "m")
        await broker.aclose()
        with pytest.raises(StoreMisconfigured, match=f"sentinel {HOST}: no trusted TLS"):
            await RedisStreamsBroker.connect(sentinel.url, tls=strange)

    with (
        RedisServer(tls=authority.identity(), also_plain=True) as master,
        Sentinel(master, tls=authority.identity()) as sentinel,
    ):
        run(work(sentinel))


def test_a_sentinel_in_the_clear_is_told_nothing_unless_the_url_says_so(authority: Authority):
    tls = TlsConfig(ca_certificate_file=str(authority.certificate))
    heard = bytearray()

    class Ear(ByChunk):
        def feed(self, data: bytes, /) -> list[Piece]:
            heard.extend(data)
            return super().feed(data)

    overheard = Dialect(requests=Ear, replies=ByChunk)

    async def work(sentinel: Sentinel) -> None:
        async with FaultProxy(port=sentinel.port, dialect=overheard) as proxy:
            at = f"{proxy.netloc}/{SERVICE}/0"
            with pytest.raises(StoreError, match="sentinel_tls=false"):
                await RedisStreamsBroker.connect(
                    f"rediss+sentinel://:hunter2@{at}?sentinel_password=hunter3", tls=tls
                )
            assert heard
            assert not re.search(b"(?i)hunter|sentinel", heard)
            broker = await RedisStreamsBroker.connect(
                f"rediss+sentinel://{at}?sentinel_tls=false", tls=tls
            )
            await one_task(broker, "m")
            await broker.aclose()
            assert b"SENTINEL" in heard

    with (
        RedisServer(tls=authority.identity(), also_plain=True) as master,
        Sentinel(master) as sentinel,
    ):
        run(work(sentinel))
