"""A worker that cannot poll says so, and ends at its limit."""

from __future__ import annotations

import asyncio

import pytest

from stem_core.observe.health import Vitals
from stem_core.testing.clock import FakeClock
from stem_core.worker.polling import PollWatch

WELL = Vitals(busy=0, slots=1)
AWAY = Vitals(busy=0, slots=1, fault="reconnect")
SILENT = Vitals(busy=0, slots=1, silent_ms=20_000)
FULL = Vitals(busy=1, slots=1, is_full=True, silent_ms=10_000_000)
DRAINING = Vitals(busy=1, slots=1, is_draining=True, fault="reconnect")


def watched(*spells: tuple[Vitals, int], limit_ms: int) -> list[int]:
    """Let each of *spells* last so many seconds; return when the worker was cut off."""
    clock, ends, now = FakeClock(), [], WELL

    async def main() -> None:
        nonlocal now
        watch = PollWatch(
            clock, lambda: now, limit_ms=limit_ms, cut_off=lambda: ends.append(clock.monotonic_ms())
        )
        watching = asyncio.create_task(watch.run())
        for vitals, seconds in spells:
            now = vitals
            for _ in range(seconds):
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                clock.advance(1)
        watching.cancel()
        await asyncio.wait([watching])

    asyncio.run(main())
    return ends


@pytest.mark.parametrize("trouble", [AWAY, SILENT])
def test_it_is_cut_off_once_after_as_long_as_it_may_last(trouble):
    (ended_ms,) = watched((WELL, 10), (trouble, 200), limit_ms=60_000)
    assert 70_000 <= ended_ms <= 72_000


@pytest.mark.parametrize("vitals", [WELL, FULL, DRAINING])
def test_who_need_not_poll_or_does_is_left_alone(vitals):
    assert watched((vitals, 300), limit_ms=60_000) == []


def test_each_outage_is_measured_by_itself():
    assert watched((AWAY, 50), (WELL, 2), (AWAY, 50), limit_ms=60_000) == []


def test_without_a_limit_an_outage_may_last_for_ever(caplog):
    assert watched((AWAY, 4_000), limit_ms=0) == []
    assert "goes on trying for ever" in caplog.text


def test_it_is_said_ever_more_rarely_and_silence_at_once(caplog):
    watched((AWAY, 50), limit_ms=0)
    assert "takes no work" not in caplog.text
    watched((SILENT, 50), limit_ms=0)
    assert caplog.text.count("takes no work") == 1
    caplog.clear()
    watched((AWAY, 3_600), limit_ms=0)
    assert caplog.text.count("takes no work") == 9
