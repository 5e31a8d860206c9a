"""What a result backend promises of heartbeats, schedules and locks."""

from __future__ import annotations

from stem_core.contracts.backend import Heartbeat, ScheduleState
from stem_core.testing.contract.promise import backend_promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBackend

__all__ = ["CompanionContract"]


class CompanionContract(OnBackend):
    """The companions, for backends that have them."""

    @backend_promise("BEAT-1", needs=("heartbeats",))
    async def test_a_heartbeat_is_believed_for_its_time(self, stage: Stage) -> None:
        beats = stage.heartbeats
        b = Heartbeat(worker="b", at_ms=1, detail=b'{"n":1}', ttl_ms=stage.unit_ms)
        a = Heartbeat(worker="a", at_ms=1, ttl_ms=10**6)
        c = Heartbeat(worker="c", at_ms=1, ttl_ms=10**6)
        for beat in (b, a, c):
            await beats.beat(beat)
        assert list(await beats.alive()) == [a, b, c]
        await beats.leave("c")
        await beats.leave("never-there")
        await stage.let_pass(stage.unit_ms + 1)
        assert list(await beats.alive()) == [a]

    @backend_promise("SCHEDULE-1", needs=("schedules",))
    async def test_of_two_savers_of_one_version_one_fails(self, stage: Stage) -> None:
        schedules = stage.schedules
        first = ScheduleState(name="s", version=1, state=b"{}")
        second = ScheduleState(name="s", version=2, state=b'{"n":2}')
        assert not await schedules.save_schedule(second)
        assert await schedules.save_schedule(first)
        assert not await schedules.save_schedule(first)
        assert await schedules.save_schedule(second)
        assert await schedules.save_schedule(ScheduleState(name="a", version=1, state=b"{}"))
        assert [s.name for s in await schedules.load_schedules()] == ["a", "s"]
        assert [await schedules.remove_schedule("s"), await schedules.remove_schedule("s")] == [
            True,
            False,
        ]

    @backend_promise("LOCK-1", needs=("locks",))
    async def test_a_lock_has_one_owner_and_a_fence_that_grows(self, stage: Stage) -> None:
        locks = stage.locks
        first = await locks.acquire("l", owner="a", ttl_ms=stage.unit_ms)
        assert first is not None
        assert await locks.acquire("l", owner="b", ttl_ms=10**6) is None
        assert await locks.acquire("l", owner="a", ttl_ms=stage.unit_ms) == first
        await stage.let_pass(stage.unit_ms + 1)
        second = await locks.acquire("l", owner="b", ttl_ms=10**6)
        assert second is not None
        assert second > first
        assert not await locks.release("l", owner="a")
        assert await locks.release("l", owner="b")
        third = await locks.acquire("l", owner="a", ttl_ms=10**6)
        assert third is not None
        assert third > second
