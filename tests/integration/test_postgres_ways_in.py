"""The ways to the tables of a PostgreSQL store: who may, over what, and in whose transaction."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from integration.on_postgres import (
    GRANTS,
    do,
    message,
    name_for,
    one_task,
    place,
    run,
    take,
    with_tables,
)
from services.certificates import Authority
from services.postgres import PostgresServer
from services.server import Server

from stem_core import Stem
from stem_core.plugin import (
    Fault,
    PublishStatus,
    Record,
    Settlement,
    SettleStatus,
    State,
    StemURL,
    StoreError,
    StoreMisconfigured,
    StoreUnavailable,
    TlsConfig,
    UniqueKey,
    UsageError,
)
from stem_postgres import PostgresBroker, PostgresResultBackend
from stem_postgres.migrating import migrate
from stem_postgres.schema import LATEST


@pytest.fixture
def server() -> Any:
    with PostgresServer() as server:
        with_tables(server.url)
        yield server


@pytest.fixture(scope="session")
def url(postgres_server: Server) -> str:
    return with_tables(postgres_server.url)


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    return f"faults-{name_for(request.node.name)}"


# ── the tables ───────────────────────────────────────────────────────────────


def test_without_tables_the_command_that_makes_them_is_named(server: PostgresServer):
    async def work() -> None:
        with pytest.raises(StoreMisconfigured, match="stem migrate up") as caught:
            await PostgresBroker.connect(server.url + "?schema=other")
        assert caught.value.fault is Fault.FATAL_CONFIG

    run(work())


def test_newer_tables_are_refused_and_stay_as_they_are(server: PostgresServer):
    do(server.url, "UPDATE stem.version SET version = 99")
    with pytest.raises(StoreMisconfigured, match="version 99"):
        asyncio.run(PostgresBroker.connect(server.url))
    with pytest.raises(StoreMisconfigured, match="version 99"):
        asyncio.run(migrate(place(server.url)))
    assert do(server.url, "SELECT version FROM stem.version") == [(99,)]


def test_tables_that_vanish_are_a_matter_for_people(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url)
        await asyncio.to_thread(do, server.url, "DROP SCHEMA stem CASCADE")
        with pytest.raises(StoreMisconfigured, match="stem migrate up"):
            await broker.publish([message("m")])
        await broker.aclose()

    run(work())


def test_of_eight_that_make_the_tables_at_once_one_does_and_none_fails(server: PostgresServer):
    async def work() -> None:
        where = place(server.url, schema="crowded")
        steps = await asyncio.gather(*[migrate(where) for _ in range(8)])
        assert sorted(step.before.version for step in steps) == [0] + [LATEST] * 7
        assert all(step.after.is_ours for step in steps)

    run(work())


def test_two_schemas_of_one_database_know_nothing_of_each_other(server: PostgresServer):
    with_tables(server.url, "second")

    async def work() -> None:
        one = await PostgresBroker.connect(server.url)
        other = await PostgresBroker.connect(server.url + "?schema=second")
        assert one.store_id != other.store_id
        await one.publish([message("m")])
        assert await other.lookup(["m"]) == [None]
        await one_task(other, "m")
        await one.aclose()
        await other.aclose()

    run(work())


# ── who may, and what is shown ───────────────────────────────────────────────


_SECRET = "s3cr%t@:/#?w"


def test_a_password_is_asked_for_and_never_shown(capfd: pytest.CaptureFixture[str]):
    with PostgresServer(password=_SECRET) as server:
        right = server.url
        with_tables(right)

        async def use(url: str) -> None:
            broker = await PostgresBroker.connect(url)
            await one_task(broker, "m")
            await broker.aclose()

        run(use(right))
        shown = []
        for wrong in (
            server.url_of("postgres", _SECRET + "x"),
            server.url_of("nobody", _SECRET),
            server.url_of("postgres", _SECRET, "nowhere"),
            server.url_of("postgres", _SECRET).replace(str(server.port), "1"),
            server.url_of("postgres", _SECRET) + "?schema=other",
            server.url_of("postgres", _SECRET) + "?sslmode=require",
        ):
            with pytest.raises(StoreError) as caught:
                run(use(wrong))
            shown.append("".join(traceback.format_exception(caught.value)) + repr(caught.value))
        shown += list(capfd.readouterr())
    for text in shown:
        assert not any(piece in text for piece in ("s3cr", "cr%t", "cr%25t", "#?w", "%23%3Fw"))
    assert "refuses this user and password" in shown[0]
    assert "no database of this name" in shown[2]


def test_the_rights_that_the_docs_name_are_enough(server: PostgresServer):
    async def work() -> None:
        url = server.url_of("plain")
        broker = await PostgresBroker.connect(url)
        backend = await PostgresResultBackend.connect(url)
        await broker.publish([message("m", unique=UniqueKey(key="k"))])
        (delivery,) = await take(broker)
        record = Record(id="m", state=State.SUCCEEDED, fence=delivery.receipt.fence)
        (reply,) = await broker.settle([Settlement(receipt=delivery.receipt, record=record)])
        assert reply.status is SettleStatus.DONE
        assert await backend.wait("m", timeout_ms=1_000) == record
        await broker.admin.stats()
        await broker.aclose()
        await backend.aclose()

    do(server.url, "CREATE ROLE plain LOGIN", *GRANTS)
    run(work())


def test_a_producer_needs_fewer_rights_and_a_reader_fewer_still(server: PostgresServer):
    async def work() -> None:
        owner = await PostgresBroker.connect(server.url)  # the namespace is there from now on
        web = await PostgresBroker.connect(server.url_of("web"))
        replies = await web.publish(
            [message("a"), message("b", unique=UniqueKey(key="k"), delay_ms=5), message("a")]
        )
        assert [each.status for each in replies] == [
            PublishStatus.CREATED, PublishStatus.CREATED, PublishStatus.DUPLICATE,
        ]  # fmt: skip
        async with await psycopg.AsyncConnection.connect(server.url_of("web")) as request:
            (reply,) = await web.publish_in(request, [message("d", delay_ms=5)])
            assert reply.status is PublishStatus.CREATED
        with pytest.raises(StoreMisconfigured):
            await take(web)
        reader = await PostgresBroker.connect(server.url_of("reader"))
        (stats,) = await reader.admin.stats()
        assert stats.ready + stats.delayed == 3
        with pytest.raises(StoreMisconfigured):
            await reader.publish([message("c")])
        checks = [await each.admin.health() for each in (owner, web, reader)]
        assert [each.ok for each in checks] == [True, True, False]
        assert "does not allow this user" in checks[-1].detail
        for each in (owner, web, reader):
            await each.aclose()

    do(
        server.url,
        "CREATE ROLE web LOGIN",
        "CREATE ROLE reader LOGIN",
        "GRANT USAGE ON SCHEMA stem TO web, reader",
        "GRANT SELECT ON ALL TABLES IN SCHEMA stem TO web, reader",
        "GRANT INSERT, UPDATE, DELETE ON stem.message, stem.unique_key, stem.dead, stem.ended, "
        "stem.sleeper, stem.waiter, stem.untold TO web",
        "GRANT INSERT, UPDATE ON stem.namespace TO web",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA stem TO web",
    )
    run(work())


def test_rights_that_are_missing_are_a_matter_for_people(server: PostgresServer):
    do(server.url, "CREATE ROLE nothing LOGIN")
    with pytest.raises(StoreMisconfigured, match="docs/brokers/postgres"):
        asyncio.run(PostgresBroker.connect(server.url_of("nothing")))


def test_a_unix_socket_is_as_good_as_a_port(server: PostgresServer):
    async def work() -> None:
        folder, port = server.socket.parent, server.port
        broker = await PostgresBroker.connect(
            f"postgresql://postgres@/postgres?host={folder}&port={port}"
        )
        await one_task(broker, "m")
        await broker.aclose()

    run(work())


def test_tls_is_checked_and_its_refusals_name_the_way_out(tmp_path: Path):
    folders = [tmp_path / name for name in ("ours", "theirs")]
    for folder in folders:
        folder.mkdir()
    authority, stranger = map(Authority, folders)

    async def work(server: PostgresServer) -> None:
        trusted = TlsConfig(ca_certificate_file=str(authority.certificate))
        broker = await PostgresBroker.connect(server.url, tls=trusted)
        await one_task(broker, "m")
        await broker.aclose()
        wrong = TlsConfig(ca_certificate_file=str(stranger.certificate))
        with pytest.raises(StoreMisconfigured, match="STEM_TLS_CA_CERT"):
            await PostgresBroker.connect(server.url, tls=wrong)
        with pytest.raises(StoreMisconfigured, match="STEM_TLS_CA_CERT"):
            await PostgresBroker.connect(server.url + "?sslmode=verify-full")
        broker = await PostgresBroker.connect(server.url, tls=TlsConfig(allow_insecure=True))
        await one_task(broker, "n")
        await broker.aclose()

    with PostgresServer(tls=authority.identity()) as server:
        with_tables(server.url)
        run(work(server))


def test_of_several_hosts_the_one_that_answers_is_taken(url: str, namespace: str):
    async def work() -> None:
        home = StemURL.parse(url)
        both = url.replace(home.netloc, f"127.0.0.1:1,{home.netloc}")
        broker = await PostgresBroker.connect(both, namespace=namespace)
        await one_task(broker, "m")
        await broker.aclose()

    run(work())


@contextmanager
def silent(address: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """A place that takes connections and says nothing."""
    with socket.create_server((address, port)) as listening:
        yield f"{address}:{listening.getsockname()[1]}"


def test_a_host_that_is_silent_leaves_the_next_one_its_time(url: str, namespace: str):
    async def work(dead: str) -> None:
        home = StemURL.parse(url)
        both = url.replace(home.netloc, f"{dead},{home.netloc}")
        began = time.monotonic()
        broker = await PostgresBroker.connect(f"{both}?connect_timeout=1s", namespace=namespace)
        assert time.monotonic() - began < 2  # as the option says, and not as libpq rounds it
        await broker.aclose()

    with silent() as dead:
        run(work(dead))


def test_of_the_addresses_of_a_name_the_one_that_answers_is_taken(
    url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
):
    home = StemURL.parse(url)
    (host,) = home.hosts
    port = host.port or 5432
    real = socket.getaddrinfo

    def two(name: Any, *args: Any, **more: Any) -> Any:
        names = ("127.0.0.2", host.name) if name == "db.example" else (name,)
        return [place for each in names for place in real(each, *args, **more)]

    async def work() -> None:
        named = url.replace(home.netloc, f"db.example:{port}")
        broker = await PostgresBroker.connect(f"{named}?connect_timeout=2s", namespace=namespace)
        await one_task(broker, "m")
        await broker.aclose()

    monkeypatch.setattr(socket, "getaddrinfo", two)
    with silent("127.0.0.2", port):
        run(work())


def test_a_host_that_may_come_back_outweighs_one_that_refuses_for_good(server: PostgresServer):
    async def work() -> None:
        home = StemURL.parse(server.url)
        for hosts in (f"{home.netloc},127.0.0.1:1", f"127.0.0.1:1,{home.netloc}"):
            wrong = server.url_of("postgres", None, "nowhere").replace(home.netloc, hosts)
            with pytest.raises(StoreUnavailable, match="no database of this name"):
                await PostgresBroker.connect(wrong)
        with pytest.raises(StoreMisconfigured, match="no database of this name"):
            await PostgresBroker.connect(server.url_of("postgres", None, "nowhere"))

    run(work())


# ── behind a pooler, and in the caller's transaction ─────────────────────────


def test_behind_a_pooler_nothing_is_kept_in_a_session(server: PostgresServer):
    async def work() -> None:
        broker = await PostgresBroker.connect(server.url + "?pooler=true&poll=100ms")
        waiting = asyncio.create_task(take(broker, 1, 5_000))
        other = broker.sibling()
        for n in range(5):
            await other.publish([message(f"m{n}")])
        assert len(await waiting) == 1
        rows = await asyncio.to_thread(
            do,
            server.url,
            "SELECT query, state FROM pg_stat_activity WHERE application_name LIKE 'stem%'",
        )
        assert all("LISTEN" not in query and state == "idle" for query, state in rows)
        await broker.aclose()
        await other.aclose()

    do(server.url, "ALTER ROLE postgres SET default_transaction_isolation = 'serializable'")
    run(work())


def test_an_order_and_its_task_are_committed_together_or_not_at_all(server: PostgresServer):
    do(server.url, "CREATE TABLE orders (id int PRIMARY KEY)")

    async def work() -> None:
        connection = await psycopg.AsyncConnection.connect(server.url)
        async with Stem(server.url) as stem, connection:
            for n in range(10):
                await connection.execute("INSERT INTO orders VALUES (%s)", (n,))
                id = await stem.enqueue("ship", {"order": n}, connection=connection)
                if n % 2:
                    await connection.rollback()
                else:
                    await connection.commit()
                status = await stem.status(id)
                assert (status is None) == bool(n % 2)
        rows = await asyncio.to_thread(
            do,
            server.url,
            "SELECT count(*) FROM orders UNION ALL SELECT count(*) FROM stem.message",
        )
        assert rows == [(5,), (5,)]

    run(work())


def test_the_blocking_verbs_join_the_transaction_of_the_thread(server: PostgresServer):
    stem = Stem(server.url)
    try:
        with psycopg.connect(server.url) as connection:
            kept = stem.blocking.enqueue("ship", {"order": 1}, connection=connection)
        with psycopg.connect(server.url) as connection:
            gone = stem.blocking.enqueue("ship", {"order": 2}, connection=connection)
            connection.rollback()
        assert stem.blocking.status(kept) is not None
        assert stem.blocking.status(gone) is None
    finally:
        stem.close()


def test_a_connection_that_commits_each_statement_is_refused(url: str, namespace: str):
    async def work() -> None:
        broker = await PostgresBroker.connect(url, namespace=namespace)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            with pytest.raises(UsageError, match="autocommit"):
                await broker.publish_in(connection, [message("m")])
            async with connection.transaction():
                await broker.publish_in(connection, [message("m")])
        assert [each.message.id for each in await take(broker)] == ["m"]
        await broker.aclose()

    run(work())


ASKS = """
import asyncio, os, pty, sys
child, terminal = pty.fork()
if child:
    told = b""
    try:
        while more := os.read(terminal, 4096):
            told += more
            if b"pass phrase" in told:
                break
    except OSError:
        pass
    sys.exit(told.decode())
from stem_core.plugin import TlsConfig
from stem_postgres import PostgresBroker
url, ca, certificate, key = sys.argv[1:]
tls = TlsConfig(ca_certificate_file=ca, client_certificate_file=certificate, client_key_file=key)
asyncio.run(PostgresBroker.connect(url, tls=tls))
"""


def test_an_encrypted_key_is_refused_and_no_terminal_is_asked_for_its_password(tmp_path: Path):
    authority = Authority(tmp_path)
    client = authority.client(password=b"hunter2")
    files = [str(path) for path in (authority.certificate, client.certificate, client.key)]
    with PostgresServer(tls=authority.identity(asks_clients=True)) as server:
        at_a_terminal = [sys.executable, "-c", ASKS, server.url, *files]
        told = subprocess.run(at_a_terminal, capture_output=True, text=True, timeout=30).stderr
    assert "StoreMisconfigured" in told
    assert "STEM_TLS_CLIENT_KEY" in told
    assert "pass phrase" not in told
