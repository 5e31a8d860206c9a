"""Instants and spans are as fine as is worth reading."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.cli.moments import distance, iso, moment, span

NOW_MS = 1_900_000_000_000  # 2030-03-17 17:46:40 UTC
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("span_ms", "text"),
    [
        (0, "0s"),
        (-5, "0s"),
        (36, "36ms"),
        (1_234, "1s"),
        (192_500, "3m12s"),
        (HOUR_MS + 65_000, "1h1m"),
        (25 * HOUR_MS + 65_000, "1d1h"),
        (31 * 24 * HOUR_MS + HOUR_MS, "31d"),
    ],
)
def test_the_longer_a_span_the_coarser_it_is_told(span_ms: int, text: str) -> None:
    assert span(span_ms) == text


@pytest.mark.parametrize(
    ("away_ms", "text"),
    [(0, "now"), (-999, "now"), (-192_500, "3m12s ago"), (2 * HOUR_MS, "in 2h")],
)
def test_a_distance_says_whether_it_lies_behind_or_ahead(away_ms: int, text: str) -> None:
    assert distance(NOW_MS + away_ms, NOW_MS) == text


def test_a_moment_can_be_looked_up_in_a_log_and_understood_at_a_glance() -> None:
    assert moment(NOW_MS - 192_500, NOW_MS) == "2030-03-17 17:43:27Z (3m12s ago)"


def test_an_unknown_moment_is_nothing() -> None:
    assert moment(0, NOW_MS) == ""
    assert iso(0) is None


def test_programs_get_an_instant_with_its_zone() -> None:
    assert iso(NOW_MS) == "2030-03-17T17:46:40.000+00:00"


@given(st.integers(-(2**63), 2**63))
def test_no_number_of_a_stranger_stops_the_program(instant_ms: int) -> None:
    assert moment(instant_ms, NOW_MS).isprintable()
    assert iso(instant_ms) is None or instant_ms
