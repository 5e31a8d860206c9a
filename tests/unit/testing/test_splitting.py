"""However the bytes are cut on their way, the same requests and replies come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.testing.faults.splitting import (
    ByChunk,
    Piece,
    RespReplies,
    RespRequests,
    Splitter,
)


def command(*words: bytes) -> bytes:
    parts = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    return b"*%d\r\n%s" % (len(words), parts)


def aggregate(kind: bytes, parts: Sequence[bytes], per: int = 1) -> bytes:
    return b"%s%d\r\n%s" % (kind, len(parts) // per, b"".join(parts))


BULK = st.binary(max_size=20).map(lambda data: b"$%d\r\n%s\r\n" % (len(data), data))
LINE = st.sampled_from(
    [b"+OK\r\n", b"-ERR no\r\n", b":-7\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n", b"(99\r\n",
     b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"=5\r\ntxt:x\r\n", b"!5\r\nERR x\r\n"]
)  # fmt: skip
VALUE = st.recursive(
    BULK | LINE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda parts: aggregate(b"*", parts)),
        st.lists(inner, max_size=4).map(lambda parts: aggregate(b"~", parts)),
        st.lists(st.tuples(inner, inner), max_size=3).map(
            lambda pairs: aggregate(b"%", [each for pair in pairs for each in pair], 2)
        ),
        st.tuples(inner, inner, inner).map(lambda it: b"|1\r\n" + b"".join(it)),
    ),
    max_leaves=12,
)
REPLY = VALUE.map(Piece) | st.lists(BULK, min_size=1, max_size=3).map(
    lambda parts: Piece(aggregate(b">", parts), counts=False)
)
REQUEST = (
    st.lists(st.binary(max_size=20), min_size=1, max_size=4).map(lambda it: Piece(command(*it)))
    | st.sampled_from([b"PING\r\n", b"SET a  b\n"]).map(Piece)
    | st.sampled_from([b"\r\n", b"\n", b"*0\r\n", b"*-1\r\n"]).map(
        lambda data: Piece(data, counts=False)
    )
)


def fed(splitter: Splitter, data: bytes, cuts: Sequence[int]) -> list[Piece]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    slices = [data[start:end] for start, end in pairwise(places)]
    return [piece for part in slices for piece in splitter.feed(part)]


CUTS = st.lists(st.integers(0, 10_000), max_size=40)


@given(st.lists(REQUEST, max_size=6), CUTS)
def test_any_slicing_of_a_pipeline_gives_the_same_commands(pieces, cuts):
    splitter = RespRequests()
    assert fed(splitter, b"".join(each.data for each in pieces), cuts) == pieces
    assert splitter.rest() == b""


@given(st.lists(REPLY, max_size=6), CUTS)
def test_any_slicing_of_replies_gives_the_same_replies(pieces, cuts):
    splitter = RespReplies()
    assert fed(splitter, b"".join(each.data for each in pieces), cuts) == pieces
    assert splitter.rest() == b""


@pytest.mark.parametrize("kind", [RespRequests, RespReplies, ByChunk])
@given(data=st.binary(max_size=200), cuts=CUTS)
def test_whatever_comes_goes_through_byte_for_byte(kind: Callable[[], Splitter], data, cuts):
    splitter = kind()
    through = b"".join(each.data for each in fed(splitter, data, cuts))
    assert through + splitter.rest() == data


def test_a_command_one_byte_at_a_time_comes_out_with_its_last_byte():
    splitter = RespRequests()
    whole = command(b"SET", b"a", b"\r\n*1\r\n")
    came = [splitter.feed(whole[place : place + 1]) for place in range(len(whole))]
    assert came == [[]] * (len(whole) - 1) + [[Piece(whole)]]


def test_the_beginning_of_a_command_is_given_back_at_the_end_of_the_connection():
    splitter = RespRequests()
    assert splitter.feed(b"*2\r\n$4\r\nEC") == []
    assert (splitter.rest(), splitter.rest()) == (b"*2\r\n$4\r\nEC", b"")


@pytest.mark.parametrize("data", [b"\x16\x03\x01 TLS", b"*x\r\n", b"$5x\r\n", b"+" * 70_000])
def test_what_is_no_resp_is_not_held_back(data: bytes):
    splitter = RespReplies()
    assert splitter.feed(data) == [Piece(data)]
    assert splitter.feed(b"+half") == [Piece(b"+half")]
