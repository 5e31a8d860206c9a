"""The memory store against a small model of it: any sequence of steps keeps the invariants.

A message is in exactly one place. Its fence strictly grows for the life of its id
and beyond. A terminal record never changes but by a replay. A stale receipt
changes nothing. What a fetch gives is what the model says can be taken.
"""

from __future__ import annotations

from datetime import timedelta

from attrs import define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stem_core.contracts.admin import ReplayStatus
from stem_core.contracts.messages import (
    ACK,
    Ack,
    Cancellation,
    CancelStatus,
    DeadLetter,
    ExtendStatus,
    Extension,
    Message,
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
from stem_core.embedded.memory import admin
from stem_core.embedded.memory.agenda import Agenda
from stem_core.embedded.memory.queues import Spot
from stem_core.embedded.memory.store import MemoryStore
from stem_core.model.outcome import Reason, Record, State, TaskError
from stem_core.testing.clock import FakeClock

IDS = [f"m{n}" for n in range(6)]
QUEUES = ["a", "b"]
DEDUPE_MS = 700
KEEP_MS = 2_000

ids = st.sampled_from(IDS)
waits = st.sampled_from([0, 0, 300, 900])
leases = st.sampled_from([0, 200, 1000])
errors = st.sampled_from([None, TaskError(type="E", attempt=1)])
outcomes: st.SearchStrategy[SettleOutcome] = st.one_of(
    st.just(ACK),
    st.builds(RetryLater, waits, errors),
    st.builds(Release, waits, st.sampled_from(ReleaseWhy)),
    st.builds(DeadLetter, st.sampled_from(Reason), errors, st.just(KEEP_MS)),
)
messages = st.builds(
    Message,
    id=ids,
    queue=st.sampled_from(QUEUES),
    task=st.just("t"),
    body=st.sampled_from([b"1", b"1", b"1", b"2"]),
    priority=st.sampled_from([0, 0, 5]),
    delay_ms=waits,
    lease_ms=st.sampled_from([200, 1000]),
    dedupe_for_ms=st.just(DEDUPE_MS),
    unique=st.one_of(
        st.none(),
        st.none(),
        st.builds(
            UniqueKey,
            key=st.sampled_from(["k", "l"]),
            until=st.sampled_from(["finished", "started"]),
        ),
    ),
)


@define
class Known:
    """What the model knows of one id that is live, dead or remembered."""

    message: Message
    waits_until_ms: int = -1
    leased_until_ms: int = -1
    dies_at_ms: int = -1  # a dead letter is kept until then
    known_until_ms: int = -1  # it has ended
    fence: int = -1
    is_held: bool = False
    settled: int = -1
    failed: int = 0
    lapses: int = 0
    cancel_requested: bool = False

    def can_be_taken(self, now_ms: int) -> bool:
        return -1 < self.waits_until_ms <= now_ms or -1 < self.leased_until_ms <= now_ms


class StoreMachine(RuleBasedStateMachine):
    """Every verb, with every receipt that was ever given out."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.store = MemoryStore("model", clock=self.clock)
        self.machine = self.store.machine
        self.known: dict[str, Known] = {}
        self.highest: dict[str, int] = {}
        self.receipts: list[Receipt] = []
        self.terminal: dict[str, Record] = {}
        self.paused: set[str] = set()
        self.keys: dict[str, str] = {}

    # ── the model's own steps ────────────────────────────────────────────────

    @property
    def now_ms(self) -> int:
        return self.clock.monotonic_ms()

    def live(self, id: str) -> Known | None:
        known = self.known.get(id)
        return known if known and known.known_until_ms == known.dies_at_ms == -1 else None

    def dead(self, id: str) -> Known | None:
        known = self.known.get(id)
        return known if known and known.dies_at_ms > -1 else None

    def end(self, id: str) -> None:
        known = self.known[id]
        known.waits_until_ms = known.leased_until_ms = known.dies_at_ms = -1
        known.is_held = False
        known.known_until_ms = self.now_ms + DEDUPE_MS
        self.free(known)

    def free(self, known: Known) -> None:
        unique = known.message.unique
        if unique and self.keys.get(unique.key) == known.message.id:
            del self.keys[unique.key]

    def let_lapse(self) -> None:
        for known in map(self.live, IDS):
            if known and -1 < known.leased_until_ms <= self.now_ms:
                known.lapses += 1
                known.leased_until_ms, known.waits_until_ms = -1, self.now_ms

    def expected_of_publish(self, message: Message) -> PublishStatus:
        known = self.known.get(message.id)
        if known is not None:
            same = known.message.body == message.body
            return PublishStatus.DUPLICATE if same else PublishStatus.CONFLICT
        if message.unique and message.unique.key in self.keys:
            return PublishStatus.UNIQUE
        return PublishStatus.CREATED

    def create(self, message: Message) -> None:
        known = self.known[message.id] = Known(message)
        known.waits_until_ms = self.now_ms + message.delay_ms
        if message.unique:
            self.keys[message.unique.key] = message.id

    def forget_what_is_over(self) -> None:
        for id, known in list(self.known.items()):
            is_over = -1 < known.dies_at_ms <= self.now_ms
            if is_over and id not in self.machine.entries:
                # Swept a little after its time, and its id is known for a while from then on:
                # ask the store until when, for the contract leaves it open.
                known.known_until_ms = self.machine._stones.by_id[id][0]
                known.dies_at_ms = -1
            if -1 < known.known_until_ms <= self.now_ms:
                del self.known[id]

    # ── rules ────────────────────────────────────────────────────────────────

    @rule(batch=st.lists(messages, min_size=1, max_size=3))
    def publish(self, batch: list[Message]) -> None:
        expected = []
        self.sweep()
        self.let_lapse()
        replies = self.store.step(self.machine.publish, batch)
        for message in batch:
            expected.append(self.expected_of_publish(message))
            if expected[-1] is PublishStatus.CREATED:
                self.create(message)
        assert [reply.status for reply in replies] == expected

    @rule(queues=st.permutations(QUEUES), limit=st.integers(1, 4))
    def fetch(self, queues: list[str], limit: int) -> None:
        self.sweep()
        can = [
            (queues.index(k.message.queue), -k.message.priority)
            for k in map(self.live, IDS)
            if k and k.can_be_taken(self.now_ms) and k.message.queue not in self.paused
        ]
        self.let_lapse()
        taken = self.store.step(self.machine.take, queues, limit, "w")
        assert [(queues.index(d.message.queue), -d.message.priority) for d in taken] == sorted(can)[
            :limit
        ]
        for delivery in taken:
            id = delivery.message.id
            known = self.known[id]
            assert delivery.message == known.message
            assert delivery.receipt.fence > self.highest.get(id, 0)
            assert (delivery.attempt, delivery.lapses, delivery.cancel_requested) == (
                known.failed + 1,
                known.lapses,
                known.cancel_requested,
            )
            self.highest[id] = known.fence = delivery.receipt.fence
            known.is_held = True
            known.waits_until_ms = -1
            known.leased_until_ms = self.now_ms + known.message.lease_ms
            unique = known.message.unique
            if unique and unique.until == "started":
                self.free(known)
            self.receipts.append(delivery.receipt)

    @precondition(lambda self: self.receipts)
    @rule(data=st.data(), lease_ms=leases)
    def extend(self, data: st.DataObject, lease_ms: int) -> None:
        receipt = data.draw(st.sampled_from(self.receipts))
        known, before = self.live(receipt.id), self.world()
        (reply,) = self.store.step(self.machine.extend, [Extension(receipt, lease_ms)])
        if known is None or not known.is_held or known.fence != receipt.fence:
            assert reply.status is ExtendStatus.LOST
            assert self.world() == before
            return
        requested = known.cancel_requested
        assert reply.status is (ExtendStatus.CANCEL_REQUESTED if requested else ExtendStatus.HELD)
        known.waits_until_ms, known.leased_until_ms = -1, self.now_ms + lease_ms

    @precondition(lambda self: self.receipts)
    @rule(
        data=st.data(),
        outcome=outcomes,
        with_record=st.booleans(),
        follow_ups=st.lists(messages, max_size=2),
    )
    def settle(
        self,
        data: st.DataObject,
        outcome: SettleOutcome,
        with_record: bool,
        follow_ups: list[Message],
    ) -> None:
        self.sweep()
        receipt = data.draw(st.sampled_from(self.receipts))
        state = State.SUCCEEDED if isinstance(outcome, Ack) else State.RUNNING
        record = Record(id=receipt.id, state=state, fence=receipt.fence) if with_record else None
        expected = self.expected_of_settle(receipt, follow_ups)
        before = self.world()
        (reply,) = self.store.step(
            self.machine.settle,
            [
                Settlement(
                    receipt=receipt, outcome=outcome, record=record, follow_ups=tuple(follow_ups)
                )
            ],
        )
        assert reply.status is expected
        if expected is not SettleStatus.DONE:
            assert self.world() == before
            return
        self.let_lapse()
        self.conclude(receipt, outcome)
        if record is not None and state.is_terminal:
            self.terminal[receipt.id] = record
        for message in follow_ups:
            if self.expected_of_publish(message) is PublishStatus.CREATED:
                self.create(message)

    def expected_of_settle(self, receipt: Receipt, follow_ups: list[Message]) -> SettleStatus:
        known = self.known.get(receipt.id)
        if known is None:
            return SettleStatus.GONE
        if not known.is_held or known.fence != receipt.fence:
            done = known.settled == receipt.fence
            return SettleStatus.ALREADY if done else SettleStatus.STALE
        bodies = {id: k.message.body for id, k in self.known.items()}
        for message in follow_ups:
            if bodies.setdefault(message.id, message.body) != message.body:
                return SettleStatus.INVALID
        return SettleStatus.DONE

    def conclude(self, receipt: Receipt, outcome: SettleOutcome) -> None:
        known = self.known[receipt.id]
        known.is_held, known.settled, known.lapses = False, receipt.fence, 0
        known.waits_until_ms = known.leased_until_ms = -1
        match outcome:
            case Ack():
                self.end(receipt.id)
            case RetryLater(after_ms):
                known.failed += 1
                known.waits_until_ms = self.now_ms + after_ms
            case Release(after_ms):
                known.waits_until_ms = self.now_ms + after_ms
            case DeadLetter(_, error):
                known.failed = max(known.failed, error.attempt if error else 0)
                known.dies_at_ms = self.now_ms + KEEP_MS
                self.free(known)

    @rule(id=ids)
    def cancel(self, id: str) -> None:
        self.sweep()
        known = self.live(id)
        record = Record(id=id, state=State.CANCELLED)
        (reply,) = self.store.step(self.machine.cancel, [Cancellation(id=id, record=record)])
        if known is None:
            ended = CancelStatus.FINISHED if id in self.known else CancelStatus.UNKNOWN
            assert reply.status is ended
        elif known.leased_until_ms > -1:
            assert reply.status is CancelStatus.REQUESTED
            known.cancel_requested = True
        else:
            assert reply.status is CancelStatus.CANCELLED
            self.note_cancelled(id)

    def note_cancelled(self, id: str) -> None:
        kept = self.store.step(self.store.records.load, [id])[0]
        if kept is not None and kept.state is State.CANCELLED:
            assert id not in self.terminal or kept.fence > self.terminal[id].fence
            self.terminal[id] = kept
        self.end(id)

    @rule(id=ids)
    def replay(self, id: str) -> None:
        self.sweep()
        known = self.known.get(id)
        (replayed,) = self.store.step(admin._replay, self.store, [id])
        reply = replayed.status
        if known is None or known.known_until_ms > -1:
            assert reply is ReplayStatus.UNKNOWN
        elif known.dies_at_ms == -1:
            assert reply is ReplayStatus.ALREADY
        elif known.message.unique and known.message.unique.key in self.keys:
            assert reply is ReplayStatus.UNIQUE
        else:
            assert reply is ReplayStatus.DONE
            self.let_lapse()
            known.dies_at_ms, known.waits_until_ms = -1, self.now_ms
            known.failed = known.lapses = 0
            known.cancel_requested = False
            if known.message.unique:
                self.keys[known.message.unique.key] = id
            self.terminal.pop(id, None)

    @rule(id=ids)
    def discard(self, id: str) -> None:
        self.sweep()
        was_dead = self.dead(id) is not None
        (reply,) = self.store.step(admin._discard, self.store, [id])
        assert (reply.status is ReplayStatus.DONE) == was_dead
        if was_dead:
            self.end(id)

    @rule(queue=st.sampled_from(QUEUES), limit=st.integers(1, 3))
    def purge(self, queue: str, limit: int) -> None:
        waiting = {
            k.message.id
            for k in map(self.live, IDS)
            if k and k.message.queue == queue and k.leased_until_ms == -1
        }
        count = len(self.store.step(admin._purge, self.store, queue, limit))
        gone = {id for id in waiting if id not in self.machine.entries}
        assert count == len(gone) == min(limit, len(waiting))
        for id in gone:
            self.note_cancelled(id)

    @rule(queue=st.sampled_from(QUEUES), hold=st.booleans())
    def pause_or_resume(self, queue: str, hold: bool) -> None:
        self.store.step(admin._pause if hold else admin._resume, self.store, queue)
        (self.paused.add if hold else self.paused.discard)(queue)

    @rule(duration_ms=st.sampled_from([1, 100, 300, 1000, 5000]))
    def time_passes(self, duration_ms: int) -> None:
        self.clock.advance(timedelta(milliseconds=duration_ms))
        self.sweep()

    def sweep(self) -> None:
        with self.store.lock:
            self.store.now_ms()
        self.forget_what_is_over()

    # ── invariants ───────────────────────────────────────────────────────────

    def world(self) -> object:
        """All that can be seen from outside."""
        return (
            self.store.step(self.machine.lookup, IDS),
            self.store.step(self.store.records.load, IDS),
            self.store.step(admin._stats, self.store, []),
        )

    @invariant()
    def a_message_is_in_exactly_one_place(self) -> None:
        machine = self.machine
        later, leased, ending = (
            _keys_of(agenda) for agenda in (machine._later, machine._leases, machine._grave_ends)
        )
        standing = [
            entry.message.id for queue in machine.queues.values() for entry in queue.waiting(99)
        ]
        graves = list(machine.graves)
        assert sorted(standing + leased + graves) == sorted(machine.entries)
        assert sorted(graves) == sorted(ending)
        assert sorted(later) == sorted(
            id for queue in machine.queues.values() for id in queue.later
        )
        for id, entry in machine.entries.items():
            assert (entry.spot is Spot.NONE) == (
                id in later or entry.place in (Place.LEASED, Place.DEAD)
            )

    @invariant()
    def the_counts_are_what_they_count(self) -> None:
        for name, queue in self.machine.queues.items():
            places = [e.place for e in self.machine.entries.values() if e.queue.name == name]
            assert [queue.ready, queue.delayed, queue.parked, queue.leased, queue.dead] == [
                places.count(place) for place in Place
            ]

    @invariant()
    def a_terminal_record_stays_as_it_is(self) -> None:
        for id, record in self.terminal.items():
            kept = self.store.step(self.store.records.load, [id])[0]
            assert kept is not None
            assert kept == record or kept.fence > record.fence

    @invariant()
    def a_key_has_the_holder_that_the_model_says(self) -> None:
        for key in ("k", "l"):
            assert self.machine._unique.holder(key, self.now_ms) == self.keys.get(key)


def _keys_of(agenda: Agenda) -> list[str]:
    return [key for page in agenda._pages.values() for key in page]


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=150, stateful_step_count=40)
