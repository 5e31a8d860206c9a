from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from unit.producer.shop import charge

from stem_core.model.errors import InvalidName, InvalidOption, NotEncodable
from stem_core.producer.how import PLAINLY, How, split

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"dealy": "5m"}, InvalidOption, "Did you mean 'delay'"),
        ({"max_retrys": 3}, InvalidOption, "Did you mean 'max_retries'"),
        ({"customer": "ada"}, InvalidOption, "arguments go into .enqueue"),
        ({"max_retries": "3"}, InvalidOption, "max_retries='3'"),
        ({"priority": 10}, InvalidOption, "priority=10"),
        ({"delay": "5"}, InvalidOption, "delay='5' is not a duration"),
        ({"delay": -1}, InvalidOption, "delay=-1"),
        ({"delay": "5m", "not_before": NOON}, InvalidOption, "delay together with not_before"),
        ({"not_before": NOON.replace(tzinfo=None)}, InvalidOption, "has no time zone"),
        ({"not_before": "tomorrow"}, InvalidOption, "is not a datetime"),
        ({"not_before": datetime(1969, 1, 1, tzinfo=UTC)}, InvalidOption, "before 1970"),
        ({"task_id": "../x"}, InvalidName, "id"),
        ({"queue": ""}, InvalidName, "queue is empty"),
        ({"headers": ["a"]}, NotEncodable, "headers: an object"),
        ({"meta": "finance"}, NotEncodable, "meta: an object"),
    ],
)
def test_using_refuses_what_cannot_be(given: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        charge.using(**given)


def test_a_start_is_kept_in_milliseconds_whatever_its_zone() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=5)))
    assert How.of(not_before=there).not_before_ms == How.of(not_before=NOON).not_before_ms
    assert How.of(not_before=NOON).not_before_ms == 1_767_268_800_000


def test_what_is_said_later_wins_and_the_rest_stays() -> None:
    call = charge.using(delay="5m", queue="slow", headers={"a": "1"}).using(queue="fast").call("x")
    assert call.how.delay_ms == 300_000
    assert call.how.headers == {"a": "1"}
    assert call.given.given() == {"queue": "fast"}


def test_two_starts_are_refused_even_when_they_are_said_one_after_the_other() -> None:
    with pytest.raises(InvalidOption, match="delay together with not_before"):
        charge.using(delay="5m").using(not_before=NOON)


def test_a_task_is_not_changed_by_using_it() -> None:
    charge.using(queue="slow", delay=1)
    call = charge.call("x")
    assert call.how is PLAINLY
    assert call.given.given() == {}


def test_headers_are_copied_when_they_are_given() -> None:
    headers = {"a": "1"}
    _, how = split({"headers": headers})
    headers["a"] = "2"
    assert how.headers == {"a": "1"}
