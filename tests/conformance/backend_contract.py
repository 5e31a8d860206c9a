"""What every result backend promises, one test or more for each promise id."""

from __future__ import annotations

import asyncio

import pytest
from conformance.stage import promise

from stem_core.contracts.backend import Heartbeat, Progress, RecordFilter, ScheduleState
from stem_core.model.errors import WrongLoop
from stem_core.model.outcome import Record, State, TaskError
from stem_core.model.value import replace

FULL = Record(
    id="r",
    state=State.FAILED,
    fence=3,
    attempt=2,
    task="mail.send",
    queue="mail",
    value=b'{"a": "\xf0\x9f\x8c\xb1"}',
    error=TaskError(type="builtins.ValueError", message="no", traceback="tb", attempt=2, at_ms=5),
    reason="why",
    meta={"who": "finance", "deep": {"list": [1, None, True, 1.5]}},
    enqueued_at_ms=1,
    started_at_ms=2,
    finished_at_ms=3,
    worker="w1",
    ttl_ms=60_000,
)


def record(id: str = "r", state: State = State.SUCCEEDED, **fields) -> Record:
    """A record with what the test does not care about filled in."""
    return Record(id=id, state=state, **fields)


class BackendContract:
    """The verbs every worker and caller needs."""

    @promise("BACKEND-1", "LOAD-1")
    async def test_replies_come_by_position_and_unknown_ids_are_none(self, stage):
        one, two = record("one", fence=1), record("two", fence=2)
        assert list(await stage.results.save([one, two, record("two", fence=1)])) == [
            True, True, False,
        ]  # fmt: skip
        assert list(await stage.results.load(["two", "?", "one"])) == [two, None, one]
        assert list(await stage.results.save([])) == []
        assert list(await stage.results.load([])) == []

    @promise("BACKEND-2")
    async def test_a_handle_awaited_in_a_second_loop_raises(self, stage):
        await stage.results.load(["r"])
        with pytest.raises(WrongLoop):
            await asyncio.to_thread(lambda: asyncio.run(stage.results.load(["r"])))

    @promise("SAVE-1", "LOAD-1")
    async def test_a_record_comes_back_whole(self, stage):
        assert list(await stage.results.save([FULL])) == [True]
        assert list(await stage.results.load(["r"])) == [FULL]

    @promise("SAVE-1")
    async def test_of_two_savers_the_higher_fence_stays(self, stage):
        for fences in ([1, 2, 3], [3, 2, 1], [2, 3, 1]):
            id = "".join(map(str, fences))
            handles = [stage.results.sibling() for _ in fences]
            await asyncio.gather(
                *(
                    handle.save([record(id, fence=fence)])
                    for handle, fence in zip(handles, fences, strict=True)
                )
            )
            (kept,) = await stage.results.load([id])
            assert kept is not None
            assert kept.fence == 3
            for handle in handles:
                await handle.aclose()

    @promise("REOPEN-1")
    async def test_a_replayed_task_is_queued_again_unless_a_newer_fence_has_written(self, stage):
        dead = Record(id="m", state=State.DEAD, fence=3, reason="rejected", meta={"by": "ada"})
        await stage.results.save([dead])
        assert list(await stage.results.reopen([("m", 2), ("?", 1)])) == [True, False]
        assert await stage.results.load(["m"]) == [dead]
        await stage.results.reopen([("m", 3)])
        (record,) = await stage.results.load(["m"])
        assert record is not None
        assert (record.state, record.reason, record.meta) == (State.QUEUED, "", {"by": "ada"})
        assert list(await stage.results.save([replace(dead, fence=4)])) == [True]

    @promise("SAVE-2")
    async def test_every_terminal_state_stays(self, stage):
        for state in (state for state in State if state.is_terminal):
            id = state.value
            kept = record(id, state, fence=2, value=b"1")
            await stage.results.save([kept])
            late = [
                record(id, fence=2, value=b"2"),
                record(id, fence=1),
                record(id, State.RUNNING, fence=2),
            ]
            assert list(await stage.results.save(late)) == [False, False, False]
            assert list(await stage.results.load([id])) == [kept]

    @promise("SAVE-2")
    async def test_a_terminal_record_yields_to_a_newer_fence_only(self, stage):
        running = record(state=State.RUNNING, fence=1)
        done = record(fence=1, value=b"1")
        rerun = record(fence=2, value=b"2")
        for one, saved in [(running, True), (done, True), (running, False), (rerun, True)]:
            assert list(await stage.results.save([one])) == [saved]
        assert list(await stage.results.load(["r"])) == [rerun]

    @promise("SAVE-3")
    async def test_the_very_same_record_again_is_fine_and_changes_nothing(self, stage):
        done = record(fence=1, value=b"1", ttl_ms=2 * stage.unit_ms)
        assert list(await stage.results.save([done])) == [True]
        await stage.let_pass(stage.unit_ms)
        assert list(await stage.results.save([done])) == [True]
        await stage.let_pass(stage.unit_ms + 1)
        assert list(await stage.results.load(["r"])) == [None]

    @promise("SAVE-4")
    async def test_a_record_is_gone_after_its_time(self, stage):
        await stage.results.save(
            [record("short", ttl_ms=stage.unit_ms), record("long", ttl_ms=10**6)]
        )
        await stage.let_pass(stage.unit_ms + 1)
        short, long = await stage.results.load(["short", "long"])
        assert short is None
        assert long is not None
        assert list(await stage.results.save([record("short", fence=0)])) == [True]

    @promise("SAVE-5", "WAIT-2")
    async def test_a_waiter_is_woken_by_the_terminal_record(self, stage):
        other = stage.results.sibling()
        waiting = [
            await stage.start(handle.wait("r", timeout_ms=10**8))
            for handle in (stage.results, stage.results)
        ]
        await other.save([record(state=State.RUNNING), record("other")])
        await stage.breathe()
        assert not any(task.done() for task in waiting)
        done = record(fence=1, value=b"1")
        await other.save([done])
        assert await asyncio.gather(*waiting) == [done, done]
        await other.aclose()

    @promise("WAIT-1")
    async def test_a_record_that_exists_is_returned_at_once(self, stage):
        done = record(value=b"1")
        await stage.results.save([done])
        assert await stage.results.wait("r", timeout_ms=10**8) == done
        assert await stage.results.wait("r", timeout_ms=0) == done

    @promise("WAIT-2")
    async def test_a_wait_ends_with_its_time(self, stage):
        assert await stage.results.wait("r", timeout_ms=0) is None
        waiting = await stage.start(stage.results.wait("r", timeout_ms=stage.unit_ms))
        assert not waiting.done()
        await stage.let_pass(stage.unit_ms + 1)
        assert await waiting is None

    @promise("WAIT-3")
    async def test_a_cancelled_wait_leaves_nothing_behind(self, stage):
        before = asyncio.all_tasks()
        waiting = await stage.start(stage.results.wait("r", timeout_ms=10**8))
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        await stage.breathe()
        assert asyncio.all_tasks() == before
        assert list(await stage.results.save([record()])) == [True]

    @promise("LIST-1")
    async def test_a_list_skips_none_and_repeats_none_while_others_add(self, stage):
        ids = [f"id-{n:03}" for n in range(10)]
        await stage.results.save([record(id) for id in ids[::2]])
        seen, cursor = [], None
        while True:
            page = await stage.results.list(limit=2, cursor=cursor)
            seen += [found.id for found in page.records]
            await stage.results.save([record(ids[-1])])  # later ids come on the first page only
            if (cursor := page.cursor) is None:
                break
        assert seen == sorted(ids[::2], reverse=True)

    @promise("LIST-1")
    async def test_a_list_shows_what_the_filter_asks_for(self, stage):
        a = record("a", task="t1", queue="q1", meta={"k": 1})
        b = record("b", State.DEAD, task="t2", queue="q1", meta={"k": 1, "x": None})
        c = record("c", task="t2", queue="q2")
        await stage.results.save([a, b, c])
        for where, expected in [
            (None, [c, b, a]),
            (RecordFilter(states=frozenset({State.DEAD})), [b]),
            (RecordFilter(tasks=frozenset({"t2"})), [c, b]),
            (RecordFilter(queues=frozenset({"q1"}), meta={"k": 1}), [b, a]),
            (RecordFilter(meta={"x": None}), [b]),
        ]:
            assert list((await stage.results.list(where)).records) == expected

    @promise("PROGRESS-1")
    async def test_progress_follows_the_fence_and_ends_with_the_task(self, stage):
        results = stage.results
        for fence, value, kept in [
            (2, b"1", b"1"),
            (2, b"2", b"2"),
            (1, b"3", b"2"),
            (3, b"4", b"4"),
        ]:
            await results.progress([Progress("r", fence, value)])
            assert list(await results.progress_of(["r", "?"])) == [kept, None]
        await results.save([record(fence=3)])
        await results.progress([Progress("r", 3, b"5")])
        assert list(await results.progress_of(["r"])) == [b"4"]

    @promise("SAVE-4")
    async def test_expiry_can_be_set_anew(self, stage):
        await stage.results.save([record("a"), record("b")])
        assert list(await stage.results.expire(["a", "?"], ttl_ms=0)) == [True, False]
        assert list(await stage.results.load(["a"])) == [None]
        await stage.results.expire(["b"], ttl_ms=stage.unit_ms)
        await stage.let_pass(stage.unit_ms + 1)
        assert list(await stage.results.load(["b"])) == [None]


class CompanionContract:
    """Heartbeats, schedules and locks, for backends that have them."""

    @promise("BEAT-1")
    async def test_a_heartbeat_is_believed_for_its_time(self, stage):
        beats = stage.results.heartbeats
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

    @promise("SCHEDULE-1")
    async def test_of_two_savers_of_one_version_one_fails(self, stage):
        schedules = stage.results.schedules
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

    @promise("LOCK-1")
    async def test_a_lock_has_one_owner_and_a_fence_that_grows(self, stage):
        locks = stage.results.locks
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
