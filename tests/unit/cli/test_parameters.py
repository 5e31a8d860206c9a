"""The types of values that the command line reads, strictly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest

from stem_core.cli.parameters import DURATION, HEADER, INSTANT, JSON_OBJECT


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90s", timedelta(seconds=90)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("250ms", timedelta(milliseconds=250)),
    ],
)
def test_a_duration_is_read_with_its_units(text: str, value: timedelta) -> None:
    assert DURATION.convert(text, None, None) == value


@pytest.mark.parametrize("text", ["5", "", "-1s", "soon"])
def test_a_text_that_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"duration|range"):
        DURATION.convert(text, None, None)


def test_an_instant_is_read_with_its_zone() -> None:
    read = INSTANT.convert("2030-01-31T10:30:00+01:00", None, None)
    assert read == datetime(2030, 1, 31, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "why"), [("2030-01-31T10:30:00", "no time zone"), ("tomorrow", "ISO 8601")]
)
def test_an_instant_without_a_meaning_is_refused(text: str, why: str) -> None:
    with pytest.raises(click.BadParameter, match=why):
        INSTANT.convert(text, None, None)


def test_arguments_are_a_json_object() -> None:
    assert JSON_OBJECT.convert('{"n": 1, "deep": [null]}', None, None) == {"n": 1, "deep": [None]}


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
        JSON_OBJECT.convert(text, None, None)


def test_a_header_is_split_at_its_first_equals_sign() -> None:
    assert HEADER.convert("trace=a=b", None, None) == ("trace", "a=b")


@pytest.mark.parametrize("text", ["trace", "=x", ""])
def test_a_header_without_a_name_or_value_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="name=value"):
        HEADER.convert(text, None, None)
