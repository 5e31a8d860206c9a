"""The types of values that the command line reads, strictly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest

from stem_core.cli.parameters import (
    read_duration,
    read_header,
    read_instant,
    read_object,
    read_queues,
    whole_number,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90s", timedelta(seconds=90)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("250ms", timedelta(milliseconds=250)),
    ],
)
def test_a_duration_is_read_with_its_units(text: str, value: timedelta) -> None:
    assert read_duration(text) == value


@pytest.mark.parametrize("text", ["5", "", "-1s", "soon"])
def test_a_text_that_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"duration|range"):
        read_duration(text)


def test_an_instant_is_read_with_its_zone() -> None:
    read = read_instant("2030-01-31T10:30:00+01:00")
    assert read == datetime(2030, 1, 31, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "why"), [("2030-01-31T10:30:00", "no time zone"), ("tomorrow", "ISO 8601")]
)
def test_an_instant_without_a_meaning_is_refused(text: str, why: str) -> None:
    with pytest.raises(click.BadParameter, match=why):
        read_instant(text)


def test_arguments_are_a_json_object() -> None:
    assert read_object('{"n": 1, "deep": [null]}') == {"n": 1, "deep": [None]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{name: Stem}", "not JSON.*single quotes"),
        ("", "not JSON"),
        ("[1]", r"expected a JSON object, got \[1\]"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' stands there twice"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_json_object_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(click.BadParameter, match=why):
        read_object(text)


def test_a_header_is_split_at_its_first_equals_sign() -> None:
    assert read_header("trace=a=b") == ("trace", "a=b")


@pytest.mark.parametrize("text", ["trace", "=x", ""])
def test_a_header_without_a_name_or_value_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="name=value"):
        read_header(text)


@pytest.mark.parametrize(("given", "number"), [("1", 1), ("007", 7), (256, 256)])
def test_a_whole_number_is_read_within_its_bounds(given: object, number: int) -> None:
    assert whole_number(1, 256)(given) == number


@pytest.mark.parametrize("text", ["0", "257", "-1", "1.5", "1_0", "٣", "", "9" * 5000])
def test_what_is_no_whole_number_is_refused_with_the_bounds(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a whole number from 1 to 256"):
        whole_number(1, 256)(text)


def test_queues_have_weights() -> None:
    assert read_queues("billing:8, default") == {"billing": 8, "default": 1}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("a,,b", "empty"),
        (":3", "empty"),
        ("a:0", "'a:0': expected queues, such as default or billing:8"),
        ("a:-1", "billing:8"),
        ("a:x", "billing:8"),
        ("a:", "billing:8"),
        ("../etc", "'/' at character 3"),
        ("a:8,b,a", "a is given twice"),
    ],
)
def test_queues_are_refused_as_their_variable_would_be(text: str, why: str) -> None:
    with pytest.raises(click.BadParameter, match=why):
        read_queues(text)
