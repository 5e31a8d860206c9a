"""Messages and records as columns, and back."""

from __future__ import annotations

from typing import Any

import pytest

from stem_core.plugin import Message, Place, Record, State, UniqueKey, encode_record
from stem_postgres.objections import MAX_DELAY_MS, objection_to
from stem_postgres.rows import locate, message_of, read_record, row_of

EVERY = Message(
    id="m", queue="q", task="t", body=b"\x00\xff", priority=9, delay_ms=5, expires_at_ms=7,
    lease_ms=8, max_lapses=9, dedupe_for_ms=10, unique=UniqueKey(key="k", until="started"),
    partition="p", limit_keys=("l",), content_type="x/y", key_id="i", algorithm="a",
    signature=b"\x00s",
)  # fmt: skip


def message(**fields: Any) -> Message:
    return Message(**{"id": "m", "queue": "q", "task": "t", "body": b"{}", **fields})


def kept(sent: Message) -> list[Any]:
    """The columns of `message_of`, as the server would give them back."""
    row = row_of(sent)
    id, queue, task, rank, lease_ms, dedupe_ms = row[:6]
    more, body = row[-2:]
    return [id, queue, task, rank, lease_ms, dedupe_ms, more or None, body]


@pytest.mark.parametrize("sent", [EVERY, message(), message(not_before_ms=5)])
def test_a_message_comes_back_as_it_was(sent: Message):
    assert message_of(kept(sent)) == sent


def test_what_most_messages_say_takes_no_room():
    assert row_of(message())[-2] == b""


def test_a_damaged_rest_does_not_hide_its_message(caplog: pytest.LogCaptureFixture):
    row = kept(message())
    row[6] = b"{"
    assert message_of(row) == message()
    assert "m is damaged" in caplog.text


def located(place: int, ready_ms: int, until_ms: int | None = None) -> Place:
    row = [
        100, place, *kept(message()), 5, 4, 0, 0, 0, ready_ms, until_ms, "w", None, None, None,
        0, 1,
    ]  # fmt: skip
    return locate(row).place


def test_time_alone_makes_a_delayed_message_ready():
    assert located(0, 101) is Place.DELAYED
    assert located(0, 100) is Place.READY
    assert located(1, 99) is Place.PARKED
    assert located(2, 99, 120) is Place.LEASED
    assert located(3, 99) is Place.DEAD


def test_the_columns_of_a_record_count_and_not_its_json():
    data = encode_record(Record(id="r", state=State.SUCCEEDED, fence=1, value=b"1"))
    assert read_record(["r", 3, False, data]).fence == 3
    again = read_record(["r", 1, True, data])
    assert (again.state, again.value) == (State.QUEUED, None)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"id": "a\0b"}, "id"),
        ({"queue": "\ud800"}, "queue"),
        ({"task": "a\0"}, "task"),
        ({"id": "x" * 1_001}, "id"),
        ({"unique": UniqueKey(key="ü" * 600)}, "unique key"),
        ({"priority": 10}, "priority"),
        ({"lease_ms": 0}, "lease"),
        ({"delay_ms": MAX_DELAY_MS + 1}, "delay"),
        ({"not_before_ms": MAX_DELAY_MS + 2}, "delay"),
        ({"dedupe_for_ms": -1}, "dedupe_for_ms"),
    ],
)
def test_what_can_never_be_kept_is_named(fields: dict[str, Any], named: str):
    assert named in objection_to(message(**fields), wall_ms=1)


def test_everything_else_can_be_kept():
    assert objection_to(EVERY, wall_ms=0) == ""
