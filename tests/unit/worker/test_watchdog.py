"""When a loop counts as blocked, and what is told of it."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest
from unit.worker.given import a_message, a_plan

from stem_core.contracts.messages import Delivery, Receipt
from stem_core.testing.clock import FakeClock
from stem_core.worker.run import Run
from stem_core.worker.runner import Runner
from stem_core.worker.watchdog import Stall, Watchdog, longest_stall_ms

TICK_MS = 500


def looked(*looks: tuple[int, bool], within_ms: float = math.inf) -> Stall:
    """A stall that was looked at at these times, and told something before the first."""
    stall = Stall(TICK_MS, 0)
    for now_ms, has_turned in looks:
        stall.look(now_ms, has_turned=has_turned, within_ms=within_ms)
        within_ms = math.inf
    return stall


def test_a_loop_stands_still_from_when_it_was_seen_to_turn():
    assert looked((500, True), (1000, False), (1500, False)).stood_ms == 1000
    assert looked((500, False), (1000, False), (1500, True)).stood_ms == 0


def test_time_in_which_nobody_looked_is_nobody_s_fault():
    assert looked((500, True), (1_000_000, False)).stood_ms == 2 * TICK_MS


def test_a_loop_that_stands_still_for_too_long_is_given_up():
    stall = looked((500, True), (1000, False), (1500, False))
    assert stall.is_over(1000)
    assert not stall.is_over(1001)


def test_what_a_loop_was_told_it_must_hear_in_time():
    looks = ((500, False), (1000, False), (1500, False))
    assert looked(*looks, within_ms=1000).is_over(math.inf)
    assert not looked(*looks, within_ms=1001).is_over(math.inf)


def test_a_loop_that_turns_has_heard_what_it_was_told_before():
    assert looked((500, False), (1000, True), within_ms=100).left_ms == math.inf


def test_a_turn_of_which_nobody_knows_the_order_is_no_proof_that_it_has_heard():
    # It was told between two looks: it may have turned before that, and be blocked since.
    assert looked((500, True), (1000, False), within_ms=500).is_over(math.inf)


def test_lines_come_after_one_second_ten_and_each_minute():
    stall, told = Stall(TICK_MS, 0), []
    for now_ms in range(500, 200_001, 500):
        stall.look(now_ms, has_turned=False)
        if stall.wants_a_line():
            told.append(now_ms / 1000)
    assert told == [1, 10, 60, 120, 180]


def a_run(**options: Any) -> Run:
    delivery = Delivery(message=a_message(), receipt=Receipt("a", "q", 1))
    run = Run(delivery, None, 0)  # type: ignore[arg-type]  # it says nothing
    run.plan = a_plan(**options)
    return run


@pytest.mark.parametrize(
    ("run", "longest_ms"),
    [
        (None, 600_000),
        (a_run(), 600_000),
        (a_run(hard_time_limit="10s"), 15_000),
        (a_run(hard_time_limit="20m"), 600_000),
    ],
)
def test_a_hard_limit_holds_for_a_task_that_blocks_the_loop_too(run, longest_ms):
    assert longest_stall_ms(run, 600_000) == longest_ms


class Blocked(Runner):
    """Stands still in its first step, as a task that blocks the loop does."""

    def __init__(self, body) -> None:
        self._body = body

    def _open(self, run: Run) -> None:
        self._body()


def blocked_for(watchdog: Watchdog, run: Run | None, body) -> None:
    """Let *run*, or nobody, hold up a loop that *watchdog* watches, with *body*."""

    async def main() -> None:
        watchdog.start()
        try:
            await asyncio.sleep(0.05)  # it has seen the loop turn
            if run is None:
                body()
            else:
                await Blocked(body).run(run)
        except Over:
            pass
        finally:
            watchdog.stop()

    asyncio.run(main())


class Over(BaseException):
    """Ends what holds up the loop."""


@pytest.mark.parametrize("run", [None, a_run()])
def test_who_holds_up_the_loop_is_found_by_where_it_stands(run, caplog):
    clock = FakeClock()
    found: list[Run | None] = []
    watchdog = Watchdog(clock, limit_ms=2_000, over=found.append, tick_ms=5)

    def holds_up_the_loop() -> None:
        deadline = time.monotonic() + 30
        while not found and time.monotonic() < deadline:
            clock.advance("5ms")
            time.sleep(0.001)
        raise Over

    blocked_for(watchdog, run, holds_up_the_loop)
    assert found == [run]
    assert "holds_up_the_loop" in caplog.text
    assert ("work (a)" if run else "no task of this worker") in caplog.text.replace(
        "t (a)", "work (a)"
    )
