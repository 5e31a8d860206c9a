"""What became of many is told, whatever happens afterwards."""

from __future__ import annotations

from contextlib import suppress

import pytest

from stem_core.cli.batching import batches
from stem_core.cli.exits import ExitCode
from stem_core.cli.fates import Fates, fate_facts, fate_lines, telling, verdict
from stem_core.cli.terminal import Paint
from stem_core.contracts.admin import ReplayStatus

DONE, ALREADY, UNKNOWN = ReplayStatus.DONE, ReplayStatus.ALREADY, ReplayStatus.UNKNOWN
PLAIN = Paint(False)
FATES: Fates = {"a": DONE, "longer": UNKNOWN, "b": ReplayStatus.UNIQUE, "c": ReplayStatus.FULL}


def test_each_one_that_was_asked_for_by_id_is_told() -> None:
    assert list(fate_lines({**FATES, "d": ALREADY}, "replayed", PLAIN, by_id=True)) == [
        "a       replayed",
        "longer  unknown: there is no dead letter of this id",
        "b       stays dead: its unique key is held by another task",
        "c       stays dead: the store is full",
        "d       is live already",
    ]


def test_of_many_only_those_that_are_not_done_are_told_and_a_sum() -> None:
    lines = list(fate_lines({**FATES, "d": DONE}, "replayed", PLAIN, by_id=False))
    assert len(lines) == 4
    assert lines[-1] == "2 dead letters replayed, 3 not"
    assert list(fate_lines({}, "replayed", PLAIN, by_id=False)) == ["0 dead letters replayed"]


def test_programs_get_each_one_and_the_counts() -> None:
    facts = fate_facts({"a": DONE, "b": UNKNOWN})
    assert facts["dead_letters"][1] == {"id": "b", "status": "unknown"}
    assert facts["counts"] == {"done": 1, "already": 0, "unknown": 1, "unique": 0, "full": 0}


@pytest.mark.parametrize(
    ("fates", "code"),
    [
        ({}, ExitCode.OK),
        ({"a": DONE, "b": ALREADY}, ExitCode.OK),
        ({"a": DONE, "b": ReplayStatus.UNIQUE}, ExitCode.FAILED),
        ({"a": DONE, "b": ReplayStatus.FULL}, ExitCode.FAILED),
        ({"a": ReplayStatus.FULL, "b": UNKNOWN}, ExitCode.NOT_FOUND),
    ],
)
def test_the_verdict_is_the_worst_of_them(fates: Fates, code: ExitCode) -> None:
    assert verdict(fates, {DONE, ALREADY}) is code


@pytest.mark.parametrize(("done", "times"), [([], 0), (["a"], 1)])
def test_what_was_done_before_a_failure_is_told_and_nothing_is_not(
    done: list[str], times: int
) -> None:
    told: list[str] = []
    with suppress(OSError), telling(done, lambda: told.append("told")):
        raise OSError
    assert len(told) == times


def test_without_a_failure_it_is_told_once() -> None:
    told: list[str] = []
    with telling([], lambda: told.append("told")):
        pass
    assert told == ["told"]


def test_batches_keep_the_order_and_are_never_too_large() -> None:
    assert list(batches("abcdefg", 3)) == ["abc", "def", "g"]
    assert list(batches("", 3)) == []
