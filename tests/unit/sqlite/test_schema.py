"""Tables are made once, brought up to date in order, and refused when they are newer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from stem_core.embedded.sqlite.schema import bring_up_to_date, refuse_old_sqlite, steps
from stem_core.embedded.sqlite.statements import Statements
from stem_core.model.errors import StoreMisconfigured

NEXT = "ALTER TABLE stem_message ADD COLUMN colour TEXT;\nCREATE TABLE stem_extra (a);"
AFTER = "INSERT INTO stem_extra VALUES ('later');"


def migrate(connection: sqlite3.Connection, todo: list[str], namespace: str = "stem") -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        bring_up_to_date(connection, Statements(namespace), namespace, todo, "t.db")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@pytest.fixture
def file() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


def version(file: sqlite3.Connection) -> int:
    return file.execute("SELECT version FROM stem_meta").fetchone()[0]


def test_a_new_file_gets_every_step(file):
    migrate(file, [*steps(), NEXT])
    assert version(file) == len(steps()) + 1
    assert file.execute("SELECT count(*) FROM stem_extra").fetchone() == (0,)


def test_an_older_file_gets_the_steps_that_it_lacks_and_keeps_who_it_is(file):
    migrate(file, steps())
    before = file.execute("SELECT store FROM stem_meta").fetchone()
    migrate(file, [*steps(), NEXT])
    migrate(file, [*steps(), NEXT, AFTER])
    migrate(file, [*steps(), NEXT, AFTER])
    assert version(file) == len(steps()) + 2
    assert file.execute("SELECT a FROM stem_extra").fetchall() == [("later",)]
    assert file.execute("SELECT store FROM stem_meta").fetchone() == before


def test_a_newer_file_is_refused_and_left_as_it_is(file):
    migrate(file, [*steps(), NEXT])
    with pytest.raises(StoreMisconfigured, match="Upgrade stem-core"):
        migrate(file, steps())
    assert version(file) == len(steps()) + 1


def test_a_step_that_fails_leaves_nothing_half_done(file):
    migrate(file, steps())
    with pytest.raises(sqlite3.OperationalError):
        migrate(file, [*steps(), NEXT, "CREATE TABLE stem_meta (again);"])
    assert version(file) == len(steps())
    assert file.execute("SELECT name FROM sqlite_master WHERE name = 'stem_extra'").fetchall() == []


def test_namespaces_share_a_file_and_not_a_table(file):
    migrate(file, steps(), "shop")
    migrate(file, steps(), "other.shop")
    found = {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    assert {"shop_message", "other.shop_message"} <= found


def test_a_python_with_an_old_sqlite_is_refused():
    with pytest.raises(StoreMisconfigured, match=r"SQLite 3\.34\.1"):
        refuse_old_sqlite((3, 34, 1))
    refuse_old_sqlite((3, 35, 0))
