"""When a worker counts as one that takes work."""

from __future__ import annotations

import pytest

from stem_core.observe.health import Vitals, complaint


def why_not(**changes) -> str:
    return complaint(Vitals(busy=1, slots=10, **changes))


def test_a_worker_that_polls_is_ready():
    assert why_not(silent_ms=5_100) == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"is_begun": False}, "it has not begun"),
        ({"is_draining": True}, "it drains"),
        ({"fault": "reconnect"}, "the broker is away: reconnect"),
        ({"silent_ms": 17_200}, "the broker has not answered for 17 s"),
    ],
)
def test_a_worker_that_takes_no_work_says_why(changes, reason):
    assert why_not(**changes) == reason


def test_one_that_is_full_need_not_poll():
    assert why_not(is_full=True, silent_ms=3_600_000, fault="backoff") == ""
    assert why_not(is_full=True, is_draining=True) == "it drains"
