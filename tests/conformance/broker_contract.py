"""What every broker promises, one test or more for each promise id."""

from __future__ import annotations

import asyncio

import pytest
from conformance.stage import Stage, message, promise

from stem_core.contracts.messages import (
    ACK,
    Cancellation,
    CancelStatus,
    DeadLetter,
    Delivery,
    ExtendStatus,
    Extension,
    Place,
    PublishStatus,
    Receipt,
    Release,
    ReleaseWhy,
    RetryLater,
    Settlement,
    SettleOutcome,
    SettleStatus,
    UniqueKey,
)
from stem_core.model.errors import WrongLoop
from stem_core.model.outcome import Reason, Record, State, TaskError
from stem_core.model.value import replace

NASTY = [b"\x00\x01\xff", "🌱\u0000é".encode(), b"x" * 65_536, b""]


def ended(delivery: Delivery, state: State = State.SUCCEEDED, **fields: object) -> Record:
    """The record that a worker saves with *delivery*."""
    return Record(
        **{"id": delivery.message.id, "state": state, "fence": delivery.receipt.fence, **fields}  # type: ignore[arg-type]
    )


def end(delivery: Delivery, outcome: SettleOutcome = ACK, **more: object) -> Settlement:
    """The settlement of *delivery*."""
    return Settlement(receipt=delivery.receipt, outcome=outcome, **more)  # type: ignore[arg-type]


def failure(attempt: int) -> TaskError:
    """An error of that attempt."""
    return TaskError(type="builtins.ValueError", message=f"no. {attempt}", attempt=attempt)


DEAD = DeadLetter(Reason.REJECTED)


class BrokerContract:
    """The verbs every worker and producer needs."""

    # ── of all verbs ─────────────────────────────────────────────────────────

    @promise("BROKER-1")
    async def test_the_brokers_own_clock_decides_what_is_due_and_what_lapsed(self, stage):
        await stage.publish(
            message("later", delay_ms=stage.unit_ms), message("now", lease_ms=2 * stage.unit_ms)
        )
        assert [d.message.id for d in await stage.fetch()] == ["now"]
        await stage.let_pass(stage.unit_ms + 1)
        assert [d.message.id for d in await stage.fetch()] == ["later"]
        await stage.let_pass(stage.unit_ms + 1)
        assert [d.message.id for d in await stage.fetch()] == ["now"]

    @promise("BROKER-2")
    async def test_replies_come_by_position_and_an_empty_batch_gets_an_empty_reply(self, stage):
        await stage.publish(message("a"), message("b"))
        replies = await stage.broker.publish([message("b"), message("c"), message("a")])
        assert [(r.status.value, r.id) for r in replies] == [
            ("duplicate", "b"),
            ("created", "c"),
            ("duplicate", "a"),
        ]
        found = await stage.broker.lookup(["c", "?", "a"])
        assert [f.message.id if f else None for f in found] == ["c", None, "a"]
        broker = stage.broker
        for verb in (broker.publish, broker.extend, broker.settle, broker.cancel, broker.lookup):
            assert list(await verb([])) == []

    @promise("BROKER-3")
    async def test_a_cancelled_call_was_made_or_was_not_made(self, stage):
        batch = [message(f"m{n}") for n in range(20)]
        call = asyncio.ensure_future(stage.broker.publish(batch))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        found = await stage.broker.lookup([m.id for m in batch])
        assert {f is None for f in found} in ({True}, {False})

    @promise("BROKER-4")
    async def test_a_handle_awaited_in_a_second_loop_raises(self, stage):
        await stage.publish(message())

        def elsewhere() -> None:
            asyncio.run(stage.broker.lookup(["m"]))

        with pytest.raises(WrongLoop, match="sibling"):
            await asyncio.to_thread(elsewhere)

    @promise("BROKER-5")
    async def test_bytes_come_back_as_they_went_in(self, stage):
        sent = [
            message(f"m{n}", body=body, signature=body[:64], algorithm="hmac-sha256", key_id="k")
            for n, body in enumerate(NASTY)
        ]
        await stage.publish(*sent)
        assert [d.message for d in await stage.fetch()] == sent
        assert [f.message for f in await stage.broker.lookup([m.id for m in sent])] == sent

    @promise("BROKER-6")
    async def test_nothing_vanishes_without_an_outcome(self, stage):
        await stage.publish(
            message("expired", expires_at_ms=1, lease_ms=stage.unit_ms),
            message("poisoned", max_lapses=1, lease_ms=stage.unit_ms),
        )
        for lapses in range(7):
            taken = await stage.fetch()
            assert sorted((d.message.id, d.lapses) for d in taken) == [
                ("expired", lapses),
                ("poisoned", lapses),
            ]
            await stage.let_pass(stage.unit_ms + 1)

    # ── publish ──────────────────────────────────────────────────────────────

    @promise("PUBLISH-1")
    async def test_a_created_message_is_there(self, stage):
        await stage.publish(message())
        found = await stage.where("m")
        assert found is not None
        assert (found.place, found.fence, found.attempt) == (Place.READY, 0, 0)

    @promise("PUBLISH-2")
    async def test_a_refused_message_does_no_harm_to_its_neighbours(self, stage):
        too_large = b"x" * (stage.broker.capabilities.max_payload + 1)
        replies = await stage.broker.publish(
            [message("a"), message("fat", body=too_large), message("b")]
        )
        assert [r.status.value for r in replies] == ["created", "refused", "created"]
        assert replies[1].reason
        assert [d.message.id for d in await stage.fetch()] == ["a", "b"]

    @promise("PUBLISH-3")
    async def test_the_same_message_again_makes_nothing_while_its_id_is_known(self, stage):
        sent = message(dedupe_for_ms=stage.unit_ms)
        await stage.publish(sent)
        assert await again(stage, sent) is PublishStatus.DUPLICATE
        delivery = await stage.take()
        assert await again(stage, sent) is PublishStatus.DUPLICATE
        await stage.settle(end(delivery))
        assert await again(stage, sent) is PublishStatus.DUPLICATE
        assert await stage.fetch() == []
        await stage.let_pass(stage.unit_ms + 1)
        assert await again(stage, sent) is PublishStatus.CREATED
        assert (await stage.take()).receipt.fence > delivery.receipt.fence

    @promise("PUBLISH-3")
    async def test_the_id_of_a_dead_letter_is_known(self, stage):
        await stage.publish(message(dedupe_for_ms=1))
        await stage.settle(end(await stage.take(), DEAD))
        await stage.let_pass(stage.unit_ms)
        assert await again(stage, message()) is PublishStatus.DUPLICATE

    @promise("PUBLISH-4")
    async def test_the_same_id_with_another_body_is_a_conflict(self, stage):
        await stage.publish(message(body=b"1"))
        other = message(body=b"2")
        assert await again(stage, other) is PublishStatus.CONFLICT
        delivery = await stage.take()
        assert delivery.message.body == b"1"
        await stage.settle(end(delivery))
        assert await again(stage, other) is PublishStatus.CONFLICT

    @promise("PUBLISH-5")
    async def test_a_held_unique_key_names_its_holder(self, stage):
        key = UniqueKey(key="k")
        await stage.publish(message("first", unique=key))
        (reply,) = await stage.broker.publish([message("second", unique=key)])
        assert (reply.status, reply.id) == (PublishStatus.UNIQUE, "first")
        assert await stage.where("second") is None

    @promise("PUBLISH-5")
    async def test_a_finished_key_is_free_at_the_end_and_not_before(self, stage):
        key = UniqueKey(key="k", until="finished")
        outcomes: list[SettleOutcome] = [ACK, DEAD]
        for n, outcome in enumerate(outcomes):
            await stage.publish(message(f"m{n}", unique=key))
            delivery = await stage.take()
            assert await again(stage, message(f"n{n}", unique=key)) is PublishStatus.UNIQUE
            await stage.settle(end(delivery, RetryLater(0)))
            assert await again(stage, message(f"n{n}", unique=key)) is PublishStatus.UNIQUE
            await stage.settle(end(await stage.take(), outcome))
        await stage.publish(message("last", unique=key))

    @promise("PUBLISH-5")
    async def test_a_started_key_is_free_with_the_first_lease(self, stage):
        key = UniqueKey(key="k", until="started")
        await stage.publish(message("a", unique=key))
        assert await again(stage, message("b", unique=key)) is PublishStatus.UNIQUE
        a = await stage.take()
        await stage.publish(message("b", unique=key))
        await stage.settle(end(a))
        assert await again(stage, message("c", unique=key)) is PublishStatus.UNIQUE

    @promise("PUBLISH-5")
    async def test_a_window_key_is_freed_by_time_alone(self, stage):
        key = UniqueKey(key="k", until="window", window_ms=2 * stage.unit_ms)
        await stage.publish(message("a", unique=key))
        await stage.settle(end(await stage.take()))
        assert await again(stage, message("b", unique=key)) is PublishStatus.UNIQUE
        await stage.let_pass(2 * stage.unit_ms + 1)
        await stage.publish(message("b", unique=key))

    @promise("PUBLISH-6")
    async def test_a_message_is_not_delivered_before_its_time(self, stage):
        await stage.publish(
            message("delay", delay_ms=2 * stage.unit_ms),
            message("instant", not_before_ms=stage.wall_ms() + 2 * stage.unit_ms),
            message("past", not_before_ms=1),
        )
        assert [d.message.id for d in await stage.fetch()] == ["past"]
        for id in ("delay", "instant"):
            found = await stage.where(id)
            assert found is not None
            assert found.place is Place.DELAYED
            assert abs(found.run_at_ms - stage.wall_ms() - 2 * stage.unit_ms) < stage.unit_ms
        await stage.let_pass(stage.unit_ms)
        assert await stage.fetch() == []
        await stage.let_pass(stage.unit_ms + 1)
        assert {d.message.id for d in await stage.fetch()} == {"delay", "instant"}

    @promise("PUBLISH-7")
    async def test_one_call_keeps_its_order(self, stage):
        ids = [f"m{n}" for n in (5, 3, 9, 1, 7)]
        await stage.publish(*map(message, ids))
        assert [d.message.id for d in await stage.fetch()] == ids

    @promise("PUBLISH-8")
    async def test_a_call_sent_again_after_an_error_makes_no_second_message(self, stage):
        batch = [message(f"m{n}") for n in range(stage.broker.capabilities.max_batch)]
        with pytest.raises(ValueError, match=r"\d+"):
            await stage.broker.publish([*batch, message("one-more")])
        assert set(await stage.broker.lookup([m.id for m in batch])) == {None}
        await stage.publish(*batch)
        assert {r.status for r in await stage.broker.publish(batch)} == {PublishStatus.DUPLICATE}
        assert len(await stage.fetch(limit=len(batch) + 1)) == len(batch)

    @promise("PUBLISH-9")
    async def test_a_call_beyond_the_limits_sends_nothing(self, stage):
        can = stage.broker.capabilities
        assert can.max_payload <= can.max_batch_bytes
        parts = can.max_batch_bytes // can.max_payload + 1
        body = b"x" * can.max_payload
        with pytest.raises(ValueError, match=str(can.max_batch_bytes)):
            await stage.broker.publish([message(f"m{n}", body=body) for n in range(parts)])
        assert await stage.fetch() == []
        (reply,) = await stage.broker.publish([message("fat", body=body + b"x")])
        assert reply.status is PublishStatus.REFUSED

    # ── fetch ────────────────────────────────────────────────────────────────

    @promise("FETCH-1")
    async def test_a_leased_message_is_not_leased_twice(self, stage):
        await stage.publish(*(message(f"m{n}") for n in range(50)))
        handles = [stage.broker, stage.sibling(), stage.sibling()]
        taken = await asyncio.gather(
            *(
                handle.fetch(["q"], limit=10, wait_ms=0, worker=f"w{n}")
                for n, handle in enumerate(handles * 3)
            )
        )
        ids = [d.message.id for batch in taken for d in batch]
        assert len(ids) == len(set(ids)) == 50

    @promise("FETCH-2")
    async def test_queues_go_first_then_priority_then_ready_time(self, stage):
        await stage.publish(
            message("b5", "b", priority=5),
            message("a0", "a", priority=0),
            message("a9", "a", priority=9),
            message("a9-late", "a", priority=9, delay_ms=stage.unit_ms),
            message("b9", "b", priority=9),
        )
        await stage.let_pass(stage.unit_ms + 1)
        await stage.publish(message("a9-last", "a", priority=9))
        taken = await stage.fetch("a", "b")
        assert [d.message.id for d in taken] == ["a9", "a9-late", "a9-last", "a0", "b9", "b5"]

    @promise("FETCH-3")
    async def test_the_limit_counts_over_all_queues(self, stage):
        await stage.publish(*(message(f"a{n}", "a") for n in range(3)))
        await stage.publish(*(message(f"b{n}", "b") for n in range(3)))
        assert [d.message.id for d in await stage.fetch("a", "b", limit=4)] == [
            "a0", "a1", "a2", "b0",
        ]  # fmt: skip
        # Fewer than the limit are ready: no waiting for more.
        rest = await stage.broker.fetch(["a", "b"], limit=9, wait_ms=10**9, worker="w")
        assert [d.message.id for d in rest] == ["b1", "b2"]

    @promise("FETCH-3")
    async def test_an_empty_fetch_ends_with_its_wait(self, stage):
        waiting = await stage.start(
            stage.broker.fetch(["q"], limit=1, wait_ms=stage.unit_ms, worker="w")
        )
        assert not waiting.done()
        await stage.let_pass(stage.unit_ms + 1)
        assert list(await waiting) == []

    @promise("FETCH-4")
    async def test_a_lapsed_lease_is_offered_again_with_one_lapse_more(self, stage):
        await stage.publish(message(lease_ms=stage.unit_ms))
        for lapses in range(3):
            delivery = await stage.take()
            assert (delivery.lapses, delivery.attempt) == (lapses, 1)
            assert await stage.fetch() == []
            await stage.let_pass(stage.unit_ms + 1)

    @promise("FETCH-5")
    async def test_the_fence_grows_through_everything(self, stage):
        await stage.publish(message(lease_ms=stage.unit_ms))
        first = await stage.take()
        fences = [first.receipt.fence]
        outcomes: list[SettleOutcome | None] = [
            RetryLater(0),
            Release(0, ReleaseWhy.SHUTDOWN),
            Release(0, ReleaseWhy.PARKED),
            None,
            DEAD,
        ]
        delivery = first
        for outcome in outcomes:
            if outcome is None:
                await stage.let_pass(stage.unit_ms + 1)
            else:
                assert await stage.settle(end(delivery, outcome)) is SettleStatus.DONE
            if outcome is DEAD and stage.broker.admin is not None:
                await stage.broker.admin.replay(["m"])
            delivery = await stage.take()
            fences.append(delivery.receipt.fence)
        assert fences == list(range(fences[0], fences[0] + len(fences)))

    @promise("FETCH-6")
    async def test_a_lease_lasts_as_long_as_the_message_says(self, stage):
        await stage.publish(
            message("short", lease_ms=stage.unit_ms), message("long", lease_ms=3 * stage.unit_ms)
        )
        leases = {d.message.id: d.lease_ms for d in await stage.fetch()}
        assert 0 < leases["short"] <= stage.unit_ms < leases["long"] <= 3 * stage.unit_ms
        await stage.let_pass(stage.unit_ms + 1)
        assert [d.message.id for d in await stage.fetch()] == ["short"]
        found = await stage.where("long")
        assert found is not None
        assert (found.place, found.worker) == (Place.LEASED, "w1")
        assert 0 < found.lease_ms < 2 * stage.unit_ms

    @promise("FETCH-7")
    async def test_a_message_that_becomes_ready_ends_the_wait(self, stage):
        other = stage.sibling()

        async def publish(**fields: object) -> None:
            await other.publish([message(**fields)])  # type: ignore[arg-type]

        async def after_a_delay() -> None:
            await publish(id="b", delay_ms=stage.unit_ms)
            await stage.breathe()
            await stage.let_pass(stage.unit_ms + 1)

        async def after_a_lapse() -> None:
            await publish(id="c", queue="elsewhere", lease_ms=stage.unit_ms)
            await other.fetch(["elsewhere"], limit=1, wait_ms=0, worker="dies")
            await stage.breathe()
            await stage.let_pass(stage.unit_ms + 1)

        for id, make_ready in [
            ("a", lambda: publish(id="a")),
            ("b", after_a_delay),
            ("c", after_a_lapse),
        ]:
            waiting = await stage.start(
                stage.broker.fetch(["q", "elsewhere"], limit=1, wait_ms=10**8, worker="w")
            )
            assert not waiting.done()
            await make_ready()
            assert [d.message.id for d in await waiting] == [id]

    @promise("FETCH-7")
    async def test_no_wake_up_is_missed_between_many_waiters(self, stage):
        waiting = [
            await stage.start(handle.fetch(["q"], limit=1, wait_ms=10**8, worker="w"))
            for handle in [stage.broker, stage.sibling(), stage.sibling()]
        ]
        for n in range(3):
            await stage.publish(message(f"m{n}"))
        taken = await asyncio.gather(*waiting)
        assert sorted(d.message.id for batch in taken for d in batch) == ["m0", "m1", "m2"]

    @promise("FETCH-8")
    async def test_a_cancelled_fetch_leaves_no_trace_but_the_fence(self, stage):
        for n in range(5):
            waiting = await stage.start(
                stage.broker.fetch(["q"], limit=1, wait_ms=10**8, worker="w")
            )
            publishing = asyncio.ensure_future(stage.publish(message(f"m{n}")))
            for _ in range(n):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting, publishing])
            await stage.breathe()
            if waiting.cancelled():
                (delivery,) = await stage.fetch()
            else:
                (delivery,) = waiting.result()
            assert (delivery.lapses, delivery.attempt, delivery.releases) == (0, 1, 0)
            await stage.settle(end(delivery))

    @promise("FETCH-9")
    async def test_a_paused_queue_gives_nothing_and_the_others_go_on(self, stage):
        assert stage.broker.admin is not None
        await stage.broker.admin.pause("a")
        await stage.publish(message("a", "a"), message("b", "b"))
        assert [d.message.id for d in await stage.fetch("a", "b")] == ["b"]
        await stage.broker.admin.resume("a")
        assert [d.message.id for d in await stage.fetch("a", "b")] == ["a"]

    @promise("FETCH-10")
    async def test_expired_and_poisoned_messages_are_delivered(self, stage):
        await stage.publish(message("expired", expires_at_ms=1), message("poisoned", max_lapses=0))
        assert [d.message.id for d in await stage.fetch()] == ["expired", "poisoned"]

    # ── extend ───────────────────────────────────────────────────────────────

    @promise("EXTEND-1")
    async def test_an_extension_counts_from_now_longer_or_shorter(self, stage):
        await stage.publish(message(lease_ms=2 * stage.unit_ms))
        delivery = await stage.take()
        for lease_ms in (5 * stage.unit_ms, stage.unit_ms):
            (reply,) = await stage.broker.extend([Extension(delivery.receipt, lease_ms)])
            assert reply.status is ExtendStatus.HELD
            assert 0 < reply.remaining_ms <= lease_ms
        await stage.let_pass(stage.unit_ms + 1)
        assert (await stage.take()).lapses == 1

    @promise("EXTEND-2")
    async def test_an_extension_changes_no_counter(self, stage):
        await stage.publish(message())
        delivery = await stage.take()
        before = await stage.where("m")
        await stage.broker.extend([Extension(delivery.receipt, 30_000)])
        after = await stage.where("m")
        assert before is not None
        assert after is not None
        assert replace(before, lease_ms=0) == replace(after, lease_ms=0)

    @promise("EXTEND-3")
    async def test_a_lease_that_is_not_mine_any_more_is_lost(self, stage):
        await stage.publish(message(lease_ms=stage.unit_ms), message("ended"))
        mine, done = await stage.fetch()
        await stage.settle(end(done))
        await stage.let_pass(stage.unit_ms + 1)
        other = await stage.take(worker="w2")
        before = await stage.where("m")
        stale = [mine.receipt, done.receipt, Receipt("unknown", "q", 1)]
        replies = await stage.broker.extend([Extension(r, 10**6) for r in stale])
        assert [(r.status.value, r.remaining_ms) for r in replies] == [("lost", 0)] * 3
        assert await stage.where("m") == before
        assert await stage.settle(end(other)) is SettleStatus.DONE

    @promise("EXTEND-4")
    async def test_a_lapsed_lease_that_nobody_took_is_held_again(self, stage):
        await stage.publish(message(lease_ms=stage.unit_ms))
        delivery = await stage.take()
        await stage.let_pass(stage.unit_ms + 1)
        await stage.fetch("some-other-queue")  # whatever this sweeps, it gives "m" to nobody
        (reply,) = await stage.broker.extend([Extension(delivery.receipt, stage.unit_ms)])
        assert reply.status is ExtendStatus.HELD
        assert await stage.fetch() == []
        assert await stage.settle(end(delivery)) is SettleStatus.DONE

    @promise("EXTEND-5")
    async def test_the_holder_learns_of_a_cancel(self, stage):
        await stage.publish(message())
        delivery = await stage.take()
        await stage.broker.cancel([Cancellation(id="m")])
        (reply,) = await stage.broker.extend([Extension(delivery.receipt, 30_000)])
        assert reply.status is ExtendStatus.CANCEL_REQUESTED
        assert reply.remaining_ms > 0

    # ── settle ───────────────────────────────────────────────────────────────

    @promise("SETTLE-1")
    async def test_outcome_record_and_follow_ups_happen_together(self, stage):
        await stage.publish(message())
        delivery = await stage.take()
        follow_ups = (message("f1"), message("f2", delay_ms=stage.unit_ms))
        status = await stage.settle(
            end(delivery, record=ended(delivery, value=b"1"), follow_ups=follow_ups)
        )
        assert status is SettleStatus.DONE
        assert await stage.where("m") is None
        (record,) = await stage.results.load(["m"])
        assert record is not None
        assert record.value == b"1"
        places = [f.place for f in await stage.broker.lookup(["f1", "f2"])]
        assert places == [Place.READY, Place.DELAYED]

    @promise("SETTLE-1", "SETTLE-9")
    async def test_a_settlement_that_is_refused_changes_nothing(self, stage):
        await stage.publish(message(), message("taken", body=b"1"))
        delivery, _ = await stage.fetch()
        before = await stage.where("m")
        (reply,) = await stage.broker.settle(
            [
                end(
                    delivery,
                    record=ended(delivery),
                    follow_ups=(message("f"), message("taken", body=b"2")),
                )
            ]
        )
        assert reply.status is SettleStatus.INVALID
        assert "taken" in reply.detail
        assert await stage.where("m") == before
        assert await stage.where("f") is None
        assert await stage.results.load(["m"]) == [None]
        assert await stage.settle(end(delivery)) is SettleStatus.DONE

    @promise("SETTLE-2")
    async def test_a_stale_receipt_can_do_nothing(self, stage):
        outcomes: list[SettleOutcome] = [ACK, RetryLater(0), DEAD, Release(0, ReleaseWhy.SHUTDOWN)]
        await stage.publish(message(lease_ms=stage.unit_ms))
        old = await stage.take()
        await stage.let_pass(stage.unit_ms + 1)
        new = await stage.take(worker="w2")
        before = await stage.where("m")
        for outcome in outcomes:
            zombie = end(old, outcome, record=ended(old), follow_ups=(message("f"),))
            assert await stage.settle(zombie) is SettleStatus.STALE
        assert await stage.where("m") == before
        assert await stage.where("f") is None
        assert await stage.results.load(["m"]) == [None]
        forged = Receipt("m", "q", new.receipt.fence + 1)
        assert await stage.settle(Settlement(receipt=forged)) is SettleStatus.STALE
        assert await stage.settle(end(new)) is SettleStatus.DONE
        assert await stage.settle(end(old)) is SettleStatus.STALE

    @promise("SETTLE-3")
    async def test_a_settlement_sent_again_is_already_done(self, stage):
        outcomes: list[SettleOutcome] = [
            RetryLater(0, failure(1)),
            RetryLater(10**6),
            Release(0, ReleaseWhy.LIMITED),
            Release(10**6, ReleaseWhy.PARKED),
            DEAD,
            ACK,
        ]
        for n, outcome in enumerate(outcomes):
            await stage.publish(message(f"m{n}", f"q{n}"))
            delivery = await stage.take(f"q{n}")
            sent = end(
                delivery, outcome, record=ended(delivery), follow_ups=(message(f"f{n}", "f"),)
            )
            assert await stage.settle(sent) is SettleStatus.DONE
            after = await stage.where(f"m{n}")
            assert await stage.settle(sent) is SettleStatus.ALREADY
            assert await stage.where(f"m{n}") == after
        assert len(await stage.fetch("f")) == len(outcomes)

    @promise("SETTLE-4")
    async def test_an_ack_ends_the_message_and_leaves_its_id(self, stage):
        await stage.publish(message())
        await stage.settle(end(await stage.take()))
        assert await stage.where("m") is None
        assert await again(stage, message()) is PublishStatus.DUPLICATE
        assert await stage.fetch() == []

    @promise("SETTLE-5")
    async def test_a_retry_keeps_the_bytes_and_counts_the_attempt(self, stage):
        sent = message(body=b"\x00!", signature=b"sig", key_id="k", algorithm="a")
        await stage.publish(sent)
        for n in range(1, 25):
            delivery = await stage.take()
            assert delivery.message == sent
            assert (delivery.attempt, delivery.lapses) == (n, 0)
            assert [e.attempt for e in delivery.errors] == list(range(1, n))[-20:]
            await stage.settle(end(delivery, RetryLater(0, failure(n))))
        await stage.settle(end(await stage.take(), RetryLater(stage.unit_ms)))
        found = await stage.where("m")
        assert found is not None
        assert (found.place, found.attempt) == (Place.DELAYED, 25)
        assert await stage.fetch() == []
        await stage.let_pass(stage.unit_ms + 1)
        assert (await stage.take()).attempt == 26

    @promise("SETTLE-5", "FETCH-2")
    async def test_a_retry_at_once_stands_behind_what_is_ready(self, stage):
        await stage.publish(message("fails"), message("waits"))
        (delivery,) = await stage.fetch(limit=1)
        await stage.settle(end(delivery, RetryLater(0)))
        assert [d.message.id for d in await stage.fetch()] == ["waits", "fails"]

    @promise("SETTLE-5")
    async def test_a_retry_wipes_the_lapses(self, stage):
        await stage.publish(message(lease_ms=stage.unit_ms))
        await stage.take()
        await stage.let_pass(stage.unit_ms + 1)
        await stage.settle(end(await stage.take(), RetryLater(0)))
        assert (await stage.take()).lapses == 0

    @promise("SETTLE-6")
    async def test_a_dead_letter_is_kept_whole(self, stage):
        sent = message(body=b"\x00!", signature=b"sig", unique=UniqueKey(key="k"))
        await stage.publish(sent)
        await stage.settle(end(await stage.take(), RetryLater(0, failure(1))))
        last = await stage.take()
        await stage.settle(
            end(last, DeadLetter(Reason.MAX_RETRIES_EXHAUSTED, failure(2), keep_ms=stage.unit_ms))
        )
        found = await stage.where("m")
        assert found is not None
        assert (found.place, found.message, found.reason) == (
            Place.DEAD, sent, "max-retries-exhausted",
        )  # fmt: skip
        assert (found.fence, found.attempt) == (last.receipt.fence, 2)
        assert [e.message for e in found.errors] == ["no. 1", "no. 2"]
        assert abs(found.died_at_ms - stage.wall_ms()) < stage.unit_ms
        assert await stage.fetch() == []
        await stage.publish(message("next", unique=UniqueKey(key="k")))
        await stage.let_pass(2 * stage.unit_ms)
        assert await stage.where("m") is None

    @promise("SETTLE-7")
    async def test_a_release_at_once_goes_before_younger_messages(self, stage):
        await stage.publish(*(message(f"m{n}") for n in range(5)))
        first, second, third = await stage.fetch(limit=3)
        back = Release(0, ReleaseWhy.SHUTDOWN)
        await stage.broker.settle([end(third, back), end(first, back), end(second, back)])
        taken = await stage.fetch()
        assert [d.message.id for d in taken] == ["m0", "m1", "m2", "m3", "m4"]
        assert [d.releases for d in taken] == [1, 1, 1, 0, 0]
        assert {(d.attempt, d.lapses) for d in taken} == {(1, 0)}

    @promise("SETTLE-7")
    async def test_a_release_with_a_wait_is_late_by_it(self, stage):
        await stage.publish(message())
        await stage.settle(end(await stage.take(), Release(stage.unit_ms, ReleaseWhy.SNOOZE)))
        found = await stage.where("m")
        assert found is not None
        assert found.place is Place.DELAYED
        assert await stage.fetch() == []
        await stage.let_pass(stage.unit_ms + 1)
        assert (await stage.take()).releases == 1

    @promise("SETTLE-7")
    async def test_a_parked_message_shows_it_until_it_is_leased(self, stage):
        await stage.publish(message())
        delivery = await stage.take()
        assert delivery.parked_ms == 0
        for _ in range(2):
            await stage.settle(end(delivery, Release(stage.unit_ms, ReleaseWhy.PARKED)))
            found = await stage.where("m")
            assert found is not None
            assert found.place is Place.PARKED
            assert found.run_at_ms > 0
            await stage.let_pass(stage.unit_ms + 1)
            await stage.fetch("some-other-queue")
            found = await stage.where("m")
            assert found is not None
            assert found.place is Place.PARKED
            delivery = await stage.take()
        assert delivery.parked_ms >= 2 * stage.unit_ms
        assert delivery.releases == 2

    @promise("SETTLE-8")
    async def test_a_record_that_may_not_be_saved_makes_the_settlement_stale(self, stage):
        await stage.publish(message())
        delivery = await stage.take()
        newer = ended(delivery, fence=delivery.receipt.fence + 1, value=b'"newer"')
        await stage.results.save([newer])
        before = await stage.where("m")
        assert (
            await stage.settle(end(delivery, record=ended(delivery), follow_ups=(message("f"),)))
            is SettleStatus.STALE
        )
        assert await stage.where("m") == before
        assert await stage.where("f") is None
        assert await stage.results.load(["m"]) == [newer]

    @promise("SETTLE-9")
    async def test_a_follow_up_that_exists_counts_as_published(self, stage):
        key = UniqueKey(key="k")
        await stage.publish(message(), message("f"), message("holder", unique=key))
        delivery = (await stage.fetch(limit=1))[0]
        status = await stage.settle(
            end(delivery, follow_ups=(message("f"), message("refused", unique=key)))
        )
        assert status is SettleStatus.DONE
        assert await stage.where("refused") is None
        assert [d.message.id for d in await stage.fetch()] == ["f", "holder"]

    @promise("SETTLE-10")
    async def test_an_unknown_id_is_gone(self, stage):
        unknown = Settlement(receipt=Receipt("never", "q", 1), record=None)
        assert await stage.settle(unknown) is SettleStatus.GONE

    @promise("SETTLE-11")
    async def test_a_lapsed_lease_that_nobody_took_can_be_settled(self, stage):
        await stage.publish(message(lease_ms=stage.unit_ms))
        delivery = await stage.take()
        await stage.let_pass(stage.unit_ms + 1)
        await stage.fetch("some-other-queue")
        assert await stage.settle(end(delivery, record=ended(delivery))) is SettleStatus.DONE
        assert await stage.fetch() == []

    # ── cancel and lookup ────────────────────────────────────────────────────

    @promise("CANCEL-1")
    async def test_a_waiting_message_is_cancelled_at_once(self, stage):
        key = UniqueKey(key="k")
        await stage.publish(
            message("ready", unique=key),
            message("delayed", delay_ms=10**6),
            message("parked", "p"),
        )
        await stage.settle(end(await stage.take("p"), Release(10**6, ReleaseWhy.PARKED)))
        ids = ["ready", "delayed", "parked"]
        replies = await stage.broker.cancel(
            [
                Cancellation(id=id, record=Record(id=id, state=State.CANCELLED, reason="enough"))
                for id in ids
            ]
        )
        assert [r.status for r in replies] == [CancelStatus.CANCELLED] * 3
        assert [r.message.id for r in replies if r.message] == ids
        assert [r.state for r in await stage.results.load(ids)] == [State.CANCELLED] * 3
        assert replies[2].fence == (await stage.results.load(["parked"]))[0].fence > 0
        assert set(await stage.broker.lookup(ids)) == {None}
        assert await stage.fetch("q", "p") == []
        assert await again(stage, message("delayed")) is PublishStatus.DUPLICATE
        await stage.publish(message("next", unique=key))

    @promise("CANCEL-2")
    async def test_a_running_message_is_marked(self, stage):
        await stage.publish(message())
        delivery = await stage.take()
        (reply,) = await stage.broker.cancel(
            [Cancellation(id="m", reason="why", record=Record(id="m", state=State.CANCELLED))]
        )
        assert reply.status is CancelStatus.REQUESTED
        assert await stage.results.load(["m"]) == [None]
        (told,) = await stage.broker.extend([Extension(delivery.receipt, stage.unit_ms)])
        assert (told.status, told.cancel_reason) == (ExtendStatus.CANCEL_REQUESTED, "why")
        found = await stage.where("m")
        assert found is not None
        assert (found.cancel_requested, found.cancel_reason) == (True, "why")
        await stage.settle(end(delivery, RetryLater(0)))
        taken = await stage.take()
        assert (taken.cancel_requested, taken.cancel_reason) == (True, "why")

    @promise("BROKER-7")
    async def test_a_settlement_larger_than_a_batch_is_invalid_and_changes_nothing(self, stage):
        await stage.publish(message())
        delivery = await stage.take()
        too_large = b"1" * (stage.broker.capabilities.max_batch_bytes + 1)
        settlement = end(delivery, record=ended(delivery, value=too_large))
        assert await stage.settle(settlement) is SettleStatus.INVALID
        assert await stage.results.load(["m"]) == [None]
        assert await stage.settle(end(delivery, record=ended(delivery))) is SettleStatus.DONE

    @promise("BROKER-8")
    async def test_a_retry_waits_and_a_dead_letter_is_kept_whatever_is_declared(self, stage):
        await stage.publish(message())
        await stage.settle(end(await stage.take(), RetryLater(10 * stage.unit_ms)))
        assert await stage.fetch() == []
        await stage.let_pass(10 * stage.unit_ms)
        await stage.settle(end(await stage.take(), DEAD))
        found = await stage.where("m")
        assert found is not None
        assert found.place is Place.DEAD

    @promise("CANCEL-3")
    async def test_what_has_ended_stays_as_it_is(self, stage):
        await stage.publish(message("acked"), message("dead"))
        acked, dead = await stage.fetch()
        await stage.settle(end(acked, record=ended(acked)))
        await stage.settle(end(dead, DEAD, record=ended(dead, State.DEAD)))
        before = await stage.where("dead")
        ids = ["acked", "dead", "unknown"]
        replies = await stage.broker.cancel(
            [Cancellation(id=id, record=Record(id=id, state=State.CANCELLED)) for id in ids]
        )
        assert [r.status.value for r in replies] == ["finished", "finished", "unknown"]
        assert await stage.where("dead") == before
        states = [r and r.state for r in await stage.results.load(ids)]
        assert states == [State.SUCCEEDED, State.DEAD, None]

    @promise("LOOKUP-1")
    async def test_looking_changes_nothing(self, stage):
        await stage.publish(
            message("due", delay_ms=stage.unit_ms), message("lapsed", lease_ms=stage.unit_ms)
        )
        await stage.take()
        await stage.let_pass(stage.unit_ms + 1)
        for _ in range(2):
            found = await stage.broker.lookup(["due", "lapsed"])
            assert [(f.place, f.lapses) for f in found] == [(Place.DELAYED, 0), (Place.LEASED, 0)]
        assert {d.message.id for d in await stage.fetch()} == {"due", "lapsed"}

    @promise("LOOKUP-2")
    async def test_live_and_dead_messages_are_found_and_ended_ones_are_not(self, stage):
        await stage.publish(message("live", "other"), message("dead"), message("ended"))
        dead, done = await stage.fetch()
        await stage.settle(end(dead, DEAD))
        await stage.settle(end(done))
        found = await stage.broker.lookup(["live", "dead", "ended"])
        assert [f and f.place for f in found] == [Place.READY, Place.DEAD, None]

    # ── handles ──────────────────────────────────────────────────────────────

    @promise("SIBLING-1")
    async def test_a_sibling_works_in_another_thread_and_closes_by_itself(self, stage):
        await stage.publish(message())
        sibling = stage.broker.sibling()
        assert sibling.store_id == stage.broker.store_id

        async def elsewhere() -> str:
            (delivery,) = await sibling.fetch(["q"], limit=1, wait_ms=0, worker="w2")
            await sibling.publish([message("from-there")])
            await sibling.aclose()
            return delivery.message.id

        assert await asyncio.to_thread(lambda: asyncio.run(elsewhere())) == "m"
        assert (await stage.take()).message.id == "from-there"

    @promise("CLOSE-1")
    async def test_closing_twice_is_fine_and_leaves_leases_to_lapse(self, stage):
        sibling = stage.sibling()
        await stage.publish(message(lease_ms=stage.unit_ms))
        await sibling.fetch(["q"], limit=1, wait_ms=0, worker="w2")
        await sibling.aclose()
        await sibling.aclose()
        assert await stage.fetch() == []
        await stage.let_pass(stage.unit_ms + 1)
        assert (await stage.take()).lapses == 1


async def again(stage: Stage, sent: object) -> PublishStatus:
    """Publish one message and say what became of it."""
    (reply,) = await stage.broker.publish([sent])  # type: ignore[list-item]
    return reply.status
