"""Which messages one short script takes together."""

from __future__ import annotations

from typing import Any

import pytest

from stem_core.plugin import Message, UniqueKey
from stem_redis.objections import MAX_PAYLOAD
from stem_redis.packing import fixed_row, message_bytes
from stem_redis.publishing import plain_arguments


def message(id: str = "m", **fields: Any) -> Message:
    return Message(**{"id": id, "queue": "q", "task": "t", "body": b"{}", **fields})


def test_plain_messages_are_their_queue_their_level_and_three_for_each():
    messages = [message("a", priority=2), message("b", priority=2)]
    args = plain_arguments(messages)
    assert args is not None
    assert args[:2] == ["q", 7]
    assert args[2:] == [
        part for each in messages for part in (each.id, fixed_row(each), message_bytes(each))
    ]


def test_plain_messages_may_differ_in_lease_and_window():
    messages = [message("a"), message("b", lease_ms=5, dedupe_for_ms=7), message("c")]
    args = plain_arguments(messages)
    assert args is not None
    assert args[3::3] == [fixed_row(each) for each in messages]


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [message("a"), message("a")],
        [message("a"), message("b", queue="r")],
        [message("a"), message("b", priority=1)],
        [message(delay_ms=1)],
        [message(not_before_ms=1)],
        [message(unique=UniqueKey(key="k"))],
        [message(priority=10)],
        [message(id="\ud800")],
        [message("a"), message("b", lease_ms=0)],
        [message("a"), message("b", delay_ms=1)],
        [message("a"), message("b", unique=UniqueKey(key="k"))],
        [message("a"), message("b", body=b" " * (MAX_PAYLOAD + 1))],
        [message("a"), message("é")],
    ],
)
def test_whatever_else_is_left_to_the_whole_script(messages: list[Message]):
    assert plain_arguments(messages) is None
