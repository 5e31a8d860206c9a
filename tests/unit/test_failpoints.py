"""Failpoints: what the variable says is done, once where it says once, and nonsense is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core import failpoints
from stem_core.failpoints import NAMES, Plan, armed, parse, reach
from stem_core.model.errors import ConfigError, StoreUnavailable

POINT = "sqlite.settle.before_commit"

plans = st.builds(
    Plan,
    action=st.sampled_from(["kill", "stop", "raise"]),
    nth=st.integers(0, 10**6),
) | st.builds(Plan, action=st.just("sleep"), ms=st.integers(0, 999_999), nth=st.integers(0, 9))


def written(name: str, plan: Plan) -> str:
    action = f"sleep({plan.ms})" if plan.action == "sleep" else plan.action
    return f"{name}={action}" + (f"@{plan.nth}" if plan.nth else "")


@given(st.dictionaries(st.sampled_from(sorted(NAMES)), plans))
def test_what_is_written_is_read(wanted):
    assert parse("; ".join(written(*each) for each in wanted.items())) == wanted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "'nonsense'"),
        (f"{POINT}=", POINT),
        (f"{POINT}=explode", "explode"),
        (f"{POINT}=sleep", "sleep"),
        (f"{POINT}=sleep(x)", r"sleep\(x\)"),
        (f"{POINT}=kill@0", "kill@0"),
        (f"{POINT}=kill;{POINT}=stop", "named twice"),
        ("sqlite.settle.before_comit=kill", "sqlite.settle.before_comit"),
        ("sqlte.settle.before_commit=kill", "sqlte.settle.before_commit"),
        (f"{POINT}=stop, worker.settle.after=kill", "stop, worker"),
    ],
)
def test_nonsense_is_one_error_that_names_the_part(text, says):
    with pytest.raises(ConfigError, match=says):
        parse(text)


def test_a_misspelt_point_is_told_which_one_was_meant():
    with pytest.raises(ConfigError) as told:
        parse("sqlite.settle.before_comit=kill")
    assert told.value.way_out == f"Did you mean {POINT}?"


def test_points_of_plugins_are_taken_as_they_are():
    assert parse("redis.settle.before_script=raise") == {
        "redis.settle.before_script": Plan("raise")
    }


def test_a_point_that_is_armed_is_reached_and_the_others_are_not():
    with armed(f"{POINT}=raise"):
        assert failpoints.ARMED
        reach("worker.settle.before")
        with pytest.raises(StoreUnavailable, match=POINT):
            reach(POINT)
    assert not failpoints.ARMED
    reach(POINT)


def test_the_third_passing_alone():
    with armed(f"{POINT}=raise@3"):
        reach(POINT)
        reach(POINT)
        with pytest.raises(StoreUnavailable):
            reach(POINT)
        reach(POINT)


def test_a_process_that_will_fail_on_purpose_says_so(caplog):
    with armed(f"{POINT}=raise"):
        assert POINT in caplog.text
