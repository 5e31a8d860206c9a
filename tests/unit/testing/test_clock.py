from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime

import pytest

from stem_core.testing.clock import FakeClock, LoadedDice


def test_time_stands_still_until_it_is_told_to_pass():
    clock = FakeClock(datetime(2030, 1, 1, tzinfo=UTC))
    assert (clock.monotonic_ms(), clock.now()) == (0, datetime(2030, 1, 1, tzinfo=UTC))
    clock.advance("1h30m")
    assert (clock.monotonic_ms(), clock.now()) == (
        5_400_000,
        datetime(2030, 1, 1, 1, 30, tzinfo=UTC),
    )


def test_a_naive_start_is_refused():
    with pytest.raises(ValueError, match="naive"):
        FakeClock(datetime(2030, 1, 1))


def test_the_wall_clock_may_jump_and_the_other_one_does_not():
    clock = FakeClock()
    before_ms = clock.wall_ms()
    clock.jump_wall(-5_000)
    assert (clock.wall_ms() - before_ms, clock.monotonic_ms()) == (-5_000, 0)


def test_sleepers_wake_when_their_time_has_come_and_not_before():
    woken = []

    async def sleeper(clock, seconds):
        await clock.sleep(seconds * 1000)
        woken.append(seconds)

    async def main():
        clock = FakeClock()
        sleeping = [asyncio.create_task(sleeper(clock, each)) for each in (3, 1, 2)]
        await asyncio.sleep(0)
        assert clock.sleepers == 3
        clock.advance(1)
        await sleeping[1]
        assert (woken, clock.sleepers) == ([1], 2)
        clock.advance(5)
        await asyncio.gather(*sleeping)
        assert clock.sleepers == 0

    asyncio.run(main())
    assert woken == [1, 2, 3]


def test_a_sleep_of_nothing_only_yields():
    asyncio.run(asyncio.wait_for(FakeClock().sleep(0), 5))


def test_a_cancelled_sleeper_is_forgotten():
    async def main():
        clock = FakeClock()
        sleeping = asyncio.create_task(clock.sleep(1000))
        await asyncio.sleep(0)
        sleeping.cancel()
        await asyncio.wait([sleeping])
        assert clock.sleepers == 0

    asyncio.run(main())


def test_one_clock_serves_loops_of_several_threads():
    clock = FakeClock()
    threads = [
        threading.Thread(target=lambda: asyncio.run(clock.sleep(1000)), daemon=True)
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    while clock.sleepers < 3:
        pass
    clock.advance(1)
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


def test_a_sleeper_whose_loop_is_closed_does_not_disturb_the_clock():
    clock = FakeClock()
    loop = asyncio.new_event_loop()
    sleeping = clock.sleep(1000)
    task = loop.create_task(sleeping)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop._ready.clear()  # type: ignore[attr-defined]
    loop.close()
    clock.advance(1)
    assert not task.done()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_dice_roll_what_they_are_loaded_with_over_and_over():
    dice = LoadedDice([0.1, 0.9])
    assert [dice.roll() for _ in range(4)] == [0.1, 0.9, 0.1, 0.9]


def test_bytes_of_loaded_dice_are_all_different():
    dice = LoadedDice()
    assert len({dice.bytes(10) for _ in range(1000)}) == 1000
    assert [len(dice.bytes(count)) for count in (0, 1, 4, 16)] == [0, 1, 4, 16]


@pytest.mark.parametrize("rolls", [[], [1.0], [-0.1]])
def test_dice_cannot_be_loaded_with_what_no_die_shows(rolls):
    with pytest.raises(ValueError, match="rolls"):
        LoadedDice(rolls)
