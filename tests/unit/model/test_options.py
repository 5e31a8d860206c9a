"""Options: what may be given, how it travels, and who wins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.model.errors import EnqueueError, InvalidName, InvalidOption, MalformedEnvelope
from stem_core.model.options import (
    MAX_RETRIES,
    NOTHING_GIVEN,
    UNSET,
    Defaults,
    Effective,
    PublishDict,
    TaskOptions,
    TaskOptionsDict,
    Unique,
    Unset,
    resolve,
)
from stem_core.model.retry import RetryPolicy

DEFAULTS = Defaults()

spans = st.timedeltas(timedelta(milliseconds=1), timedelta(days=999)).map(
    lambda span: span - timedelta(microseconds=span.microseconds % 1000)
)
positive_spans = spans.filter(bool)
instants = st.datetimes(datetime(1970, 1, 2), datetime(9990, 1, 1), timezones=st.just(UTC))
uniques = st.one_of(
    st.just(False),
    st.builds(Unique, until=st.sampled_from(["finished", "started"])),
    st.builds(
        Unique,
        by=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, unique=True).map(tuple),
        until=st.just("window"),
        window=positive_spans,
    ),
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "queue": st.sampled_from(["billing", "default", "q.1"]),
    "max_retries": st.integers(0, MAX_RETRIES),
    "retry_policy": st.builds(RetryPolicy, base=st.integers(0, 9), jitter=st.booleans()),
    "priority": st.integers(0, 9),
    "isolation": st.sampled_from(["inline", "thread", "process"]),
    "visibility_timeout": positive_spans,
    "soft_time_limit": st.none() | positive_spans.map(lambda span: min(span, timedelta(days=1))),
    "hard_time_limit": st.none() | positive_spans.map(lambda span: span + timedelta(days=2)),
    "expires": st.none() | positive_spans | instants,
    "unique": uniques,
    "rate_limit": st.none() | st.sampled_from(["1/s", "100/m", "5/h", "7/d"]),
    "ack_early": st.booleans(),
    "ignore_result": st.booleans(),
}
some_options = st.fixed_dictionaries({}, optional=VALUES)


def effective(options: TaskOptions) -> Effective:
    return resolve(options, NOTHING_GIVEN, DEFAULTS)


def test_the_tables_cover_every_option() -> None:
    names = set(attrs.fields_dict(TaskOptions))
    assert names == set(VALUES)
    assert names == TaskOptionsDict.__optional_keys__
    assert PublishDict.__optional_keys__ - names == {
        "delay", "not_before", "headers", "meta", "connection", "task_id",
    }  # fmt: skip


# ── what may be given ────────────────────────────────────────────────────────


def test_an_option_that_was_not_given_is_unset() -> None:
    assert {getattr(NOTHING_GIVEN, name) for name in VALUES} == {UNSET}
    assert not UNSET
    assert repr(UNSET) == "UNSET"
    assert repr(TaskOptions(priority=0)) == "TaskOptions(priority=0)"


def test_one_span_in_three_notations_is_one_option() -> None:
    as_text = TaskOptions(visibility_timeout="90s", expires="90s")
    as_number = TaskOptions(visibility_timeout=90, expires=90.0)
    assert as_text == as_number
    assert as_text == TaskOptions(
        visibility_timeout=timedelta(seconds=90), expires=timedelta(seconds=90)
    )


def test_evolving_options_keeps_the_spans_as_they_are() -> None:
    options = TaskOptions(hard_time_limit="2h", unique=True)
    assert attrs.evolve(options, priority=3).hard_time_limit == timedelta(hours=2)
    assert attrs.evolve(options, priority=3).unique == Unique()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("max_retries", True, "max_retries=True is not a whole number from 0"),
        ("max_retries", -1, "max_retries=-1 is not"),
        ("max_retries", 3.0, "max_retries=3.0 is not"),
        ("max_retries", None, "max_retries=None is not"),
        pytest.param("max_retries", 10**5000, "max_retries=an enormous number", id="enormous"),
        ("retry_policy", {"base": 1}, "is not a RetryPolicy"),
        ("priority", 10, "priority=10 is not a whole number from 0 to 9"),
        ("isolation", "processes", "Did you mean 'process'?"),
        ("isolation", None, "isolation=None is not known"),
        ("visibility_timeout", 0, "visibility_timeout=0 is out of range"),
        ("visibility_timeout", "30", "visibility_timeout='30' is not a duration"),
        ("soft_time_limit", -1, "soft_time_limit=-1 is out of range"),
        ("hard_time_limit", True, "hard_time_limit=True is not a duration"),
        ("expires", datetime(2030, 1, 1), "has no time zone"),
        ("expires", 0, "expires=0 is out of range"),
        ("unique", "customer_id", "a tuple of argument names"),
        ("unique", (), "is not a tuple of different argument names"),
        ("unique", ("a", "a"), "is not a tuple of different argument names"),
        ("unique", ("a b",), "is not a tuple of different argument names"),
        ("unique", None, "unique=None says nothing"),
        ("rate_limit", "10", "rate_limit='10' is not a rate"),
        ("rate_limit", "0/s", "is not a rate"),
        ("rate_limit", "10/s\n", "is not a rate"),
        ("ack_early", 1, "ack_early=1 is neither True nor False"),
        ("ignore_result", "no", "ignore_result='no' is neither"),
    ],
)
def test_an_impossible_value_is_refused_by_name(name: str, value: Any, said: str) -> None:
    with pytest.raises(InvalidOption) as refusal:
        TaskOptions(**{name: value})
    assert said in str(refusal.value)
    assert name in str(refusal.value)


def test_a_hostile_queue_name_is_refused() -> None:
    with pytest.raises(InvalidName, match="queue"):
        TaskOptions(queue="a b")


def test_the_soft_limit_must_come_before_the_hard_one() -> None:
    with pytest.raises(InvalidOption, match="soft_time_limit=0:00:05 is not before"):
        TaskOptions(soft_time_limit=5, hard_time_limit=5)


@pytest.mark.parametrize(
    ("until", "window"), [("window", None), ("finished", "5s"), ("started", "5s")]
)
def test_a_window_belongs_to_until_window_and_only_to_it(until: Any, window: Any) -> None:
    with pytest.raises(InvalidOption, match="and only then"):
        Unique(until=until, window=window)


def test_an_unknown_end_of_uniqueness_is_refused() -> None:
    with pytest.raises(InvalidOption, match="Did you mean 'finished'"):
        Unique(until="finish")  # type: ignore[arg-type]


def test_a_mistyped_option_gets_the_nearest_name() -> None:
    with pytest.raises(InvalidOption, match="Did you mean 'max_retries'"):
        TaskOptions.of(max_retrys=3)  # type: ignore[call-arg]


def test_what_belongs_to_one_call_is_no_option_of_a_task() -> None:
    with pytest.raises(InvalidOption, match=r"task\.using\(delay="):
        TaskOptions.of(delay="5m")  # type: ignore[call-arg]


# ── the wire form ────────────────────────────────────────────────────────────


@given(some_options)
def test_options_survive_the_wire(values: dict[str, Any]) -> None:
    options = TaskOptions(**values)
    assert TaskOptions.from_given(options.given()) == options


def test_the_wire_form_has_what_was_given_and_spans_in_milliseconds() -> None:
    zone = timezone(timedelta(hours=2))
    options = TaskOptions(
        max_retries=0, visibility_timeout="1.5s", hard_time_limit=None, unique=("b", "a"),
        expires=datetime(1970, 1, 1, 2, 0, 1, 2999, tzinfo=zone),
    )  # fmt: skip
    assert options.given() == {
        "max_retries": 0,
        "visibility_timeout_ms": 1500,
        "hard_time_limit_ms": None,
        "expires_at_ms": 1002,
        "unique": {"by": ["b", "a"], "until": "finished", "window_ms": None},
    }
    assert TaskOptions(expires=None).given() == {"expires_ms": None}
    assert options.given() is options.given()


@pytest.mark.parametrize(
    "wire",
    [
        None,
        [],
        {"max_retrys": 3},
        {"max_retries": True},
        {"max_retries": "3"},
        {"queue": None},
        {"queue": "a b"},
        {"visibility_timeout": 30},
        {"visibility_timeout_ms": "30s"},
        {"visibility_timeout_ms": 1.5},
        {"visibility_timeout_ms": None},
        {"visibility_timeout_ms": 10**30},
        {"expires_ms": 1, "expires_at_ms": 1},
        {"expires_at_ms": 10**18},
        {"expires_at_ms": None},
        {"unique": True},
        {"unique": {"by": None}},
        {"unique": {"by": "ab", "until": "finished", "window_ms": None}},
        {"unique": {"by": None, "until": "finished", "window_ms": 5}},
        {"retry_policy": {}},
        {"soft_time_limit_ms": 5, "hard_time_limit_ms": 5},
    ],
)
def test_a_malformed_wire_form_is_refused(wire: object) -> None:
    with pytest.raises(MalformedEnvelope):
        TaskOptions.from_given(wire)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
wire_names = st.sampled_from(
    [key for name in VALUES for key in (name, f"{name}_ms", f"{name}_at_ms")]
)


@given(st.dictionaries(wire_names, json_values, max_size=3))
def test_no_wire_form_escapes_the_one_error(wire: dict[str, Any]) -> None:
    try:
        options = TaskOptions.from_given(wire)
    except MalformedEnvelope:
        return
    assert options.given().keys() == wire.keys()


# ── who wins ─────────────────────────────────────────────────────────────────

ANSWERS: dict[str, Callable[[Effective], object]] = {
    "queue": lambda e: e.queue,
    "max_retries": lambda e: e.max_retries,
    "retry_policy": lambda e: e.retry_policy,
    "priority": lambda e: e.priority,
    "isolation": lambda e: e.isolation,
    "visibility_timeout": lambda e: e.lease_ms,
    "soft_time_limit": lambda e: e.soft_limit_ms,
    "hard_time_limit": lambda e: e.hard_limit_ms,
    "expires": lambda e: (e.expires_ms, e.expires_at_ms),
    "unique": lambda e: e.unique,
    "rate_limit": lambda e: e.rate_limit,
    "ack_early": lambda e: e.ack_early,
    "ignore_result": lambda e: e.ignore_result,
}


@given(some_options, some_options)
def test_what_was_given_wins_then_what_was_registered_then_the_default(
    given_values: dict[str, Any], registered_values: dict[str, Any]
) -> None:
    result = resolve(TaskOptions(**given_values), TaskOptions(**registered_values), DEFAULTS)
    for name, answer in ANSWERS.items():
        winner = given_values if name in given_values else registered_values
        alone = TaskOptions(**({name: winner[name]} if name in winner else {}))
        assert answer(result) == answer(effective(alone)), name


@pytest.mark.parametrize(
    ("falsy", "truthy"),
    [
        ({"max_retries": 0}, {"max_retries": 5}),
        ({"priority": 0}, {"priority": 9}),
        ({"ignore_result": False}, {"ignore_result": True}),
        ({"ack_early": False}, {"ack_early": True}),
        ({"unique": False}, {"unique": True}),
        ({"hard_time_limit": None}, {"hard_time_limit": 9}),
        ({"soft_time_limit": None}, {"soft_time_limit": 9}),
        ({"expires": None}, {"expires": 9}),
        ({"rate_limit": None}, {"rate_limit": "1/s"}),
    ],
)
def test_a_falsy_value_that_was_given_wins(falsy: dict[str, Any], truthy: dict[str, Any]) -> None:
    low, high = TaskOptions(**falsy), TaskOptions(**truthy)
    assert resolve(low, high, DEFAULTS) == effective(low)
    assert resolve(high, low, DEFAULTS) == effective(high)
    assert effective(low) != effective(high)


def test_without_anything_given_the_defaults_hold() -> None:
    defaults = Defaults(
        queue="q", max_retries=7, lease_ms=9, priority=4, isolation="thread",
        retry_policy=RetryPolicy(base=2),
    )  # fmt: skip
    assert resolve(NOTHING_GIVEN, NOTHING_GIVEN, defaults) == Effective(
        queue="q", max_retries=7, lease_ms=9, priority=4, isolation="thread",
        retry_policy=RetryPolicy(base=2), soft_limit_ms=None, hard_limit_ms=None,
        expires_ms=None, expires_at_ms=None, unique=None, rate_limit=None, ack_early=False,
        ignore_result=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given_queue", "registered_queue", "routed", "queue"),
    [
        ("a", "b", "c", "a"),
        (UNSET, "b", "c", "b"),
        (UNSET, UNSET, "c", "c"),
        (UNSET, UNSET, None, "default"),
    ],
)
def test_a_route_gives_the_queue_that_nobody_named(
    given_queue: str | Unset, registered_queue: str | Unset, routed: str | None, queue: str
) -> None:
    result = resolve(
        TaskOptions(queue=given_queue), TaskOptions(queue=registered_queue), DEFAULTS, routed
    )
    assert result.queue == queue


def test_resolving_never_refuses_a_soft_limit_behind_the_hard_one() -> None:
    soft, hard = TaskOptions(soft_time_limit=60), TaskOptions(hard_time_limit=30)
    result = resolve(soft, hard, DEFAULTS)
    assert (result.soft_limit_ms, result.hard_limit_ms) == (60_000, 30_000)


@given(some_options, some_options, some_options)
def test_laying_options_over_each_other_is_associative(
    a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]
) -> None:
    first, second, third = TaskOptions(**a), TaskOptions(**b), TaskOptions(**c)
    assert first.over(second).over(third) == first.over(second.over(third))


def test_every_refusal_belongs_to_the_family_of_enqueue_errors() -> None:
    assert issubclass(InvalidOption, EnqueueError)
    assert issubclass(InvalidName, EnqueueError)
