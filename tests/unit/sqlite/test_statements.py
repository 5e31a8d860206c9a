"""The SQL files: readable as they are, named by namespace, and all of them valid."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.embedded import sqlite as room
from stem_core.embedded.sqlite.schema import bring_up_to_date, steps
from stem_core.embedded.sqlite.statements import Statements, for_namespace, pieces

FILES = sorted((Path(room.__file__).parent / "sql").glob("*.sql"))


def names_in(path: Path) -> list[str]:
    return [
        f"{path.stem}.{name}" for name in re.findall(r"^-- name: (\w+)$", path.read_text(), re.M)
    ]


ALL = [name for path in FILES for name in names_in(path)]


@pytest.fixture(scope="module")
def tables() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        bring_up_to_date(connection, Statements("a-b.c"), "a-b.c", steps(), ":memory:")
        yield connection


@pytest.mark.parametrize("name", ALL)
def test_every_statement_is_understood(tables: sqlite3.Connection, name: str):
    sql = Statements("a-b.c").repeated(name, 3)
    count = sql.count("?")
    tables.execute(f"EXPLAIN {sql}", [None] * count)


def test_every_statement_is_used():
    source = "".join(path.read_text() for path in Path(room.__file__).parent.glob("*.py"))
    simple = re.findall(r"_SIMPLE: Final = \((.*?)\)", source, re.S)[0]
    named = {f"sweep.{name}" for name in re.findall(r'"(\w+)"', simple)}
    assert [name for name in ALL if f'"{name}"' not in source and name not in named] == []


def test_the_name_of_a_namespace_stands_before_every_table():
    sql = for_namespace("SELECT a FROM stem_message, x WHERE name = 'stem_meta'", "shop")
    assert sql == "SELECT a FROM \"shop_message\", x WHERE name = 'shop_meta'"


@given(st.integers(0, 2_000))
def test_pieces_cover_a_count_exactly(count: int):
    cut = pieces(count)
    assert sum(cut) == count
    assert set(cut) <= {100, 20, 5, 1}
