"""Outcomes as data: what may replace what, and text that every store can keep."""

from __future__ import annotations

import pytest

from stem_core.model.outcome import MAX_ERROR_TEXT, Record, State, TaskError, when
from stem_core.model.value import replace

SUCCEEDED = Record(id="a", state=State.SUCCEEDED, fence=3)
RUNNING = Record(id="a", state=State.RUNNING, fence=3)


@pytest.mark.parametrize(
    ("new", "old", "wins"),
    [
        (SUCCEEDED, None, True),
        (SUCCEEDED, RUNNING, True),
        (replace(SUCCEEDED, state=State.DEAD), SUCCEEDED, False),
        (replace(SUCCEEDED, fence=2), RUNNING, False),
        (replace(SUCCEEDED, fence=2), SUCCEEDED, False),
        (replace(RUNNING, fence=4), SUCCEEDED, True),
    ],
)
def test_a_record_replaces_an_older_fence_or_an_unfinished_equal(
    new: Record, old: Record | None, wins: bool
) -> None:
    assert new.replaces(old) is wins


def test_an_error_keeps_a_bounded_text_without_what_a_store_cannot_keep() -> None:
    error = TaskError(type="x.Y", message="a\0b\ud800", traceback="t" * (MAX_ERROR_TEXT + 1))
    assert error.message == "a\\x00b\\ud800"
    assert error.traceback == "t" * MAX_ERROR_TEXT + " [cut]"


def test_an_unknown_instant_is_no_datetime() -> None:
    assert when(0) is None
    moment = when(1_732_400_000_123)
    assert moment is not None
    assert moment.isoformat() == "2024-11-23T22:13:20.123000+00:00"
