"""The kit on the real clock: a machine that stands still breaks no promise, and hides none."""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.testing import Stage
from stem_core.testing.contract.staging import OnBroker, on_broker_stage

_numbers = itertools.count()


def units_of(test: Callable[[Stage], Awaitable[None]], unit_ms: int, **how: Any) -> list[int]:
    """Run *test* as the kit does; return the unit of time of each run, and of the last twice
    if it failed."""
    units: list[int] = []

    async def noting(case: OnBroker, stage: Stage) -> None:
        units.append(stage.unit_ms)
        await test(stage)

    def stage() -> Stage:
        return Stage(InMemoryBroker(f"stalls-{next(_numbers)}"), unit_ms=unit_ms, **how)

    try:
        on_broker_stage(OnBroker(), stage, frozenset(), noting)
    except AssertionError:
        units.append(units[-1])
    return units


def stand_still(stage: Stage) -> None:
    time.sleep(stage.unit_ms / 4 / 1000)


async def fails_when_it_has_little_time(stage: Stage) -> None:
    stand_still(stage)
    assert stage.unit_ms > 20


async def fails_whatever_time_it_has(stage: Stage) -> None:
    stand_still(stage)
    raise AssertionError


async def fails_at_once(stage: Stage) -> None:
    raise AssertionError


async def no_time(duration_ms: int) -> None: ...


def test_a_test_that_fails_while_the_loop_stands_still_is_run_again_with_twice_the_time():
    assert units_of(fails_when_it_has_little_time, 20) == [20, 40]


def test_one_that_goes_on_failing_fails():
    assert units_of(fails_whatever_time_it_has, 20) == [20, 40, 80, 80]


def test_one_that_fails_though_the_loop_went_on_fails_at_once():
    assert units_of(fails_at_once, 2_500) == [2_500, 2_500]


def test_so_does_one_whose_time_is_not_real():
    assert units_of(fails_whatever_time_it_has, 20, let_pass=no_time) == [20, 20]


def test_and_one_that_has_been_given_enough_time():
    assert units_of(fails_whatever_time_it_has, 3_000) == [3_000, 3_000]
