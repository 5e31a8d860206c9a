from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.model.errors import InvalidName
from stem_core.model.ids import check_id, check_name, derived_id, uuid7, uuid7s

MOMENTS = st.integers(min_value=0, max_value=2**48 - 1)
DICE = st.binary(min_size=10, max_size=10)


@given(MOMENTS, DICE)
def test_an_id_is_a_canonical_uuid_of_version_7(now_ms: int, dice: bytes) -> None:
    text = uuid7(now_ms, dice)
    parsed = UUID(text)
    assert str(parsed) == text
    assert (parsed.version, parsed.variant) == (7, RFC_4122)
    assert parsed.int >> 80 == now_ms


@given(MOMENTS, MOMENTS, DICE, DICE)
def test_a_later_id_sorts_after_an_earlier_one(a: int, b: int, x: bytes, y: bytes) -> None:
    if a < b:
        assert uuid7(a, x) < uuid7(b, y)


def test_every_bit_that_is_left_for_randomness_is_used() -> None:
    ids = {uuid7(1, (1 << bit).to_bytes(10, "big")) for bit in range(80)}
    assert len(ids - {uuid7(1, bytes(10))}) == 74


@pytest.mark.parametrize(
    ("now_ms", "dice"), [(-1, bytes(10)), (2**48, bytes(10)), (1, bytes(9)), (1, bytes(16))]
)
def test_an_id_needs_a_moment_and_ten_bytes(now_ms: int, dice: bytes) -> None:
    with pytest.raises(ValueError, match=r"48 bits|10 bytes"):
        uuid7(now_ms, dice)


@given(MOMENTS, st.lists(DICE, max_size=5))
def test_many_ids_are_those_that_would_be_made_one_by_one(now_ms: int, dice: list[bytes]) -> None:
    assert uuid7s(now_ms, b"".join(dice)) == [uuid7(now_ms, each) for each in dice]


def test_many_ids_need_ten_bytes_each() -> None:
    with pytest.raises(ValueError, match="multiple of 10 bytes: 19"):
        uuid7s(1, bytes(19))


@given(st.text(max_size=50), st.integers(min_value=0))
def test_a_derived_id_is_a_uuid_of_version_8_and_always_the_same(parent: str, ordinal: int) -> None:
    text = derived_id(parent, ordinal)
    parsed = UUID(text)
    assert str(parsed) == text == derived_id(parent, ordinal)
    assert (parsed.version, parsed.variant) == (8, RFC_4122)


def test_a_derived_id_never_changes_between_releases() -> None:
    assert derived_id("parent", 1) == "891a0d40-aadc-8f07-ad82-29f2dbeb97da"


def test_parents_and_ordinals_do_not_run_into_each_other() -> None:
    ids = {derived_id(parent, n) for parent in ("a", "a1", "a\n1", "a:1") for n in range(25)}
    assert len(ids) == 100


@pytest.mark.parametrize(
    "name", ["default", "a", "_x", "9", "billing.charge", "a-b_c.d", "x" * 128]
)
def test_a_plain_name_passes_unchanged(name: str) -> None:
    assert check_name(name, kind="queue") == name
    assert check_id(name) == name


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("", "the queue is empty"),
        ("a b", r"has ' ' at character 2"),
        ("a\n", r"has '\\n' at character 2"),
        ("{tag}", r"has '{' at character 1"),
        ("a:b", r"has ':' at character 2"),
        ("a*", r"has '\*' at character 2"),
        ("a/b", r"has '/' at character 2"),
        ("\u0430pple", r"has '\\u0430' at character 1"),
        ("\x1b[31m", r"has '\\x1b' at character 1"),
        ("a..b", r"has '\.\.' at character 2"),
        (".a", r"starts with '\.'"),
        ("-a", "starts with '-'"),
        ("x" * 129, "129 characters, more than 128"),
        (b"a", "a queue is text, got bytes"),
        (None, "a queue is text, got NoneType"),
    ],
)
def test_a_hostile_name_is_refused_with_its_place(name: Any, complaint: str) -> None:
    with pytest.raises(InvalidName, match=complaint) as caught:
        check_name(name, kind="queue")
    assert str(caught.value).isascii()
    assert "\x1b" not in str(caught.value)


@given(st.text(max_size=200))
def test_what_passes_is_safe_everywhere(text: str) -> None:
    try:
        name = check_name(text, kind="task")
    except InvalidName:
        return
    assert name.isascii()
    assert name.isprintable()
    assert not set(name) & set(" /\\:*?{}[]\"'%$;,")
    assert 0 < len(name) <= 128


def test_a_member_of_a_str_enum_is_a_name_and_comes_out_plain() -> None:
    class Queue(StrEnum):
        BILLING = "billing"

    name = check_name(Queue.BILLING, kind="queue")
    assert name == "billing"
    assert type(name) is str
