"""A store and the model side by side: each step is done at both, and what comes is compared.

Rule of this module: what is promised is in `reference`, and chance is in `machine`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from hypothesis import reject

from stem_core.contracts.broker import Broker
from stem_core.contracts.messages import (
    Cancellation,
    Cancelled,
    CancelStatus,
    Delivery,
    Extension,
    Message,
    Place,
    Receipt,
    Settlement,
)
from stem_core.testing.contract.stage import Stage
from stem_core.testing.model.bench import Bench, StageFactory
from stem_core.testing.model.drafts import (
    IDS,
    QUEUES,
    Draft,
    End,
    cancelled_record,
    error_of,
    message_of,
    newer_record,
    outcome_of,
    record_of,
)
from stem_core.testing.model.reference import Reference
from stem_core.testing.model.sight import Sight, agree, look, page_through, shows_it_was_taken_up

__all__ = ["Comparison"]

R = TypeVar("R")


class Comparison:
    """A fresh stage and a model of it. A step that differs raises `AssertionError`.

    Attributes:
        is_sound: both are in the same state, as far as can be seen.
        is_idle: nothing was done since time has passed, or at all.
    """

    def __init__(self, factory: StageFactory) -> None:
        self.bench: Final = Bench(factory)
        self.stage: Final = self.bench.stage
        self.can: Final = self.stage.broker.capabilities
        self.model: Final = Reference(
            wall_offset_ms=self.stage.wall_ms() - self.bench.now_ms, slack_ms=self.bench.slack_ms
        )
        self.is_sound = False
        self.is_idle = True
        self._sight: Sight | None = None

    def has(self, capability: str) -> bool:
        """Decide whether the broker declares *capability*; "admin" is the companion, "records"
        stands for a backend that settlements save in."""
        if capability == "records":
            return self.stage.is_atomic
        if capability == "admin":
            return self.stage.broker.admin is not None
        return bool(getattr(self.can, capability))

    def ids_in(self, *places: Place) -> list[str]:
        """Return the ids of the messages in *places*."""
        return sorted(id for id, life in self.model.lives.items() if life.place in places)

    def new_ids(self) -> list[str]:
        """Return the ids that are not known."""
        return [id for id in IDS if self.model.body_of(id) is None]

    # ── one step ─────────────────────────────────────────────────────────────

    def begin(self, handle: int = 0) -> Broker:
        """Begin a step by one of the handles, far from any moment on a real clock."""
        self.is_sound = False
        self.bench.keep_clear_of(self.model.moments())
        self.model.now_ms = self.bench.now_ms
        return self.bench.handles[handle]

    def ask(
        self, work: Coroutine[Any, Any, R], ended: Callable[[R], Iterable[str]] = lambda reply: ()
    ) -> R:
        """Do *work*, look at everything, and tell the model which freedoms the store took.

        *ended* gives the ids that the step has ended by itself.
        """
        self.is_idle = False
        began_ms, moments = self.model.now_ms, self.model.moments()
        reply, self._sight = self.bench.run(_and_look(work, self.stage))
        if self.bench.was_slow(began_ms, moments):
            reject()
        self._take_up(self._sight, frozenset(ended(reply)))
        return reply

    def _take_up(self, sight: Sight, ended: frozenset[str]) -> None:
        """Tell the model of what is due what the store has taken up, as far as it shows."""
        for id, life in self.model.lives.items():
            if self.model.is_overdue(life) and (
                id in ended or shows_it_was_taken_up(life, sight.places[id])
            ):
                self.model.take_up(id)

    def check(self) -> None:
        """Compare all that can be seen: each message is in its one place, with its counters."""
        self.is_sound = False
        if self._sight is None:
            was_idle = self.is_idle
            self.begin()
            self.ask(_nothing())
            self.is_idle = was_idle
        assert self._sight is not None
        self._sight.compare(self.model)
        self._sight = None
        self.is_sound = True

    def let_pass(self, duration_ms: int) -> None:
        """Let time pass."""
        self.is_sound, self.is_idle = False, True
        self.bench.let_pass(duration_ms)

    def next_moment_ms(self) -> int | None:
        """Return how long it is until something changes by itself; None if nothing does."""
        ahead = [each - self.bench.now_ms for each in self.model.moments()]
        return min((each for each in ahead if each > 0), default=None)

    # ── producers ────────────────────────────────────────────────────────────

    def message(self, draft: Draft) -> Message:
        """Return *draft* as a message from now on."""
        unit_ms, wall_ms = self.stage.unit_ms, self.model.wall_ms
        return message_of(draft, self.can, unit_ms=unit_ms, wall_ms=wall_ms)

    def publish(self, drafts: Sequence[Draft], handle: int, *, is_sent_again: bool = False) -> None:
        """Publish in one call; and again, as after a lost reply."""
        broker = self.begin(handle)
        sent = [self.message(draft) for draft in drafts]
        if not self.can.dedupe:  # an id is no protection there
            sent = [each for each in sent if not self.model.was_ever(each.id)][:1]
        agree("publish", self.ask(broker.publish(sent)), self.model.publish(sent))
        if is_sent_again and self.can.dedupe:
            broker = self.begin(handle)
            agree("publish", self.ask(broker.publish(sent)), self.model.publish(sent))

    # ── workers ──────────────────────────────────────────────────────────────

    def fetch(self, queues: Sequence[str], limit: int, handle: int) -> Sequence[Delivery]:
        """Take what is ready."""
        broker, worker = self.begin(handle), f"w{handle}"
        taken = self.ask(broker.fetch(queues, limit=limit, wait_ms=0, worker=worker))
        assert len(taken) <= limit, f"[FETCH-3] {len(taken)} for a limit of {limit}"
        for each in taken:
            id, may_be_next = each.message.id, self.model.may_be_next(queues)
            assert id in may_be_next, f"[FETCH-2] {id} before {sorted(may_be_next) or 'nobody'}"
            self._count_from(id, each.receipt.fence - 1)
            expected = self.model.lease(id, worker)
            agree("fetch", each, expected, slack_ms=self.model.slack_ms)
        left = self.model.may_be_next(queues)
        assert len(taken) == limit or not left, f"[FETCH-3] [FETCH-4] {sorted(left)} left behind"
        return taken

    def _count_from(self, id: str, base: int) -> None:
        life = self.model.lives.get(id)
        if life is not None and life.base is None:
            self.model.count_from(id, base)

    def extend(self, receipts: Sequence[Receipt], units: int, handle: int) -> None:
        """Let leases run anew."""
        wishes = [Extension(receipt, units * self.stage.unit_ms) for receipt in receipts]
        reply = self.ask(self.begin(handle).extend(wishes))
        expected = [self.model.extend(each) for each in wishes]
        agree("extend", reply, expected, slack_ms=self.model.slack_ms)

    def settlement(self, receipt: Receipt, end: End, attempt: int = 1) -> Settlement:
        """Return *end* as a settlement; its record is left out where nothing saves it."""
        outcome = outcome_of(end, error_of(receipt, attempt), unit_ms=self.stage.unit_ms)
        saves = end.with_record and self.has("records")
        return Settlement(
            receipt=receipt,
            outcome=outcome,
            record=record_of(receipt, end) if saves else None,
            follow_ups=tuple(self.message(each) for each in end.follow_ups),
        )

    def settle(
        self, taken: Sequence[Delivery], ends: Sequence[End], handle: int, *, times: int = 1
    ) -> Sequence[Settlement]:
        """Settle *taken* in one call that holds each settlement *times*; return them once."""
        broker = self.begin(handle)
        sent = [
            self.settlement(each.receipt, end, each.attempt)
            for each, end in zip(taken, ends, strict=True)
        ]
        self._send(broker, sent * times)
        return sent

    def settle_again(self, settlement: Settlement, end: End | None, handle: int) -> None:
        """Send *settlement* again, or settle its receipt by *end*."""
        broker = self.begin(handle)
        again = settlement if end is None else self.settlement(settlement.receipt, end)
        self._send(broker, [again])

    def _send(self, broker: Broker, sent: Sequence[Settlement]) -> None:
        replies = self.ask(broker.settle(sent))
        assert len(replies) == len(sent), f"{len(replies)} replies to {len(sent)} settlements"
        for reply, settlement in zip(replies, sent, strict=True):
            allowed = self.model.settle(settlement)
            assert reply.status in allowed, (
                f"settle: the store says {reply}, the model {sorted(s.value for s in allowed)}"
            )

    def overtake(self, receipt: Receipt) -> None:
        """Save a newer record of the message than the holder of *receipt* can save."""
        self.begin()
        record = newer_record(receipt)
        agree("save", self.ask(self.stage.results.save([record])), [self.model.save(record)])

    # ── whoever wants a task not to run ──────────────────────────────────────

    def cancel(self, ids: Sequence[str], handle: int, *, with_record: bool) -> None:
        """Cancel in one call."""
        broker = self.begin(handle)
        saves = with_record and self.has("records")
        wishes = [
            Cancellation(id=id, reason=f"no {id}", record=cancelled_record(id) if saves else None)
            for id in ids
        ]
        replies = self.ask(broker.cancel(wishes), partial(_cancelled_among, ids))
        for wish, reply in zip(wishes, replies, strict=True):
            self._count_from(wish.id, reply.fence)
            agree("cancel", reply, self.model.cancel(wish))

    # ── operators ────────────────────────────────────────────────────────────

    def pause_or_resume(self, queue: str) -> None:
        """Hold *queue*, or let it go on."""
        self.begin()
        admin = self.stage.admin
        self.ask(admin.resume(queue) if queue in self.model.paused else admin.pause(queue))
        self.model.paused ^= {queue}

    def replay(self, ids: Sequence[str]) -> None:
        """Replay in one call."""
        self.begin()
        reply = self.ask(self.stage.admin.replay(ids))
        agree("replay", reply, [self.model.replay(id) for id in ids])

    def discard(self, ids: Sequence[str]) -> None:
        """Discard in one call."""
        self.begin()
        reply = self.ask(self.stage.admin.discard(ids))
        agree("discard", reply, [self.model.discard(id) for id in ids])

    def purge(self, queue: str, limit: int) -> None:
        """Purge *queue*; whom first is up to the store."""
        self.begin()
        replies = self.ask(self.stage.admin.purge(queue, limit=limit), _purged_in)
        ids, waiting = _purged_in(replies), self.model.waiting(queue)
        assert set(ids) <= waiting, f"[ADMIN-6] {sorted(set(ids) - waiting)} did not wait"
        assert len(ids) == min(limit, len(waiting)), f"[ADMIN-6] {ids} of {sorted(waiting)}"
        for reply, id in zip(replies, ids, strict=True):
            self._count_from(id, reply.fence)
        agree("purge", replies, self.model.purge(ids, with_records=self.has("records")))

    def list_all(self) -> None:
        """Page through the lists of operators."""
        self.begin()
        admin = self.stage.admin
        if self.has("dead_letters"):
            dead = self.ask(page_through(partial(admin.dead_letters, limit=2)))
            agree("dead_letters", dead, self.model.dead_letters())
        for queue in QUEUES:
            live = self.ask(page_through(partial(admin.peek, queue, limit=2)))
            agree("peek", live, self.model.live(queue))

    # ── the end ──────────────────────────────────────────────────────────────

    def drain(self) -> None:
        """Wait for everything, take everything, end everything: nothing is lost."""
        if self.has("admin"):
            self.list_all()
        for queue in sorted(self.model.paused):
            self.pause_or_resume(queue)
        last_ms = max(self.model.moments(), default=0)
        self.let_pass(max(0, last_ms - self.bench.now_ms) + self.bench.slack_ms + 1)
        live = {id for queue in QUEUES for id in self.model.live(queue)}
        taken = self.fetch(QUEUES, 100, 0)
        assert {each.message.id for each in taken} == live, f"[BROKER-6] of {sorted(live)}"
        self.settle(taken, [End()] * len(taken), 0)
        self.check()

    def close(self) -> None:
        """Close the stage."""
        self.bench.close()


async def _nothing() -> None:
    """Do nothing: a step that only looks."""


async def _and_look(work: Coroutine[Any, Any, R], stage: Stage) -> tuple[R, Sight]:
    return await work, await look(stage)


def _cancelled_among(ids: Sequence[str], replies: Sequence[Cancelled]) -> list[str]:
    pairs = zip(ids, replies, strict=True)
    return [id for id, reply in pairs if reply.status is CancelStatus.CANCELLED]


def _purged_in(replies: Sequence[Cancelled]) -> list[str]:
    return [each.message.id for each in replies if each.message is not None]
