from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from stem_core.worker.slots import Slots


def test_a_slot_is_free_again_when_its_task_has_ended():
    slots = Slots(2)
    slots.start(2)
    assert slots.free == 0
    slots.end()
    assert slots.free == 1


def test_settlements_that_wait_hold_slots_up_when_there_are_too_many():
    slots = Slots(2)
    for _ in range(4):
        slots.start(1)
        slots.end()
    assert slots.unsettled == 4
    assert slots.free == 0
    slots.settled()
    assert slots.free == 1


@given(st.lists(st.sampled_from(["take", "end", "settle"])))
def test_a_worker_never_holds_more_than_twice_its_limit(steps):
    slots = Slots(3)
    for step in steps:
        if step == "take" and slots.free > 0:
            slots.start(slots.free)
        elif step == "end" and slots.running:
            slots.end()
        elif step == "settle" and slots.unsettled:
            slots.settled()
        assert slots.running + slots.unsettled <= 6
        assert slots.free <= 3
    assert slots.is_idle == (slots.running == slots.unsettled == 0)


def test_whoever_waits_is_woken_by_a_change():
    async def main():
        slots = Slots(1)
        slots.start(1)
        waiting = asyncio.create_task(slots.changed())
        await asyncio.sleep(0)
        assert not waiting.done()
        slots.end()
        await asyncio.wait_for(waiting, 5)

    asyncio.run(main())
