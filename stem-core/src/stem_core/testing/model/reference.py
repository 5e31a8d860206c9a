"""What a broker promises, as a program that a reader can hold against the contract.

No I/O, no waiting, no clock; the only aim is to be seen to be right. Beside each rule
stands its promise. A store has a few freedoms, and the model asks which it took:

- when it takes up that something is due (`take_up`; at the latest when it is fetched),
- what the leases of an id are counted from (`count_from`; above every earlier one),
- who comes first of equals (`may_be_next`, then `lease` one by one), and what a purge
  begins with (`purge` is given the ids).

When dead letters are forgotten is left out: a store may keep them longer than it must.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from stem_core.contracts.admin import QueueStats, Replayed, ReplayStatus
from stem_core.contracts.messages import (
    Ack,
    Cancellation,
    Cancelled,
    CancelStatus,
    DeadLetter,
    Delivery,
    Extended,
    ExtendStatus,
    Extension,
    Located,
    Message,
    Place,
    Published,
    PublishStatus,
    Receipt,
    Release,
    ReleaseWhy,
    RetryLater,
    Settlement,
    SettleOutcome,
    SettleStatus,
)
from stem_core.model.outcome import Record, State, TaskError
from stem_core.model.value import replace
from stem_core.testing.model.kept import WAITING, Kept
from stem_core.testing.model.life import Life, delivery_of, located_of
from stem_core.testing.model.line import Turn

__all__ = ["PURGED", "Reference"]

KEPT_ERRORS: Final = 20
PURGED: Final = "purged"
"""Stands for whatever reason a store gives in the record of a purged message."""


class Reference(Kept):
    """The verbs of a broker and of its operators, over what is `Kept`."""

    # ── publish ──────────────────────────────────────────────────────────────

    def publish(self, messages: Sequence[Message]) -> list[Published]:
        """[PUBLISH-2] One by one; [PUBLISH-7] what waits alike stays in the order given."""
        group = self._new_group()
        return [self._publish(message, group) for message in messages]

    def _publish(self, message: Message, group: int) -> Published:
        known = self.body_of(message.id)
        if known is not None:  # [PUBLISH-3] [PUBLISH-4]
            same = known == message.body
            status = PublishStatus.DUPLICATE if same else PublishStatus.CONFLICT
            return Published(status, message.id)
        if message.unique is not None:  # [PUBLISH-5]
            holder = self.holder(message.unique.key)
            if holder is not None:
                return Published(PublishStatus.UNIQUE, holder)
        self._take_key(message)
        life = self.lives[message.id] = Life(message, self._turn_now())
        wait_ms = message.delay_ms
        if message.not_before_ms:
            wait_ms = message.not_before_ms - self.wall_ms
        if wait_ms > 0:  # [PUBLISH-6]
            self._wait(life, Place.DELAYED, wait_ms, group)
        return Published(PublishStatus.CREATED, message.id)

    # ── time ─────────────────────────────────────────────────────────────────

    def is_overdue(self, life: Life) -> bool:
        """True when its time has come and the store has not taken that up."""
        return life.due_ms is not None and life.due_ms <= self.now_ms

    def take_up(self, id: str) -> None:
        """[FETCH-4] What is due is ready; a lease that lapsed is ready and counts one more."""
        life = self.lives[id]
        assert life.due_ms is not None
        assert self.is_overdue(life), f"[FETCH-4] {id} is due only at {life.due_ms}"
        if life.place is Place.LEASED:
            life.lapses += 1
            life.turn = self._turn_at(life.due_ms, self.now_ms, self._new_group())
        if life.place is not Place.PARKED:  # [SETTLE-7] shown as parked until it is leased
            life.place = Place.READY
        life.due_ms = None

    # ── fetch ────────────────────────────────────────────────────────────────

    def may_be_next(self, queues: Sequence[str]) -> set[str]:
        """[FETCH-2] The ids of which one is served next: of the first queue that has any, of
        the highest priority there, those that nobody must come before."""
        for queue in queues:
            ready = [life for life in self.lives.values() if self._is_ready(life, queue)]
            if ready:
                top = max(life.message.priority for life in ready)
                return self._firsts([life for life in ready if life.message.priority == top])
        return set()

    def _is_ready(self, life: Life, queue: str) -> bool:
        if life.message.queue != queue or queue in self.paused:  # [FETCH-9]
            return False
        return self.is_overdue(life) or (life.place in WAITING and life.due_ms is None)

    def _firsts(self, peers: Sequence[Life]) -> set[str]:
        turns = {life.message.id: self._turn_if_taken_up(life) for life in peers}
        return {
            id
            for id, turn in turns.items()
            if not any(other.precedes(turn, self.slack_ms) for other in turns.values())
        }

    def _turn_if_taken_up(self, life: Life) -> Turn:
        if life.place is Place.LEASED and life.due_ms is not None:
            number = life.turn.number
            return Turn(life.due_ms, self.now_ms, -number, number)  # a group of its own
        return life.turn

    def lease(self, id: str, worker: str) -> Delivery:
        """[FETCH-1] [FETCH-5] [FETCH-6] Hand *id*, which `may_be_next`, to *worker*."""
        life = self.lives[id]
        if self.is_overdue(life):
            self.take_up(id)
        if life.message.unique is not None and life.message.unique.until == "started":
            self._free_key(life.message)
        life.place, life.due_ms = Place.LEASED, self.now_ms + life.message.lease_ms
        life.leases += 1
        life.is_held, life.worker, life.turn_taken = True, worker, life.turn
        self._fences[id] = max(self._fences.get(id, 0), life.fence)
        return delivery_of(life, now_ms=self.now_ms)

    def holder_of(self, receipt: Receipt) -> Life | None:
        """Return the message that *receipt* is the last lease of, unsettled, lapsed or not.
        [EXTEND-3] [EXTEND-4] [SETTLE-2] [SETTLE-11]"""
        life = self.lives.get(receipt.id)
        return life if life is not None and life.is_held and life.fence == receipt.fence else None

    # ── extend ───────────────────────────────────────────────────────────────

    def extend(self, extension: Extension) -> Extended:
        """[EXTEND-1] [EXTEND-2] The lease runs anew; nothing is counted."""
        life, lease_ms = self.holder_of(extension.receipt), extension.lease_ms
        if life is None:
            return Extended(ExtendStatus.LOST)
        life.place, life.due_ms = Place.LEASED, self.now_ms + lease_ms
        if life.cancel_reason is not None:  # [EXTEND-5]
            return Extended(ExtendStatus.CANCEL_REQUESTED, lease_ms, life.cancel_reason)
        return Extended(ExtendStatus.HELD, lease_ms)

    # ── settle ───────────────────────────────────────────────────────────────

    def settle(self, settlement: Settlement) -> frozenset[SettleStatus]:
        """[SETTLE-1] Do it if it can be done, and return what a store may answer: more than
        one status when it is wrong in two ways, either of which may be seen first."""
        life = self.holder_of(settlement.receipt)
        if life is None:
            return self._refusals(settlement.receipt)
        wrong = self._objections(settlement)
        if wrong:
            return wrong
        if settlement.record is not None:
            self.save(settlement.record)
        self._conclude(life, settlement.outcome)
        self.publish(settlement.follow_ups)  # [SETTLE-9] the keys it frees are free by now
        return frozenset({SettleStatus.DONE})

    def _refusals(self, receipt: Receipt) -> frozenset[SettleStatus]:
        known = self.lives.get(receipt.id) or self.stone_of(receipt.id)
        if known is None:
            return frozenset({SettleStatus.GONE})  # [SETTLE-10]
        if known.settled and known.settled[-1] == receipt.fence:
            return frozenset({SettleStatus.ALREADY})  # [SETTLE-3]
        if receipt.fence in known.settled:  # done before, and stale as well
            return frozenset({SettleStatus.ALREADY, SettleStatus.STALE})
        return frozenset({SettleStatus.STALE})

    def _objections(self, settlement: Settlement) -> frozenset[SettleStatus]:
        wrong: set[SettleStatus] = set()
        follow_ups = settlement.follow_ups
        if any(self._is_conflict(message, follow_ups) for message in follow_ups):
            wrong.add(SettleStatus.INVALID)  # [SETTLE-9]
        if settlement.record is not None and not self.may_be_saved(settlement.record):
            wrong.add(SettleStatus.STALE)  # [SETTLE-8]
        return frozenset(wrong)

    def _is_conflict(self, message: Message, beside: Iterable[Message]) -> bool:
        known = self.body_of(message.id)
        if known is not None:
            return known != message.body
        return any(each.id == message.id and each.body != message.body for each in beside)

    def _conclude(self, life: Life, outcome: SettleOutcome) -> None:
        has_lapsed = self.is_overdue(life) or life.turn is not life.turn_taken
        life.is_held, life.due_ms, life.lapses = False, None, 0
        life.settled.append(life.fence)
        match outcome:
            case Ack():
                self._end(life)
            case RetryLater(after_ms, error):
                self._retry(life, after_ms, error)
            case Release(after_ms, why):
                self._release(life, after_ms, why, has_lapsed)
            case DeadLetter():
                self._bury(life, outcome)

    def _retry(self, life: Life, after_ms: int, error: TaskError | None) -> None:
        """[SETTLE-5]"""
        life.failed += 1
        life.first_parked_ms = None
        self._note(life, error)
        life.place, life.turn = Place.READY, self._turn_now()
        if after_ms > 0:
            self._wait(life, Place.DELAYED, after_ms, self._new_group())

    def _release(self, life: Life, after_ms: int, why: ReleaseWhy, has_lapsed: bool) -> None:
        """[SETTLE-7]"""
        life.releases += 1
        is_parked = why is ReleaseWhy.PARKED
        if why is ReleaseWhy.SNOOZE:
            life.first_parked_ms = None
        elif is_parked and life.first_parked_ms is None:
            life.first_parked_ms = self.now_ms
        life.place = Place.PARKED if is_parked else Place.READY
        if after_ms > 0:
            place = Place.PARKED if is_parked else Place.DELAYED
            self._wait(life, place, after_ms, self._new_group())
        elif has_lapsed and life.turn_taken is not None:
            # Its old turn, or the one that the lapse has given it, or one in between.
            life.turn = self._turn_at(life.turn_taken.since_ms, self.now_ms, self._new_group())

    def _bury(self, life: Life, outcome: DeadLetter) -> None:
        """[SETTLE-6]"""
        if outcome.error is not None:
            life.failed = max(life.failed, outcome.error.attempt)
        self._note(life, outcome.error)
        self._free_key(life.message)
        self._deaths += 1
        life.place, life.reason, life.death = Place.DEAD, outcome.reason.value, self._deaths
        life.died_at_ms = self.wall_ms

    def _note(self, life: Life, error: TaskError | None) -> None:
        if error is not None:
            life.errors = (*life.errors, error)[-KEPT_ERRORS:]

    # ── cancel and lookup ────────────────────────────────────────────────────

    def cancel(self, wish: Cancellation) -> Cancelled:
        """End what waits; mark what runs."""
        life = self.lives.get(wish.id)
        if life is None:  # [CANCEL-3]
            known = self.stone_of(wish.id) is not None
            return Cancelled(CancelStatus.FINISHED if known else CancelStatus.UNKNOWN)
        if life.place is Place.DEAD:
            return Cancelled(CancelStatus.FINISHED)
        if life.place is Place.LEASED:  # [CANCEL-2]
            life.cancel_reason = wish.reason
            return Cancelled(CancelStatus.REQUESTED)
        return self._end_waiting(life, wish.record)

    def _end_waiting(self, life: Life, record: Record | None) -> Cancelled:
        """[CANCEL-1] [ADMIN-6]"""
        self._end(life)
        if record is not None:
            self.save(replace(record, fence=life.fence))
        return Cancelled(CancelStatus.CANCELLED, life.message, life.fence)

    def locate(self, id: str) -> Located | None:
        """[LOOKUP-1] [LOOKUP-2]"""
        life = self.lives.get(id)
        return None if life is None else located_of(life, now_ms=self.now_ms, wall_ms=self.wall_ms)

    # ── operators ────────────────────────────────────────────────────────────

    def _unburied(self, id: str) -> Replayed | None:
        """Say why *id* is no dead letter; None when it is one."""
        life = self.lives.get(id)
        if life is None:
            return Replayed(ReplayStatus.UNKNOWN)
        return None if life.place is Place.DEAD else Replayed(ReplayStatus.ALREADY)

    def replay(self, id: str) -> Replayed:
        """[ADMIN-4] Ready again with attempt and lapses anew; fence and history go on."""
        if refusal := self._unburied(id):
            return refusal
        life = self.lives[id]
        unique = life.message.unique
        if unique is not None and self.holder(unique.key) not in (None, id):
            return Replayed(ReplayStatus.UNIQUE)
        if unique is not None and unique.until != "window":
            self._take_key(life.message)
        life.place, life.turn = Place.READY, self._turn_now()
        life.failed = life.lapses = 0
        life.first_parked_ms = life.cancel_reason = None
        self._reopen(id, life.fence)
        return Replayed(ReplayStatus.DONE, life.fence)

    def _reopen(self, id: str, fence: int) -> None:
        """[REOPEN-1]"""
        old = self.records.get(id)
        if old is not None and old.fence <= fence:
            self.records[id] = replace(
                old, state=State.QUEUED, value=None, reason="", finished_at_ms=0
            )

    def discard(self, id: str) -> Replayed:
        """[ADMIN-5]"""
        if refusal := self._unburied(id):
            return refusal
        life = self.lives[id]
        self._end(life)
        return Replayed(ReplayStatus.DONE, life.fence)

    def waiting(self, queue: str) -> set[str]:
        """Return the ids that a purge of *queue* cancels."""
        return {id for id in self.live(queue) if self.lives[id].place in WAITING}

    def purge(self, ids: Sequence[str], *, with_records: bool) -> list[Cancelled]:
        """[ADMIN-6] Cancel *ids*, which the store has chosen among those that wait."""
        return [self._purge(self.lives[id], with_records) for id in ids]

    def _purge(self, life: Life, with_record: bool) -> Cancelled:
        message, state = life.message, State.CANCELLED
        record = Record(
            id=message.id, state=state, task=message.task, queue=message.queue, reason=PURGED
        )
        return self._end_waiting(life, record if with_record else None)

    def live(self, queue: str) -> list[str]:
        """[ADMIN-2] The ids of the live messages of *queue*, in order."""
        lives = self.lives.items()
        return sorted(
            id for id, life in lives if life.message.queue == queue and life.place is not Place.DEAD
        )

    def dead_letters(self) -> list[str]:
        """[ADMIN-3] The ids of all dead letters, the latest first."""
        dead = [life for life in self.lives.values() if life.place is Place.DEAD]
        return [life.message.id for life in sorted(dead, key=lambda life: -life.death)]

    def stats(self, queue: str) -> QueueStats:
        """[ADMIN-1] Count what is in *queue*; the age of the oldest is left out."""
        counts = dict.fromkeys(Place, 0)
        for life in self.lives.values():
            counts[life.place] += life.message.queue == queue
        return QueueStats(
            queue=queue,
            ready=counts[Place.READY],
            delayed=counts[Place.DELAYED],
            parked=counts[Place.PARKED],
            leased=counts[Place.LEASED],
            dead=counts[Place.DEAD],
            paused=queue in self.paused,
        )

    def overdue_in(self, queue: str) -> int:
        """Return how many of *queue* are due and were not taken up."""
        lives = self.lives.values()
        return sum(self.is_overdue(life) for life in lives if life.message.queue == queue)
