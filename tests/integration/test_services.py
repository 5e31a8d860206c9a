"""The servers of the tests: they can be hit, keep what they promise, and are never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import pytest
import redis as redis_driver
from services import postgres, redis
from services.certificates import Authority
from services.postgres import PostgresServer
from services.processes import state
from services.redis import RedisServer
from services.server import StartFailed

TESTS = Path(__file__).parents[1]
REDIS_KINDS = pytest.mark.parametrize("program", redis.programs(), ids=lambda found: found.id)
POSTGRES_KINDS = pytest.mark.parametrize("program", postgres.programs(), ids=lambda found: found.id)


@contextlib.contextmanager
def asked(server, **options):
    """A client of the Redis *server*."""
    client = redis_driver.Redis.from_url(server.url, socket_timeout=5, **options)
    with contextlib.closing(client):
        yield client


def told(server, query, **options):
    """What the Postgres *server* answers to *query*."""
    with psycopg.connect(server.url, autocommit=True, connect_timeout=5, **options) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else []


def accepts(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait_until(is_so, within_s=10.0):
    until = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < until, f"not so within {within_s} s"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def postgres_of_ours():
    with PostgresServer(durable=True) as server:
        yield server


# ── each server that is here ─────────────────────────────────────────────────


@REDIS_KINDS
def test_a_redis_that_was_killed_comes_back_at_its_url_with_what_it_had_confirmed(program):
    with RedisServer(program, durable=True) as server:
        url, folder = server.url, server.folder
        with asked(server) as client:
            client.set("kept", "yes")
            server.kill()
            assert not accepts(server.port)
            server.start()
            assert client.get("kept") == b"yes"
            assert client.info("server")["process_id"] == server.pid
        assert server.url == url
    assert not folder.exists()


@POSTGRES_KINDS
def test_a_postgres_that_was_killed_comes_back_at_its_url_with_what_it_had_confirmed(program):
    with PostgresServer(program, durable=True) as server:
        url, folder = server.url, server.folder
        told(server, "CREATE TABLE kept AS SELECT 'yes' AS word")
        with contextlib.closing(psycopg.connect(url)) as busy:
            busy.execute("SELECT * FROM kept")  # its process, too, has to go before the next start
            server.kill()
            server.start()
        assert told(server, "SELECT word FROM kept") == [("yes",)]
        [[version]] = told(server, "SHOW server_version_num")
        assert version.startswith(str(program.version[0]))
        assert server.url == url
    assert not folder.exists()


@REDIS_KINDS
def test_a_restart_of_redis_keeps_its_data_or_drops_them_as_it_is_told(program):
    with RedisServer(program, durable=True) as server, asked(server) as client:
        client.set("kept", "yes")
        server.restart()
        assert client.get("kept") == b"yes"
        server.restart(keep_data=False)
        assert client.get("kept") is None


def test_a_restart_of_postgres_keeps_its_data_or_drops_them_as_it_is_told(postgres_of_ours):
    server = postgres_of_ours
    told(server, "CREATE TABLE kept ()")
    server.restart()
    assert told(server, "SELECT to_regclass('kept')::text") == [("kept",)]
    server.restart(keep_data=False)
    assert told(server, "SELECT to_regclass('kept')::text") == [(None,)]


def test_what_keeps_no_data_refuses_a_restart_that_keeps_them():
    with RedisServer() as server:
        with pytest.raises(ValueError, match=r"keep_data=True: .* make it with durable=True"):
            server.restart()
        server.restart(keep_data=False)
        assert accepts(server.port)


# ── what it can be told ──────────────────────────────────────────────────────


def test_a_paused_redis_takes_connections_and_answers_nothing_until_it_goes_on():
    with RedisServer() as server, socket.create_connection(("127.0.0.1", server.port)) as line:
        server.pause()
        line.settimeout(0.1)
        line.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            line.recv(64)
        server.resume()
        line.settimeout(5)
        assert line.recv(64) == b"+PONG\r\n"


def test_the_sessions_of_a_paused_postgres_stand_still_as_well(postgres_of_ours):
    with psycopg.connect(postgres_of_ours.url) as connection:
        postgres_of_ours.pause()
        assert state(connection.info.backend_pid) == "T"
        postgres_of_ours.resume()
        assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_a_paused_server_can_still_be_ended_and_started_again(postgres_of_ours):
    with RedisServer() as redis_of_ours:
        for server in (redis_of_ours, postgres_of_ours):
            server.pause()
            server.stop()
            assert not server.is_running
            server.start()


def test_redis_has_the_passwords_users_and_limits_that_it_is_given():
    bob = "bob on >p@ss ~* &* +@all"
    with RedisServer(
        config={"requirepass": "s3cret/", "maxmemory": "64mb", "user": [bob]}
    ) as server:
        with asked(server) as client:
            assert client.config_get("maxmemory") == {"maxmemory": str(64 * 2**20)}
        url = server.url_of("bob", "p@ss", database=3)
        with redis_driver.Redis.from_url(url, decode_responses=True) as client:
            assert client.execute_command("ACL WHOAMI") == "bob"
        with socket.create_connection(("127.0.0.1", server.port)) as line:
            line.sendall(b"PING\r\n")
            assert line.recv(64).startswith(b"-NOAUTH")


def test_postgres_has_the_password_and_settings_that_it_is_given():
    with PostgresServer(password="p@ss/", config={"work_mem": "5MB"}) as server:
        assert told(server, "SHOW work_mem") == [("5MB",)]
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.url_of("postgres"))


def test_a_server_that_does_not_come_up_says_why_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = RedisServer(config={"maxmemory": "plenty"})
    with pytest.raises(StartFailed, match=r"(?s)exit code 1; its log .*maxmemory"), server:
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_somebody_else_took_meanwhile_is_left_to_them():
    server = RedisServer()
    with socket.create_server(("127.0.0.1", server.port)), server, asked(server) as client:
        assert client.ping()


def test_an_error_that_leaves_the_block_carries_the_log():
    with pytest.raises(ZeroDivisionError) as caught, RedisServer():
        raise ZeroDivisionError
    assert any("eady to accept connections" in note for note in caught.value.__notes__)


def test_a_server_outlives_the_thread_that_started_it():
    with RedisServer() as server:
        thread = threading.Thread(target=server.restart, kwargs={"keep_data": False})
        thread.start()
        thread.join()
        with asked(server) as client:
            assert client.ping()


# ── TLS ──────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def test_redis_answers_over_tls_to_who_trusts_its_authority_and_to_nobody_else(authority):
    with RedisServer(tls=authority.identity()) as server:
        assert server.url.startswith("rediss://")
        with asked(server, ssl_ca_certs=str(authority.certificate)) as client:
            client.set("large", b"x" * 2_000_000)
            assert client.get("large") == b"x" * 2_000_000
        with asked(server) as client, pytest.raises(redis_driver.ConnectionError, match="CERTIF"):
            client.ping()
        with socket.create_connection(("127.0.0.1", server.port)) as line:  # in the clear
            line.sendall(b"PING\r\n")
            assert b"PONG" not in line.recv(64)


def test_redis_asks_clients_for_certificates_if_it_is_told_to(authority):
    trust = {"ssl_ca_certs": str(authority.certificate)}
    shown = authority.client()
    with RedisServer(tls=authority.identity(asks_clients=True)) as server:
        mine = {"ssl_certfile": str(shown.certificate), "ssl_keyfile": str(shown.key)}
        with asked(server, **trust, **mine) as client:
            assert client.ping()
        with asked(server, **trust) as client, pytest.raises(redis_driver.ConnectionError):
            client.ping()


def test_a_certificate_that_has_expired_is_refused(authority):
    with RedisServer(tls=authority.identity(is_expired=True)) as server:
        trusting = ssl.create_default_context(cafile=authority.certificate)
        with (
            socket.create_connection(("127.0.0.1", server.port)) as line,
            pytest.raises(ssl.SSLCertVerificationError, match="expired"),
        ):
            trusting.wrap_socket(line, server_hostname="localhost")


def test_postgres_answers_over_tls_to_who_trusts_its_authority_and_to_nobody_else(
    authority, tmp_path
):
    trust = {"sslmode": "verify-full", "sslrootcert": str(authority.certificate)}
    stranger = {**trust, "sslrootcert": str(Authority(tmp_path).certificate)}
    with PostgresServer(tls=authority.identity()) as server:
        assert told(server, "SELECT length(repeat('x', 2000000))", **trust) == [(2_000_000,)]
        with pytest.raises(psycopg.OperationalError, match="certificate"):
            told(server, "SELECT 1", **stranger)
        with pytest.raises(psycopg.OperationalError):
            told(server, "SELECT 1", sslmode="disable")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            told(server, "SELECT 1", **trust)
        server.start()
        assert told(server, "SELECT 1", **trust) == [(1,)]


# ── what it costs, and what is left ──────────────────────────────────────────


def test_both_fixtures_serve(redis_server, postgres_server):
    with asked(redis_server) as client:
        assert client.ping()
    assert told(postgres_server, "SELECT 1") == [(1,)]


def run(program, **settings):
    environment = {**os.environ, "PYTHONPATH": str(TESTS), **settings}
    words = [sys.executable, "-c", program]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)


UNUSED = """
import os, sys, services.fixtures
from services.processes import children
drivers = {"redis", "psycopg", "cryptography"} & set(sys.modules)
print(sorted(drivers), children(os.getpid()))
"""


def test_who_uses_no_server_starts_none_and_imports_no_driver():
    with run(UNUSED) as unused:
        assert unused.communicate()[0] == "[] []\n"


OWNER = """
import time
from services.{kind} import {kind_of_server}
from services.processes import children
with {kind_of_server}() as server:
    server.{then}()
    print(server.pid, *children(server.pid), flush=True)
    time.sleep(600)
"""


def goes_on(pid):
    """Whether the process runs; the remains of one that nobody has asked for do not."""
    return state(int(pid)) not in ("Z", "")


@pytest.fixture
def open_folder():
    """A folder for what a killed owner leaves; unlike `tmp_path`, every user may enter it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield folder


@pytest.mark.parametrize("then", ["resume", "pause"])
@pytest.mark.parametrize(
    ("kind", "kind_of_server"), [("redis", "RedisServer"), ("postgres", "PostgresServer")]
)
def test_no_process_outlives_an_owner_that_was_killed(kind, kind_of_server, then, open_folder):
    program = OWNER.format(kind=kind, kind_of_server=kind_of_server, then=then)
    with run(program, TMPDIR=open_folder) as owner:
        assert owner.stdout
        pids = owner.stdout.readline().split()
        were_there = [goes_on(pid) for pid in pids]
        owner.send_signal(signal.SIGKILL)
    assert pids
    assert all(were_there)
    wait_until(lambda: not any(goes_on(pid) for pid in pids))
