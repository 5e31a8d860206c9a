from __future__ import annotations

import json
import pickle
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.model.errors import InvalidOption, MalformedEnvelope, Retry
from stem_core.model.retry import GiveUp, RetryAfter, RetryPolicy, decide, names_of

EXHAUSTED = GiveUp("max-retries-exhausted")
RULED_OUT = GiveUp("never-retry-on")
STEADY = RetryPolicy(jitter=False)


class Temporary(ConnectionError):
    """An error of a user's module."""


def after(
    error: type[BaseException] = ValueError,
    *,
    policy: RetryPolicy = STEADY,
    max_retries: int = 3,
    attempt: int = 1,
    dice: float = 0.5,
    asked_after_ms: int | None = None,
) -> RetryAfter | GiveUp:
    return decide(
        policy,
        max_retries=max_retries,
        attempt=attempt,
        error_names=names_of(error),
        dice=dice,
        asked_after_ms=asked_after_ms,
    )


def test_waits_double_up_to_the_cap() -> None:
    waits = [after(attempt=attempt, max_retries=20) for attempt in range(1, 12)]
    seconds = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert waits == [RetryAfter(s * 1_000) for s in seconds]


def test_three_retries_are_four_executions() -> None:
    assert after(attempt=3, max_retries=3) == RetryAfter(4_000)
    assert after(attempt=4, max_retries=3) == EXHAUSTED


def test_no_retries_is_one_execution() -> None:
    assert after(attempt=1, max_retries=0) == EXHAUSTED


@pytest.mark.parametrize(("dice", "expected_ms"), [(0.0, 0), (0.5, 2_000), (0.999, 3_996)])
def test_jitter_takes_a_share_of_the_whole_wait(dice: float, expected_ms: int) -> None:
    assert after(policy=RetryPolicy(), attempt=3, dice=dice) == RetryAfter(expected_ms)


@given(
    attempt=st.integers(min_value=1, max_value=10**400),
    base_ms=st.integers(min_value=0, max_value=10**9),
    multiplier=st.floats(min_value=1, max_value=1000),
    dice=st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_no_wait_is_ever_negative_or_beyond_the_cap(
    attempt: int, base_ms: int, multiplier: float, dice: float
) -> None:
    policy = RetryPolicy(base=base_ms / 1000, cap=10**7, multiplier=multiplier)
    decision = after(policy=policy, attempt=attempt, max_retries=attempt, dice=dice)
    assert isinstance(decision, RetryAfter)
    assert 0 <= decision.delay_ms <= policy.cap_ms


def test_a_base_of_nothing_waits_for_nothing() -> None:
    policy = RetryPolicy(base=0, jitter=False)
    assert after(policy=policy, attempt=5000, max_retries=9999) == RetryAfter(0)


@pytest.mark.parametrize(
    ("retry_on", "never", "error", "is_retried"),
    [
        ((), (), ValueError, True),
        ((OSError,), (), ConnectionError, True),
        ((OSError,), (), ValueError, False),
        (("OSError",), (), Temporary, True),
        ((), (OSError,), Temporary, False),
        ((), (OSError,), ValueError, True),
        ((Temporary,), (OSError,), Temporary, False),
        ((f"{__name__}.Temporary",), (), Temporary, True),
        (("other.Temporary",), (), Temporary, False),
        ((Exception,), (), ValueError, True),
    ],
)
def test_lists_of_errors_know_subclasses(
    retry_on: Any, never: Any, error: type[Exception], is_retried: bool
) -> None:
    policy = RetryPolicy(retry_on=retry_on, never_retry_on=never, jitter=False)
    assert after(error, policy=policy) == (RetryAfter(1_000) if is_retried else RULED_OUT)


def test_a_wait_that_the_task_asked_for_still_spends_an_attempt() -> None:
    assert after(Retry, attempt=3, asked_after_ms=7) == RetryAfter(7)
    assert after(Retry, attempt=4, asked_after_ms=7) == EXHAUSTED


def test_a_task_that_asks_for_a_retry_is_not_judged_by_the_lists() -> None:
    policy = RetryPolicy(retry_on=(OSError,), jitter=False)
    assert after(Retry, policy=policy) == RetryAfter(1_000)


def test_names_run_from_the_class_to_its_bases() -> None:
    assert names_of(ConnectionResetError) == (
        "builtins.ConnectionResetError",
        "builtins.ConnectionError",
        "builtins.OSError",
        "builtins.Exception",
        "builtins.BaseException",
        "builtins.object",
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"base": -1}, "base="),
        ({"cap": "5"}, "cap="),
        ({"base": "10m"}, "cap=5m is shorter than base=10m"),
        ({"multiplier": 0.5}, "multiplier="),
        ({"multiplier": float("nan")}, "multiplier="),
        ({"multiplier": True}, "multiplier is not"),
        ({"multiplier": 10**5000}, "multiplier is not"),
        ({"jitter": "yes"}, "jitter="),
        ({"retry_on": ValueError}, "tuple of exception types"),
        ({"retry_on": "ValueError"}, "tuple of exception types"),
        ({"retry_on": ("ValueEror",)}, "Did you mean 'ValueError'"),
        ({"never_retry_on": (int,)}, "never_retry_on"),
        ({"never_retry_on": (KeyboardInterrupt,)}, "never_retry_on"),
        ({"retry_on": ("a b.c",)}, "retry_on"),
        ({"retry_on": ("x." + "y" * 300,)}, "retry_on"),
        ({"retry_on": [f"m.E{n}" for n in range(65)]}, "65 types"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint):
        RetryPolicy(**options)


POLICIES = st.builds(
    RetryPolicy,
    base=st.integers(0, 10**6),
    cap=st.integers(10**6, 10**8),
    multiplier=st.floats(1, 1000),
    jitter=st.booleans(),
    retry_on=st.lists(st.sampled_from([ValueError, "OSError", "my.app.Error"]), max_size=3),
    never_retry_on=st.lists(st.sampled_from([KeyError, Temporary]), max_size=3),
)


@given(POLICIES)
def test_a_policy_survives_the_wire_and_a_pickle(policy: RetryPolicy) -> None:
    assert RetryPolicy.from_wire(json.loads(json.dumps(policy.to_wire()))) == policy
    assert pickle.loads(pickle.dumps(policy)) == policy


@pytest.mark.parametrize(
    "change",
    [
        {"base_ms": True},
        {"base_ms": 1.5},
        {"base_ms": -1},
        {"base_ms": 10**40},
        {"cap_ms": 1},
        {"multiplier": "2"},
        {"multiplier": 0},
        {"jitter": 1},
        {"retry_on": "builtins.OSError"},
        {"retry_on": [1]},
        {"retry_on": ["OSError"]},
        {"retry_on": [None]},
        {"never_retry_on": None},
        {"surprise": 1},
    ],
)
def test_a_wire_policy_is_strict(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedEnvelope):
        RetryPolicy.from_wire(RetryPolicy().to_wire() | change)


@pytest.mark.parametrize("wire", [None, [], "x", {}, {"base_ms": 1}])
def test_what_is_no_policy_is_malformed(wire: Any) -> None:
    with pytest.raises(MalformedEnvelope):
        RetryPolicy.from_wire(wire)


def test_a_policy_cannot_be_evolved_into_other_units() -> None:
    evolve: Any = attrs.evolve
    with pytest.raises(TypeError):
        evolve(RetryPolicy(), base_ms=5)
