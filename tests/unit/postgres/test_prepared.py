"""Parameters as the server takes them."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.pq import Format

from stem_postgres.arrays import Int8s, Texts
from stem_postgres.prepared import Prepared, numbered, packed

TEXT, BINARY = Format.TEXT, Format.BINARY


def test_each_kind_is_packed_in_its_way() -> None:
    given = (None, True, False, -7, "a\0é", b"\0\xff", Texts(["q"]))
    values, formats = packed(given) or ([], [])
    assert values[:-1] == [None, b"t", b"f", b"-7", "a\0é".encode(), b"\0\xff"]
    assert values[-1] == Texts(["q"]).dumped()
    assert formats == [TEXT, TEXT, TEXT, TEXT, BINARY, BINARY, BINARY]


@pytest.mark.parametrize("unknown", [1.5, ["a"], datetime(2026, 1, 1), ("a",), object()])
def test_of_what_is_not_known_nothing_is_packed(unknown: object) -> None:
    assert packed((1, unknown)) is None


class Id(str):
    """A text of somebody else's, which may be written otherwise."""


def test_a_kind_of_a_kind_is_not_known() -> None:
    assert packed((Id("a"),)) is None


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_number_is_in_words(number: int) -> None:
    assert packed((number,)) == ([str(number).encode()], [TEXT])


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_an_array_says_how_long_it_is(numbers: list[int]) -> None:
    ((value,), _) = packed((Int8s(numbers),)) or ((None,), [])
    assert value is not None
    assert len(value) == (20 + 12 * len(numbers) if numbers else 12)


def test_places_are_numbered_in_turn() -> None:
    assert numbered(b"SELECT %s::int, %b::bytea, 5 %% 2, %t::text") == (
        b"SELECT $1::int, $2::bytea, 5 % 2, $3::text"
    )


def test_what_is_asked_for_once_is_not_worth_preparing() -> None:
    prepared = Prepared()
    assert [prepared.is_worth_it(sql) for sql in (b"a", b"b", b"a", b"a")] == [
        False,
        False,
        True,
        True,
    ]
