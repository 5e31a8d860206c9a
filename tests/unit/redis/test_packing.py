"""Bytes go in and come out; rows are laid out as the scripts read them."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec.structs import astuple, replace

from stem_core.plugin import (
    Fault,
    Message,
    Place,
    Record,
    State,
    StoreError,
    TaskError,
    UniqueKey,
    encode_record,
)
from stem_redis import packing

FULL = Message(
    id="m", queue="q", task="t", body=b"\x00\xff", priority=9, delay_ms=5, expires_at_ms=7,
    lease_ms=8, max_lapses=2, dedupe_for_ms=3,
    unique=UniqueKey(key="k", until="window", window_ms=4),
    partition="p", limit_keys=("a", "b"), content_type="x/y", key_id="k1", algorithm="none",
    signature=b"\x00s",
)  # fmt: skip
ROW: dict[str, int] = {
    "place": 0, "held": 0, "cancel": 0, "failed": 0, "lapses": 0, "releases": 0, "fence": 10,
    "base": 10, "settled": 0, "turn": 0, "due_ms": 0, "parked_at_ms": 0, "died_at_ms": 0,
}  # fmt: skip


def row(**fields: int) -> bytes:
    return struct.pack("<BBBIIIQQQQQQQ", *{**ROW, **fields}.values()) + packing.fixed_row(FULL)


@given(body=some.binary(), signature=some.binary(max_size=80), id=some.text(), key=some.text())
def test_a_message_comes_back_equal(body: bytes, signature: bytes, id: str, key: str):
    unique = UniqueKey(key=key) if key else None
    sent = Message(id=id, queue="q", task="t", body=body, signature=signature, unique=unique)
    assert packing.read_message(packing.message_bytes(sent)) == sent


def test_every_field_of_a_message_comes_back():
    assert packing.read_message(packing.message_bytes(FULL)) == FULL


def test_a_message_is_kept_as_its_fields_in_an_order_that_stays():
    """Workers of two releases share a server: a field that is added comes last."""
    kept = ["m", "q", "t", b"\x00\xff", 9, 5, 0, 7, 8, 2, 3, ["k", "window", 4], "p", ["a", "b"]]
    kept += ["x/y", "k1", "none", b"\x00s"]
    assert msgspec.msgpack.decode(packing.message_bytes(FULL)) == kept
    assert packing.read_message(msgspec.msgpack.encode([*kept, "a field to come"])) == FULL


@pytest.mark.parametrize("claim", [None, UniqueKey(key="k")])
def test_fields_of_another_type_are_no_message(claim: UniqueKey | None):
    fields = list(astuple(replace(FULL, unique=claim)))
    fields[4] = "nine"
    with pytest.raises(StoreError, match="no message of Stem"):
        packing.read_message(msgspec.msgpack.encode(fields))


def test_bytes_that_are_nested_without_end_are_no_message():
    with pytest.raises(StoreError, match="no message of Stem"):
        packing.read_message(b"\x91" * 5_000)


@given(some.binary(max_size=60))
def test_bytes_that_are_no_message_are_one_kind_of_error(data: bytes):
    with pytest.raises(StoreError) as refused:
        packing.read_message(data)
    assert refused.value.fault is Fault.DATA


def test_the_fixed_row_is_laid_out_as_the_scripts_read_it():
    data = packing.fixed_row(FULL)
    lease, dedupe, priority, kind, window = struct.unpack_from("<QQBBQ", data)
    assert (lease, dedupe, priority, kind, window) == (8, 3, 9, 3, 4)
    assert data[34:] == b"\x01\x00q\x01\x00k"


def test_two_bodies_have_two_digests():
    digests = {
        packing.fixed_row(Message(id="m", queue="q", task="t", body=b))[26:34] for b in (b"1", b"2")
    }
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("fields", "wait"),
    [({}, ""), ({"delay_ms": 5}, "+5"), ({"not_before_ms": 7}, "@7"), ({"delay_ms": -1}, "")],
)
def test_a_wait_is_nothing_a_duration_or_an_instant(fields: dict[str, Any], wait: str):
    assert packing.wait_of(Message(id="m", queue="q", task="t", body=b"", **fields)) == wait


def test_a_delivery_counts_from_the_servers_now():
    kept = [
        row(fence=12, failed=2, lapses=1, releases=3, due_ms=1500, parked_at_ms=400, cancel=1),
        packing.message_bytes(FULL), b"", b"enough",
    ]  # fmt: skip
    delivery = packing.read_delivery(1000, kept)
    assert delivery.message == FULL
    assert delivery.receipt.fence == 12
    assert (delivery.attempt, delivery.lapses, delivery.releases) == (3, 1, 3)
    assert (delivery.lease_ms, delivery.parked_ms) == (500, 600)
    assert (delivery.cancel_requested, delivery.cancel_reason) == (True, "enough")


@pytest.mark.parametrize(
    ("fields", "place", "shown"),
    [
        ({}, Place.READY, {"fence": 0, "run_at_ms": 0, "attempt": 0}),
        ({"place": 1, "due_ms": 9}, Place.DELAYED, {"run_at_ms": 9, "lease_ms": 0}),
        ({"place": 2, "due_ms": 9, "fence": 11}, Place.PARKED, {"run_at_ms": 9, "fence": 11}),
        ({"place": 2}, Place.PARKED, {"run_at_ms": 0}),
        ({"place": 3, "due_ms": 9}, Place.LEASED, {"lease_ms": 4, "attempt": 1, "worker": "w"}),
        (
            {"place": 4, "died_at_ms": 3},
            Place.DEAD,
            {"died_at_ms": 3, "reason": "why", "worker": ""},
        ),
    ],
)
def test_a_message_is_described_by_where_it_stands(
    fields: dict[str, int], place: Place, shown: dict[str, Any]
):
    kept = [row(**fields), packing.message_bytes(FULL), None, None, b"w", b"why"]
    located = packing.locate(5, "m", kept)
    assert located.place is place
    assert {name: getattr(located, name) for name in shown} == shown


def test_errors_stand_behind_their_lengths():
    errors = tuple(TaskError(type="E", message="x" * n, attempt=n) for n in range(3))
    data = b"".join(
        struct.pack("<I", len(each)) + each for each in map(packing.error_bytes, errors)
    )
    assert packing.read_errors(data) == errors
    assert packing.read_errors(b"") == ()
    assert packing.error_bytes(None) == b""


def test_the_fence_of_a_record_is_that_of_its_head_and_a_replayed_one_is_queued():
    record = Record(id="m", state=State.DEAD, fence=1, value=b"1", reason="r", meta={"by": "ada"})
    data = encode_record(record)
    kept = packing.read_record(struct.pack("<BQQ", 1, 7, 0) + data)
    assert (kept.fence, kept.state, kept.value) == (7, State.DEAD, b"1")
    again = packing.read_record(struct.pack("<BQQ", 2, 7, 0) + data)
    assert (again.state, again.value, again.reason, again.meta) == (
        State.QUEUED, None, "", {"by": "ada"},
    )  # fmt: skip


def test_what_is_no_message_is_the_body_of_one():
    found = packing.readable("m", "q", b"garbage")
    assert (found.id, found.queue, found.body) == ("m", "q", b"garbage")


def test_errors_before_a_damaged_one_are_read():
    kept = packing.error_bytes(TaskError(type="E", message="no"))
    data = len(kept).to_bytes(4, "little") + kept
    for damage in (b"x", b"\x02\0\0\0{}", b"\xff\xff\xff\xff\xff"):
        errors = packing.read_errors(data + damage)
        assert [each.type for each in errors] == ["E", "stem.unreadable"]


def test_the_names_in_what_is_kept_of_a_message_are_found():
    sent = replace(FULL, queue="warteschlange", unique=UniqueKey(key="schlüssel"))
    fixed = packing.fixed_row(sent)
    assert packing.names_in(fixed) == ("warteschlange", "schlüssel")
    assert packing.names_in(fixed + b"more") == ()
    assert packing.names_in(packing.message_bytes(sent)) == ()
    assert packing.queue_of(row()) == "q"
    assert packing.queue_of(b"") == ""
