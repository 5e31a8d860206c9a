"""What `cancel` and `lookup` promise."""

from __future__ import annotations

from stem_core.contracts.messages import (
    ACK,
    Cancellation,
    CancelStatus,
    ExtendStatus,
    Extension,
    Place,
    PublishStatus,
    Release,
    ReleaseWhy,
    RetryLater,
    SettleOutcome,
    UniqueKey,
)
from stem_core.model.outcome import Record, State
from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBroker
from stem_core.testing.contract.values import (
    DEAD,
    LONG,
    end,
    ended,
    message,
)

__all__ = ["CancelContract"]


class CancelContract(OnBroker):
    """Tasks that shall not run, and where they all are."""

    @promise("CANCEL-1", needs=("atomic_results", "cancel", "delay"))
    async def test_a_waiting_message_is_cancelled_at_once(self, stage: Stage) -> None:
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
        records = await stage.results.load(ids)
        assert [r and r.state for r in records] == [State.CANCELLED] * 3
        assert [r and r.fence for r in records] == [reply.fence for reply in replies]
        assert replies[2].fence > 0
        assert set(await stage.broker.lookup(ids)) == {None}
        assert await stage.fetch("q", "p") == []
        assert await stage.again(message("delayed")) is PublishStatus.DUPLICATE
        await stage.publish(message("next", unique=key))

    @promise("CANCEL-2", needs=("cancel",))
    async def test_a_running_message_is_marked(self, stage: Stage) -> None:
        await stage.publish(message())
        delivery = await stage.take()
        (reply,) = await stage.broker.cancel(
            [Cancellation(id="m", reason="why", record=Record(id="m", state=State.CANCELLED))]
        )
        assert reply.status is CancelStatus.REQUESTED
        assert await stage.record("m") is None
        (told,) = await stage.broker.extend([Extension(delivery.receipt, stage.unit_ms)])
        assert (told.status, told.cancel_reason) == (ExtendStatus.CANCEL_REQUESTED, "why")
        found = await stage.found("m")
        assert (found.cancel_requested, found.cancel_reason) == (True, "why")
        await stage.settle(end(delivery, RetryLater(0)))
        taken = await stage.take()
        assert (taken.cancel_requested, taken.cancel_reason) == (True, "why")

    @promise("CANCEL-3", needs=("cancel",))
    async def test_what_has_ended_stays_as_it_is(self, stage: Stage) -> None:
        await stage.publish(message("acked"), message("dead"))
        acked, dead = await stage.fetch()
        await stage.settle(end(acked, record=ended(acked)))
        await stage.settle(end(dead, DEAD, record=ended(dead, State.DEAD)))
        before = await stage.found("dead")
        ids = ["acked", "dead", "unknown"]
        replies = await stage.broker.cancel(
            [Cancellation(id=id, record=Record(id=id, state=State.CANCELLED)) for id in ids]
        )
        assert [r.status.value for r in replies] == ["finished", "finished", "unknown"]
        await stage.assert_same("dead", before)
        records = [await stage.record(id) for id in ids]
        if stage.is_atomic:
            assert [r and r.state for r in records] == [State.SUCCEEDED, State.DEAD, None]

    @promise("LOOKUP-1", needs=("delay",))
    async def test_looking_changes_nothing(self, stage: Stage) -> None:
        await stage.publish(
            message("due", delay_ms=stage.unit_ms), message("lapsed", lease_ms=stage.unit_ms)
        )
        await stage.take()
        await stage.let_pass(stage.unit_ms + 1)
        for _ in range(2):
            due, lapsed = await stage.places("due", "lapsed")
            assert due in stage.due_shows
            assert lapsed is Place.LEASED
            assert (await stage.found("lapsed")).lapses == 0
        assert {d.message.id for d in await stage.fetch()} == {"due", "lapsed"}

    @promise("LOOKUP-2")
    async def test_live_and_dead_messages_are_found_and_ended_ones_are_not(
        self, stage: Stage
    ) -> None:
        await stage.publish(message("live", "other"), message("dead"), message("ended"))
        dead, done = await stage.fetch()
        await stage.settle(end(dead, DEAD))
        await stage.settle(end(done))
        assert await stage.places("live", "dead", "ended") == [Place.READY, Place.DEAD, None]

    @promise("CANCEL-1", "CANCEL-2", "CANCEL-3", needs=("cancel",))
    async def test_in_every_state_a_cancellation_does_what_that_state_allows(
        self, stage: Stage
    ) -> None:
        ready, marked, over = CancelStatus.CANCELLED, CancelStatus.REQUESTED, CancelStatus.FINISHED
        waiting: dict[str, SettleOutcome] = {
            "retried": RetryLater(LONG),
            "snoozed": Release(LONG, ReleaseWhy.SNOOZE),
        }
        outcomes: dict[str, SettleOutcome] = {
            **waiting,
            "parked": Release(LONG, ReleaseWhy.PARKED),
            "released": Release(0, ReleaseWhy.LIMITED),
            "acked": ACK,
            "dead": DEAD,
        }
        for id, outcome in outcomes.items():
            await stage.publish(message(id, id))
            await stage.settle(end(await stage.take(id), outcome))
        await stage.publish(message("lapsed", "lapsed", lease_ms=stage.unit_ms))
        await stage.publish(message("leased", "leased"), message("ready"))
        await stage.fetch("lapsed", "leased")
        await stage.let_pass(stage.unit_ms + 1)
        expected = {
            **dict.fromkeys(("ready", *waiting, "parked", "released"), ready),
            **dict.fromkeys(("leased", "lapsed"), marked),
            **dict.fromkeys(("acked", "dead"), over),
            "unknown": CancelStatus.UNKNOWN,
        }
        replies = await stage.broker.cancel([Cancellation(id=id) for id in expected])
        # A lapsed lease that nobody took may count as waiting: then the message ends at once.
        told = {id: reply.status for id, reply in zip(expected, replies, strict=True)}
        if told["lapsed"] is ready:
            expected["lapsed"] = ready
        assert told == expected
        gone = [id for id, status in expected.items() if status is ready]
        assert await stage.places(*gone) == [None] * len(gone)
        assert await stage.fetch("q", *outcomes, limit=9) == []
