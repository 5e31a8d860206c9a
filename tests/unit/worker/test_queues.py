from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.model.errors import InvalidName, InvalidOption
from stem_core.worker.queues import in_turn, weights_of

NAMES = st.text("abcdef", min_size=1, max_size=4)
ROLLS = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("given", "weights"),
    [
        ("billing", {"billing": 1}),
        (["a", "b", "a"], {"a": 1, "b": 1}),
        ({"a": 3, "b": 1}, {"a": 3, "b": 1}),
    ],
)
def test_queues_are_given_by_name_or_with_weights(given, weights):
    assert weights_of(given) == weights


@pytest.mark.parametrize("given", ["", [], {}, {"a": 0}, {"a": True}, {"a": -1}, {"a": 1.5}])
def test_impossible_queues_are_refused(given):
    with pytest.raises(InvalidOption, match="queues"):
        weights_of(given)


@pytest.mark.parametrize("name", ["", "two words", "a/b", "..", "x" * 200])
def test_hostile_queue_names_are_refused(name):
    with pytest.raises(InvalidName):
        weights_of([name])


@given(weights=st.dictionaries(NAMES, st.integers(1, 100), min_size=1), rolls=st.lists(ROLLS))
def test_every_queue_is_asked_once_in_whatever_order(weights, rolls):
    numbers = iter([*rolls, *[0.999999] * len(weights)])
    order = in_turn(weights, lambda: next(numbers))
    assert sorted(order) == sorted(weights)


def test_a_heavier_queue_is_asked_first_more_often_and_none_starves():
    roll = random.Random(7).random
    firsts = Counter(in_turn({"heavy": 3, "light": 1}, roll)[0] for _ in range(4000))
    assert 2800 < firsts["heavy"] < 3200
