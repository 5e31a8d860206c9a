"""What a result backend promises."""

from __future__ import annotations

import asyncio
from itertools import permutations

import pytest

from stem_core.contracts.backend import Progress, RecordFilter
from stem_core.model.errors import WrongLoop
from stem_core.model.outcome import Record, State, TaskError
from stem_core.model.value import replace
from stem_core.testing.contract.promise import backend_promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBackend
from stem_core.testing.contract.values import (
    record,
)

__all__ = ["RecordContract"]

_LOOKS, _LOOK_S = 1_000, 0.01
"""What a cancelled wait had begun is over by then, in real time; the wait itself is far longer."""

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


_EXACT = (
    '"\\u0000 🌱 é"'.encode(),
    b'{"n": %d, "f": 1.0}' % (2**80 + 1),  # spaces, long ints and 1.0 as they were written
    b'"' + b"x" * 65_536 + b'"',
    b"null",
    None,
)


class RecordContract(OnBackend):
    """Records: the fence decides, never the order of arrival."""

    @backend_promise("BACKEND-1", "LOAD-1")
    async def test_replies_come_by_position_and_unknown_ids_are_none(self, stage: Stage) -> None:
        one, two = record("one", fence=1), record("two", fence=2)
        assert list(await stage.results.save([one, two, record("two", fence=1)])) == [
            True, True, False,
        ]  # fmt: skip
        assert list(await stage.results.load(["two", "?", "one"])) == [two, None, one]
        assert list(await stage.results.save([])) == []
        assert list(await stage.results.load([])) == []

    @backend_promise("BACKEND-2")
    async def test_a_handle_awaited_in_a_second_loop_raises(self, stage: Stage) -> None:
        await stage.results.load(["r"])
        with pytest.raises(WrongLoop):
            await asyncio.to_thread(lambda: asyncio.run(stage.results.load(["r"])))

    @backend_promise("SAVE-1", "LOAD-1")
    async def test_a_record_comes_back_whole(self, stage: Stage) -> None:
        assert list(await stage.results.save([FULL])) == [True]
        assert list(await stage.results.load(["r"])) == [FULL]

    @backend_promise("SAVE-1")
    async def test_of_two_savers_the_higher_fence_stays(self, stage: Stage) -> None:
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

    @backend_promise("REOPEN-1")
    async def test_a_replayed_task_is_queued_again_unless_a_newer_fence_has_written(
        self, stage: Stage
    ) -> None:
        dead = Record(id="m", state=State.DEAD, fence=3, reason="rejected", meta={"by": "ada"})
        await stage.results.save([dead])
        assert list(await stage.results.reopen([("m", 2), ("?", 1)])) == [True, False]
        assert await stage.results.load(["m"]) == [dead]
        await stage.results.reopen([("m", 3)])
        (record,) = await stage.results.load(["m"])
        assert record is not None
        assert (record.state, record.reason, record.meta) == (State.QUEUED, "", {"by": "ada"})
        assert list(await stage.results.save([replace(dead, fence=4)])) == [True]

    @backend_promise("SAVE-2")
    async def test_every_terminal_state_stays(self, stage: Stage) -> None:
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

    @backend_promise("SAVE-2")
    async def test_a_terminal_record_yields_to_a_newer_fence_only(self, stage: Stage) -> None:
        running = record(state=State.RUNNING, fence=1)
        done = record(fence=1, value=b"1")
        rerun = record(fence=2, value=b"2")
        for one, saved in [(running, True), (done, True), (running, False), (rerun, True)]:
            assert list(await stage.results.save([one])) == [saved]
        assert list(await stage.results.load(["r"])) == [rerun]

    @backend_promise("SAVE-3")
    async def test_the_very_same_record_again_is_fine_and_changes_nothing(
        self, stage: Stage
    ) -> None:
        done = record(fence=1, value=b"1", ttl_ms=2 * stage.unit_ms)
        assert list(await stage.results.save([done])) == [True]
        await stage.let_pass(stage.unit_ms)
        assert list(await stage.results.save([done])) == [True]
        await stage.let_pass(stage.unit_ms + 1)
        assert list(await stage.results.load(["r"])) == [None]

    @backend_promise("SAVE-4")
    async def test_a_record_is_gone_after_its_time(self, stage: Stage) -> None:
        await stage.results.save(
            [record("short", ttl_ms=stage.unit_ms), record("long", ttl_ms=10**6)]
        )
        await stage.let_pass(stage.unit_ms + 1)
        short, long = await stage.results.load(["short", "long"])
        assert short is None
        assert long is not None
        assert list(await stage.results.save([record("short", fence=0)])) == [True]

    @backend_promise("SAVE-5", "WAIT-2")
    async def test_a_waiter_is_woken_by_the_terminal_record(self, stage: Stage) -> None:
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

    @backend_promise("SAVE-5", "WAIT-2")
    async def test_waits_that_begin_together_are_woken_each_by_its_own_record(
        self, stage: Stage
    ) -> None:
        other, ids = stage.results.sibling(), [f"r{n}" for n in range(20)]
        waiting = {
            id: asyncio.ensure_future(stage.results.wait(id, timeout_ms=10**8)) for id in ids
        }
        await stage.breathe()
        cancelled, *kept = ids
        waiting[cancelled].cancel()  # one of many who leaves takes nothing from the others
        for id in reversed(kept):
            await other.save([record(id, value=b"1")])
            assert await waiting[id] == record(id, value=b"1")
        await asyncio.wait([waiting[cancelled]])
        await other.aclose()

    @backend_promise("WAIT-1")
    async def test_a_record_that_exists_is_returned_at_once(self, stage: Stage) -> None:
        done = record(value=b"1")
        await stage.results.save([done])
        assert await stage.results.wait("r", timeout_ms=10**8) == done
        assert await stage.results.wait("r", timeout_ms=0) == done

    @backend_promise("WAIT-2")
    async def test_a_wait_ends_with_its_time(self, stage: Stage) -> None:
        assert await stage.results.wait("r", timeout_ms=0) is None
        waiting = await stage.start(stage.results.wait("r", timeout_ms=stage.unit_ms))
        assert not waiting.done()
        await stage.let_pass(stage.unit_ms + 1)
        assert await waiting is None

    @backend_promise("WAIT-3")
    async def test_a_cancelled_wait_leaves_nothing_behind(self, stage: Stage) -> None:
        await stage.results.load(["r"])  # a connection that opens at its first use may stay
        before = asyncio.all_tasks()
        waiting = await stage.start(stage.results.wait("r", timeout_ms=10**8))
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        for _ in range(_LOOKS):  # what was on its way to the store may come to its end
            if asyncio.all_tasks() == before:
                break
            await asyncio.sleep(_LOOK_S)
        assert asyncio.all_tasks() == before
        assert list(await stage.results.save([record()])) == [True]

    @backend_promise("LIST-1", needs=("listing",))
    async def test_a_list_skips_none_and_repeats_none_while_others_add(self, stage: Stage) -> None:
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

    @backend_promise("LIST-1", needs=("listing",))
    async def test_a_list_shows_what_the_filter_asks_for(self, stage: Stage) -> None:
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

    @backend_promise("PROGRESS-1", needs=("progress",))
    async def test_progress_follows_the_fence_and_ends_with_the_task(self, stage: Stage) -> None:
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

    @backend_promise("SAVE-4")
    async def test_expiry_can_be_set_anew(self, stage: Stage) -> None:
        await stage.results.save([record("a"), record("b")])
        assert list(await stage.results.expire(["a", "?"], ttl_ms=0)) == [True, False]
        assert list(await stage.results.load(["a"])) == [None]
        await stage.results.expire(["b"], ttl_ms=stage.unit_ms)
        await stage.let_pass(stage.unit_ms + 1)
        assert list(await stage.results.load(["b"])) == [None]

    @backend_promise("SAVE-1", "LOAD-1")
    async def test_values_are_byte_exact(self, stage: Stage) -> None:
        sent = [record(f"r{n}", value=value) for n, value in enumerate(_EXACT)]
        assert list(await stage.results.save(sent)) == [True] * len(sent)
        assert list(await stage.results.load([each.id for each in sent])) == sent

    @backend_promise("SAVE-1", "SAVE-2")
    async def test_whatever_the_order_of_arrival_the_newest_fence_stays(self, stage: Stage) -> None:
        states = (State.SUCCEEDED, State.DEAD, State.RUNNING)
        for n, fences in enumerate(permutations((1, 2, 3))):
            for fence in fences:
                state = states[(fence + n) % len(states)]
                await stage.results.save([record(f"r{n}", state, fence=fence)])
            (kept,) = await stage.results.load([f"r{n}"])
            assert kept is not None
            assert (kept.fence, kept.state) == (3, states[(3 + n) % len(states)])
