"""`stem migrate`: the tables of a Postgres database, seen, made and printed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

import psycopg
import pytest
from services.server import Server

from stem_core.cli import main
from stem_postgres.schema import LATEST, script
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
    assert stem("migrate", "sql", "--from", str(LATEST), url)[1] == "-- nothing to do\n"


def test_tables_of_an_older_version_are_brought_up_to_date_and_keep_what_they_hold(
    stem, url: str, schema: str, postgres_server: Server
):
    first = script(0, schema, steps()[:1])
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


def test_newer_tables_are_seen_and_left_alone(stem, url: str, schema: str, postgres_server: Server):
    stem("migrate", "up", url)
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"UPDATE {schema}.version SET version = 7".encode())
    code, out, _ = stem("migrate", "status", url)
    assert (code, "upgrade stem-postgres" in out) == (1, True)
    code, _, err = stem("migrate", "up", url)
    assert code == 5
    assert "version 7" in err


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
