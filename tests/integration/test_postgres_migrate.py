"""`stem migrate`: the tables of a Postgres database, seen, made and printed."""

from __future__ import annotations

import asyncio
import itertools
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping

import psycopg
import pytest
from integration.on_postgres import do, one_task
from services.postgres import PostgresServer
from services.server import Server

from stem_core.cli import main
from stem_core.plugin import StoreMisconfigured
from stem_postgres import PostgresBroker
from stem_postgres.schema import LATEST, Schema, script
from stem_postgres.statements import steps

_names = itertools.count()


@pytest.fixture
def stem(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    for name in [name for name in os.environ if name.startswith("STEM_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def schema() -> str:
    return f"migrate_{next(_names)}"


@pytest.fixture
def url(postgres_server: Server, schema: str) -> str:
    return f"{postgres_server.url}?schema={schema}"


def test_tables_are_made_once_and_seen(stem, url: str, schema: str):
    code, out, _ = stem("migrate", "status", url)
    assert (code, "no tables" in out, f"stem migrate up '{url}'" in out) == (1, True, True)
    code, out, _ = stem("migrate", "up", url)
    assert (code, f"schema {schema} is from version 0 to {LATEST}" in out) == (0, True)
    code, out, _ = stem("migrate", "up", url)
    assert (code, f"at version {LATEST} already" in out) == (0, True)
    assert stem("migrate", "status", url)[0] == 0


def test_the_url_is_found_in_the_environment(stem, url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STEM_BROKER_URL", url)
    assert stem("migrate", "up")[0] == 0
    assert stem("migrate", "status")[0] == 0


def test_what_is_printed_makes_the_same_tables(
    stem, url: str, schema: str, postgres_server: Server
):
    code, sql, _ = stem("migrate", "sql", url)
    assert code == 0
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(sql.encode())
    assert stem("migrate", "status", url)[0] == 0
    again = stem("migrate", "sql", "--from", str(LATEST), url)[1]
    assert "FUNCTION" in again
    assert "CREATE TABLE" not in again


def test_tables_of_an_older_version_are_brought_up_to_date_and_keep_what_they_hold(
    stem, url: str, schema: str, postgres_server: Server
):
    first = script(Schema(0), schema, steps()[:1])
    kept = (
        f"INSERT INTO {schema}.record (ns, terminal, fence, keep_ms, id, state, task, queue, "
        "record) VALUES (1, true, 1, 1, 'a', 'succeeded', 't', 'q', '{}')"
    )
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(first.partition("CREATE OR REPLACE FUNCTION")[0].encode())
        connection.execute(f"UPDATE {schema}.version SET version = 1".encode())
        connection.execute(kept.encode())
        code, out, _ = stem("migrate", "status", url)
        assert (code, "version 1" in out) == (1, True)
        code, out, _ = stem("migrate", "up", url)
        assert (code, f"schema {schema} is from version 1 to {LATEST}" in out) == (0, True)
        found = connection.execute(f"SELECT id, known_ms FROM {schema}.record".encode())
        assert found.fetchall() == [("a", 0)]


@pytest.mark.parametrize("is_sealed_by", ["this release", "nobody"])
def test_newer_tables_are_seen_and_left_alone(
    is_sealed_by: str, stem, url: str, schema: str, postgres_server: Server
):
    stem("migrate", "up", url)
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"UPDATE {schema}.version SET version = 7".encode())
        if is_sealed_by == "nobody":  # as after a dump without comments
            connection.execute(f"COMMENT ON TABLE {schema}.version IS NULL".encode())
    code, out, _ = stem("migrate", "status", url)
    assert (code, "upgrade stem-postgres" in out) == (1, True)
    code, _, err = stem("migrate", "up", url)
    assert code == 5
    assert "version 7" in err
    with psycopg.connect(postgres_server.url) as connection:
        assert connection.execute(f"SELECT version FROM {schema}.version".encode()).fetchone() == (
            7,
        )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("up", "redis://localhost"), "no Postgres database"),
        (("status",), "STEM_BROKER_URL"),
        (("up", "postgresql://h?schema=No"), "schema="),
    ],
)
def test_what_makes_no_sense_is_said(stem, arguments: tuple[str, ...], says: str):
    code, _, err = stem("migrate", *arguments)
    assert code == 4
    assert says in err


def test_a_worker_without_tables_ends_at_start_with_the_command(
    stem, url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STEM_BROKER_URL", url)
    code, _, err = stem("queues", "list")
    assert code == 5
    assert f"stem migrate up '{url}'" in err


# ── the command that is printed can be run ───────────────────────────────────


PASSWORD = "s3cr%t'@:/"


@pytest.fixture(scope="module")
def closed() -> Iterator[PostgresServer]:
    """A server that asks for a password."""
    with PostgresServer(password=PASSWORD) as server:
        yield server


def run_printed(said: str, settings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run, in a shell, the command that stands behind "run:"."""
    command = said.lower().rpartition("run:")[2].strip()
    assert command.startswith("stem migrate up")
    program = shlex.join([sys.executable, "-c", "from stem_core.cli import main; exit(main())"])
    return subprocess.run(
        command.replace("stem", program, 1),
        shell=True,
        capture_output=True,
        text=True,
        env={**os.environ, **settings},
    )


@pytest.mark.parametrize("setting", ["STEM_BROKER_URL", "STEM_RESULT_BACKEND_URL"])
def test_with_a_password_in_the_url_the_printed_command_can_be_run_too(
    stem, closed: PostgresServer, schema: str, setting: str, monkeypatch: pytest.MonkeyPatch
):
    url = f"{closed.url}?schema={schema}"
    monkeypatch.setenv(setting, url)
    monkeypatch.setenv("STEM_BROKER_URL", url if setting == "STEM_BROKER_URL" else "memory://")
    code, out, _ = stem("migrate", "status")
    assert code == 1
    assert "s3cr" not in out
    done = run_printed(out, {setting: url})
    assert (done.returncode, done.stderr) == (0, "")
    assert stem("migrate", "status")[0] == 0


def test_without_a_url_the_broker_and_the_results_are_brought_up_to_date(
    stem, url: str, schema: str, monkeypatch: pytest.MonkeyPatch
):
    for name, suffix in (("STEM_BROKER_URL", ""), ("STEM_RESULT_BACKEND_URL", "_results")):
        monkeypatch.setenv(name, url + suffix)
    code, out, _ = stem("migrate", "up")
    assert code == 0
    assert f"schema {schema} is from" in out
    assert f"schema {schema}_results is from" in out


def test_where_nothing_is_hidden_the_printed_command_names_the_url(stem, url: str):
    said = stem("migrate", "status", url)[1]
    assert run_printed(said, {}).returncode == 0
    assert stem("migrate", "status", url)[0] == 0


# ── functions ────────────────────────────────────────────────────────────────


def test_functions_of_an_earlier_release_are_seen_refused_and_made_anew(
    stem, url: str, schema: str, postgres_server: Server, monkeypatch: pytest.MonkeyPatch
):
    stem("migrate", "up", url)
    do(
        postgres_server.url,
        f"CREATE OR REPLACE FUNCTION {schema}.now_ms(p_now bigint) RETURNS bigint LANGUAGE sql "
        "AS 'SELECT 0::bigint'",
        f"COMMENT ON TABLE {schema}.version IS 'functions of stem-postgres 0.0.1, 0123'",
    )
    code, out, _ = stem("migrate", "status", url)
    assert (code, "functions of an earlier release" in out, "migrate up" in out) == (1, True, True)
    with pytest.raises(StoreMisconfigured, match="stem migrate up"):
        asyncio.run(PostgresBroker.connect(url))
    assert do(postgres_server.url, f"SELECT {schema}.now_ms(NULL)") == [(0,)]  # by nobody else
    code, out, _ = stem("migrate", "up", url)
    assert (code, "made anew" in out) == (0, True)
    assert do(postgres_server.url, f"SELECT {schema}.now_ms(NULL)") != [(0,)]
    assert stem("migrate", "status", url)[0] == 0
    assert "made anew" not in stem("migrate", "up", url)[1]


def test_functions_of_a_newer_release_are_used_and_left_as_they_are(
    stem, url: str, schema: str, postgres_server: Server
):
    stem("migrate", "up", url)
    seal = "functions of stem-postgres 99.0.0, 0123"
    do(postgres_server.url, f"COMMENT ON TABLE {schema}.version IS '{seal}'")
    code, out, _ = stem("migrate", "status", url)
    assert (code, "functions of a newer release" in out) == (0, True)
    code, out, _ = stem("migrate", "up", url)
    assert (code, "functions of a newer release" in out) == (0, True)

    async def work() -> None:
        broker = await PostgresBroker.connect(url)
        await one_task(broker, "m")
        await broker.aclose()

    asyncio.run(work())
    comment = f"SELECT obj_description('{schema}.version'::regclass, 'pg_class')"
    assert do(postgres_server.url, comment) == [(seal,)]


def test_whoever_may_use_the_tables_may_use_those_that_a_step_adds(
    stem, url: str, schema: str, postgres_server: Server
):
    role = f"of_{schema}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(script(Schema(0), schema, steps()[:2]).encode())
        connection.execute(f"CREATE ROLE {role}".encode())
        try:
            grant = f"GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}"
            connection.execute(grant.encode())
            assert stem("migrate", "up", url)[0] == 0
            for table in ("loose_key", "untold"):
                (may,) = connection.execute(
                    "SELECT has_table_privilege(%s, %s, 'INSERT')", (role, f"{schema}.{table}")
                ).fetchone() or (None,)
                assert may, table
        finally:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
