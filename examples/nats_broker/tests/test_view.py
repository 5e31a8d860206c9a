"""What a process makes of the stream, and what time it takes it to be."""

from __future__ import annotations

from nats_broker.server_clock import ServerClock
from nats_broker.values import Entry, Kept, from_stamp, name_of
from nats_broker.view import View

import stem_core.plugin as stem
from stem_core.plugin import Place

STAMP_MS = 1_000_000


def entry(id: str, *, priority: int = 0, queue: str = "q", **more: object) -> Entry:
    message = stem.Message(id=id, queue=queue, task="t", body=b"", priority=priority)
    return stem.replace(Entry(message), **more)


def filled(*entries: Entry) -> View:
    view = View()
    for sequence, each in enumerate(entries, start=1):
        view.apply(each, sequence, STAMP_MS)
    return view


def test_free_messages_come_by_queue_then_priority_then_age() -> None:
    view = filled(
        entry("old"), entry("urgent", priority=9), entry("other", queue="p"), entry("new")
    )
    assert view.free(["p", "q"], 9, STAMP_MS) == ["other", "urgent", "old", "new"]
    assert view.free(["q", "p"], 2, STAMP_MS) == ["urgent", "old"]


def test_looking_takes_nothing() -> None:
    view = filled(entry("a"), entry("b"))
    assert view.free(["q"], 1, STAMP_MS) == view.free(["q"], 1, STAMP_MS) == ["a"]


def test_a_delayed_message_gets_free_at_its_time_and_not_before() -> None:
    view = filled(entry("m", place=Place.DELAYED, due_ms=from_stamp(50)))
    assert view.next_due_ms(["q"]) == STAMP_MS + 50
    assert view.free(["q"], 1, STAMP_MS + 49) == []
    assert view.free(["q"], 1, STAMP_MS + 50) == ["m"]


def test_a_message_that_moved_on_stands_in_line_once_and_where_it_is_now() -> None:
    view = filled(entry("m"), entry("n"), entry("m", place=Place.LEASED, due_ms=from_stamp(50)))
    assert view.free(["q"], 9, STAMP_MS) == ["n"]
    assert view.free(["q"], 9, STAMP_MS + 50) == ["n", "m"]


def test_an_older_value_never_replaces_a_newer_one() -> None:
    view = filled(entry("m", fence=1), entry("m", fence=2))
    view.apply(entry("m", fence=1), 1, STAMP_MS)
    kept = view.get(name_of(Entry, "m"))
    assert isinstance(kept, Entry)
    assert kept.fence == 2


def test_the_same_value_is_corrected_by_the_stamp_of_the_server() -> None:
    view = View()
    view.apply(entry("m", place=Place.LEASED, due_ms=from_stamp(50)), 1, STAMP_MS - 3)
    view.apply(entry("m", place=Place.LEASED, due_ms=from_stamp(50)), 1, STAMP_MS)
    assert view.free(["q"], 1, STAMP_MS + 49) == []
    assert view.free(["q"], 1, STAMP_MS + 50) == ["m"]


def test_what_has_ended_is_forgotten_some_time_after_its_end() -> None:
    view, name = View(), name_of(Kept, "r")
    view.apply(Kept("r", b"{}", from_stamp(1000)), 1, STAMP_MS)
    view.tidy(STAMP_MS + 2000)
    assert view.sequence(name) == 1  # the server may still have it
    view.tidy(STAMP_MS + 60_000)
    assert view.sequence(name) == 0


class Seconds:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now_ms = 0

    def __call__(self) -> int:
        return self.now_ms


def test_the_stamp_that_came_the_fastest_says_what_time_it_is() -> None:
    local = Seconds()
    clock = ServerClock(local)
    clock.heard(STAMP_MS - 80)  # 80 ms on its way
    local.now_ms = 10
    clock.heard(STAMP_MS + 10 - 2)  # 2 ms
    local.now_ms = 20
    clock.heard(STAMP_MS - 500)  # read from the past of the stream
    assert clock.now_ms() == STAMP_MS + 20 - 2


def test_a_clock_of_the_server_that_is_put_back_is_believed_after_a_while() -> None:
    local = Seconds()
    clock = ServerClock(local)
    clock.heard(STAMP_MS)
    for second in range(1, 45):
        local.now_ms = second * 1000
        clock.heard(STAMP_MS + local.now_ms - 3_600_000)
    assert clock.now_ms() == STAMP_MS + local.now_ms - 3_600_000
