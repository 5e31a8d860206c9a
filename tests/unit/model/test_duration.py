from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.model.duration import MAX_MS, Duration, format_ms, to_ms
from stem_core.model.errors import InvalidOption


@pytest.mark.parametrize(
    ("given_value", "expected_ms"),
    [
        (timedelta(minutes=2), 120_000),
        (timedelta(microseconds=1499), 1),
        (5, 5_000),
        (0.25, 250),
        (0, 0),
        ("0s", 0),
        ("250ms", 250),
        ("90s", 90_000),
        ("5m", 300_000),
        ("5ms", 5),
        ("5m1ms", 300_001),
        ("1h30m", 5_400_000),
        ("2d", 172_800_000),
        ("1w", 604_800_000),
        ("1.5h", 5_400_000),
        (" 1s ", 1_000),
    ],
)
def test_a_span_is_whole_milliseconds(given_value: Duration, expected_ms: int) -> None:
    assert to_ms(given_value, field="delay") == expected_ms


@pytest.mark.parametrize(
    "wrong",
    [
        True,
        None,
        float("nan"),
        float("inf"),
        -1,
        -0.5,
        timedelta(seconds=-1),
        "",
        "5",
        "5 m",
        "m",
        "-5s",
        "+5s",
        "1e3s",
        "1m1h",
        "1s1s",
        "1.s",
        ".5s",
        "٣s",
        "5S",
        "5minutes",
        10**6000,
        1e300,
        "999999999999999w",
        "9" * 5000 + "s",
    ],
    ids=lambda value: repr(value)[:20] if not isinstance(value, int) else "int",
)
def test_what_is_no_span_is_refused_by_the_name_of_its_field(wrong: Any) -> None:
    with pytest.raises(InvalidOption, match="delay="):
        to_ms(wrong, field="delay")


def within(span: str) -> int:
    return to_ms(span, field="lease", minimum_ms=1_000, maximum_ms=60_000)


def test_a_span_on_the_limit_fits() -> None:
    assert [within("1s"), within("1m")] == [1_000, 60_000]


@pytest.mark.parametrize("span", ["999ms", "61s"])
def test_a_span_beyond_the_limits_is_told_them(span: str) -> None:
    with pytest.raises(InvalidOption, match=f"lease='{span}' is out of range: expected 1s to 1m"):
        within(span)


@given(st.integers(min_value=0, max_value=MAX_MS))
def test_what_is_formatted_reads_back_exactly(span_ms: int) -> None:
    assert to_ms(format_ms(span_ms), field="x") == span_ms


@given(st.text(max_size=40))
def test_any_text_is_a_span_or_one_kind_of_error(text: str) -> None:
    try:
        span_ms = to_ms(text, field="x")
    except InvalidOption:
        return
    assert 0 <= span_ms <= MAX_MS


def test_a_negative_span_is_readable_and_never_reads_back() -> None:
    assert format_ms(-1_500) == "-1s500ms"
    with pytest.raises(InvalidOption):
        to_ms(format_ms(-1_500), field="x")
