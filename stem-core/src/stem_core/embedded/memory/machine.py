"""The state machine of the memory broker: every step that a message can take.

Rule of this module: synchronous, and its monotonic time is an argument (`now_ms`).
The caller holds the store's lock, so that one method is one atomic step. Each
method checks everything first and writes after that. Redis scripts and SQL of
other brokers say the same in their language; where they differ, this one is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from stem_core import failpoints
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
    Settled,
    Settlement,
    SettleOutcome,
    SettleStatus,
)
from stem_core.embedded.memory.claims import Stones, UniqueKeys
from stem_core.embedded.memory.handout import delivery_of, locate
from stem_core.embedded.memory.places import Places
from stem_core.embedded.memory.queues import Entry, Spot
from stem_core.embedded.memory.records import Records, objection_to
from stem_core.embedded.sleepers import Sleepers
from stem_core.model.outcome import Record, TaskError
from stem_core.model.value import replace

__all__ = ["MAX_BATCH", "MAX_BATCH_BYTES", "MAX_DELAY_MS", "MAX_PAYLOAD", "Machine"]

MAX_BATCH: Final = 500
MAX_BATCH_BYTES: Final = 64 * 1024 * 1024
MAX_PAYLOAD: Final = 16 * 1024 * 1024
MAX_DELAY_MS: Final = 10 * 365 * 86_400_000
MAX_ERRORS: Final = 20

_READY: Final = Place.READY
_DELAYED: Final = Place.DELAYED
_PARKED: Final = Place.PARKED
_LEASED: Final = Place.LEASED
_DEAD: Final = Place.DEAD
_UNSPOTTED: Final = Spot.NONE

_CREATED: Final = PublishStatus.CREATED
_DONE: Final = Settled(SettleStatus.DONE)
_ALREADY: Final = Settled(SettleStatus.ALREADY)
_STALE: Final = Settled(SettleStatus.STALE)
_GONE: Final = Settled(SettleStatus.GONE)
_LOST: Final = Extended(ExtendStatus.LOST)


class Machine(Places):
    """The steps of the broker contract, each one method; and those of operators."""

    def __init__(self, records: Records, sleepers: Sleepers, wall_ms: Callable[[], int]) -> None:
        super().__init__(sleepers)
        self._records = records
        self._wall_ms = wall_ms
        self._unique = UniqueKeys()
        self._stones = Stones()

    # ── publish ──────────────────────────────────────────────────────────────

    def publish(self, now_ms: int, messages: Sequence[Message]) -> Sequence[Published]:
        """`Broker.publish`."""
        self._advance(now_ms)
        if len(messages) == 1:
            return [self._admit(messages[0], now_ms)]
        _check_batch(messages)
        return [self._admit(message, now_ms) for message in messages]

    def _admit(self, message: Message, now_ms: int) -> Published:
        id = message.id
        if (id in self.entries or id in self._stones.by_id) and (
            known := self._known(message, now_ms)
        ):
            return Published(known, id)
        delay_ms = self._delay_of(message) if message.not_before_ms else message.delay_ms
        if objection := _objection(message, delay_ms):
            return Published(PublishStatus.REFUSED, id, objection)
        if message.unique is not None:
            holder = self._unique.holder(message.unique.key, now_ms)
            if holder is not None:
                return Published(PublishStatus.UNIQUE, holder)
            self._unique.claim(message.unique, id, now_ms)
        queue = self.queues.get(message.queue) or self.queue(message.queue)
        entry = self.entries[id] = Entry(message, queue)
        if base := self._stones.base:
            entry.fence = entry.base = base
        if delay_ms > 0:
            self._wait(entry, _DELAYED, now_ms + delay_ms)
        else:
            queue.ready += 1
            self._line_up(entry, now_ms)
        return Published(_CREATED, id)

    def _delay_of(self, message: Message) -> int:
        """Turn an instant into a wait, by the wall clock of now."""
        if message.not_before_ms:
            return max(0, message.not_before_ms - self._wall_ms())
        return message.delay_ms

    def _known(self, message: Message, now_ms: int) -> PublishStatus | None:
        """Say what publishing a known id again means; None when it is not known any more."""
        if entry := self.entries.get(message.id):
            same = entry.message.body == message.body
        elif stone := self._stones.get(message.id, now_ms):
            same = stone[1] == hash(message.body)
        else:
            self._stones.lift(message.id)
            return None
        return PublishStatus.DUPLICATE if same else PublishStatus.CONFLICT

    # ── fetch ────────────────────────────────────────────────────────────────

    def take(
        self, now_ms: int, queues: Sequence[str], limit: int, worker: str
    ) -> Sequence[Delivery]:
        """Lease what `Broker.fetch` would return at once."""
        self._advance(now_ms)
        if failpoints.ARMED:
            failpoints.reach("memory.claim.before_write")
        taken: list[Entry] = []
        for name in queues:
            queue = self.queues.get(name)
            if queue is not None and not queue.paused and (queue.ready or queue.parked):
                queue.take(limit - len(taken), taken)
                if len(taken) >= limit:
                    break
        if not taken:
            return []
        deliveries = self._lease(taken, worker, now_ms)
        if failpoints.ARMED:
            failpoints.reach("memory.claim.after_write")
        return deliveries

    def _lease(self, entries: Sequence[Entry], worker: str, now_ms: int) -> Sequence[Delivery]:
        page_ms, page = -1, {}
        deliveries = []
        for entry in entries:
            message, queue = entry.message, entry.queue
            if entry.place is _READY:
                queue.ready -= 1
            else:
                queue.parked -= 1
            queue.leased += 1
            if message.unique is not None and message.unique.until == "started":
                self._unique.free(message.unique, message.id)
            entry.place = _LEASED
            entry.spot = _UNSPOTTED
            entry.held = True
            entry.fence += 1
            entry.worker = worker
            until_ms = entry.due_ms = now_ms + message.lease_ms
            if until_ms != page_ms:  # messages of one batch mostly lapse together
                page_ms, page = until_ms, self._leases.page(until_ms)
                self._announce(until_ms)
            page[message.id] = None
            deliveries.append(delivery_of(entry, now_ms))
        return deliveries

    # ── extend ───────────────────────────────────────────────────────────────

    def extend(self, now_ms: int, extensions: Sequence[Extension]) -> Sequence[Extended]:
        """`Broker.extend`."""
        return [self._extend(extension, now_ms) for extension in extensions]

    def _extend(self, extension: Extension, now_ms: int) -> Extended:
        entry = self._held_by(extension.receipt)
        if entry is None:
            return _LOST
        lease_ms = max(0, extension.lease_ms)
        self._leave(entry)
        self._hold(entry, now_ms + lease_ms)
        if entry.cancel_requested:
            return Extended(ExtendStatus.CANCEL_REQUESTED, lease_ms, entry.cancel_reason)
        return Extended(ExtendStatus.HELD, lease_ms)

    def _held_by(self, receipt: Receipt) -> Entry | None:
        """Return the message whose last lease is *receipt*, unsettled; lapsed or not."""
        entry = self.entries.get(receipt.id)
        if entry is None or not entry.held or entry.fence != receipt.fence:
            return None
        return entry

    # ── settle ───────────────────────────────────────────────────────────────

    def settle(self, now_ms: int, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        """`Broker.settle`."""
        return [self._settle(settlement, now_ms) for settlement in settlements]

    def _settle(self, settlement: Settlement, now_ms: int) -> Settled:
        receipt, record = settlement.receipt, settlement.record
        entry = self.entries.get(receipt.id)
        if entry is None or not entry.held or entry.fence != receipt.fence:
            return self._refusal(receipt, now_ms)
        if record is not None and (objection := objection_to(record, receipt.id)):
            return Settled(SettleStatus.INVALID, objection)
        if settlement.follow_ups and (
            objection := self._objection_to(settlement.follow_ups, now_ms)
        ):
            return Settled(SettleStatus.INVALID, objection)
        if failpoints.ARMED:
            failpoints.reach("memory.settle.before_write")
        # The record decides, and is the first write: nothing after it can fail.
        if record is not None and not self._records.offer(record, now_ms):
            return _STALE
        self._advance(now_ms)  # what was due before goes before what gets ready in this step
        self._leave(entry)
        self._conclude(entry, settlement.outcome, now_ms)
        for message in settlement.follow_ups:
            self._admit(message, now_ms)
        if failpoints.ARMED:
            failpoints.reach("memory.settle.after_write")
        return _DONE

    def _refusal(self, receipt: Receipt, now_ms: int) -> Settled:
        if entry := self.entries.get(receipt.id):
            settled = entry.settled
        elif stone := self._stones.get(receipt.id, now_ms):
            _, _, _, settled = stone
        else:
            return _GONE
        return _ALREADY if settled == receipt.fence > 0 else _STALE

    def _objection_to(self, follow_ups: Iterable[Message], now_ms: int) -> str:
        """Say which follow-up cannot be published; empty when all of them can."""
        bodies: dict[str, bytes] = {}
        for message in follow_ups:
            known = None
            if message.id in self.entries or self._stones.get(message.id, now_ms):
                known = self._known(message, now_ms)
            if (
                known is PublishStatus.CONFLICT
                or bodies.setdefault(message.id, message.body) != message.body
            ):
                return f"follow-up {message.id}: this id is known with another body"
            if known is None and (objection := _objection(message, self._delay_of(message))):
                return f"follow-up {message.id}: {objection}"
        return ""

    def _conclude(self, entry: Entry, outcome: SettleOutcome, now_ms: int) -> None:
        """Let the outcome happen to *entry*, which stands nowhere now."""
        entry.held = False
        entry.settled = entry.fence
        entry.lapses = 0
        match outcome:
            case Ack():
                self._end(entry, now_ms)
            case RetryLater(after_ms, error):
                entry.failed += 1
                entry.parked_at_ms = -1
                self._note_error(entry, error)
                self._retry(entry, after_ms, now_ms)
            case Release(after_ms, why):
                entry.releases += 1
                self._note_parking(entry, why, now_ms)
                self._release(entry, why, after_ms, now_ms)
            case DeadLetter():
                self._bury(entry, outcome, now_ms)

    def _note_parking(self, entry: Entry, why: ReleaseWhy, now_ms: int) -> None:
        if why is ReleaseWhy.SNOOZE:  # it ran: whoever parks it next starts anew
            entry.parked_at_ms = -1
        elif why is ReleaseWhy.PARKED and entry.parked_at_ms < 0:
            entry.parked_at_ms = now_ms

    def _note_error(self, entry: Entry, error: TaskError | None) -> None:
        if error is not None:
            entry.errors = (*entry.errors, error)[-MAX_ERRORS:]

    def _retry(self, entry: Entry, after_ms: int, now_ms: int) -> None:
        """Let *entry* be ready after a while; at once means behind all that is ready."""
        if after_ms > 0:
            self._wait(entry, _DELAYED, now_ms + after_ms)
        else:
            self._make_ready(entry, now_ms)

    def _release(self, entry: Entry, why: ReleaseWhy, after_ms: int, now_ms: int) -> None:
        """Let *entry* wait again: for a while, or at once at its old turn."""
        is_parked = why is ReleaseWhy.PARKED
        if after_ms > 0:
            self._wait(entry, _PARKED if is_parked else _DELAYED, now_ms + after_ms)
        else:
            self._bring_back(entry, _PARKED if is_parked else _READY, now_ms)

    def _bury(self, entry: Entry, outcome: DeadLetter, now_ms: int) -> None:
        if outcome.error is not None:
            # The attempt that an error names has failed; poison and the like name none.
            entry.failed = max(entry.failed, outcome.error.attempt)
            self._note_error(entry, outcome.error)
        self._free_key(entry)
        entry.reason = outcome.reason.value
        entry.died_at_ms = self._wall_ms()
        self._lay_down(entry, now_ms + outcome.keep_ms)

    # ── cancel and lookup ────────────────────────────────────────────────────

    def cancel(self, now_ms: int, cancellations: Sequence[Cancellation]) -> Sequence[Cancelled]:
        """`Broker.cancel`."""
        return [self._cancel(cancellation, now_ms) for cancellation in cancellations]

    def _cancel(self, cancellation: Cancellation, now_ms: int) -> Cancelled:
        entry = self.entries.get(cancellation.id)
        if entry is None:
            stone = self._stones.get(cancellation.id, now_ms)
            return Cancelled(CancelStatus.FINISHED if stone else CancelStatus.UNKNOWN)
        if entry.place is _DEAD:
            return Cancelled(CancelStatus.FINISHED)
        if entry.place is _LEASED:
            entry.cancel_requested = True
            entry.cancel_reason = cancellation.reason
            return Cancelled(CancelStatus.REQUESTED)
        self.end_waiting(entry, cancellation.record, now_ms)
        return Cancelled(CancelStatus.CANCELLED, entry.message, entry.fence)

    def end_waiting(self, entry: Entry, record: Record | None, now_ms: int) -> None:
        """End *entry*, which waits, with *record* under its own fence."""
        self._leave(entry)
        self._end(entry, now_ms)
        if record is not None:
            own = replace(record, id=entry.message.id, fence=entry.fence)
            self._records.offer(own, now_ms)

    def lookup(self, now_ms: int, ids: Sequence[str]) -> Sequence[Located | None]:
        """`Broker.lookup`."""
        found = (self.entries.get(id) for id in ids)
        return [
            None if entry is None else locate(entry, now_ms, self._wall_ms()) for entry in found
        ]

    # ── dead letters ─────────────────────────────────────────────────────────

    def holder_of_key(self, entry: Entry, now_ms: int) -> str | None:
        """Return the other message that holds the unique key of *entry*."""
        if entry.message.unique is None:
            return None
        holder = self._unique.holder(entry.message.unique.key, now_ms)
        return holder if holder != entry.message.id else None

    def revive(self, entry: Entry, now_ms: int) -> None:
        """Send a dead letter back to ready. Nobody else holds its unique key."""
        self._advance(now_ms)
        unique = entry.message.unique
        if unique is not None and unique.until != "window":
            self._unique.claim(unique, entry.message.id, now_ms)
        self._leave(entry)
        entry.failed = entry.lapses = 0
        entry.parked_at_ms = -1
        entry.cancel_requested = False
        entry.cancel_reason = ""
        self._make_ready(entry, now_ms)

    def forget(self, entry: Entry, now_ms: int) -> None:
        """Remove a dead letter; its id stays known for a while."""
        self._leave(entry)
        self._end(entry, now_ms)

    def _end(self, entry: Entry, now_ms: int) -> None:
        """Forget *entry*, which stands nowhere, but for its id."""
        del self.entries[entry.message.id]
        entry.held = False
        self._free_key(entry)
        self._stones.put(entry.message, entry.fence, entry.settled, now_ms)

    def _free_key(self, entry: Entry) -> None:
        if entry.message.unique is not None:
            self._unique.free(entry.message.unique, entry.message.id)

    def sweep(self, now_ms: int, budget: int) -> None:
        """Let retention times end, and free the memory of what is over."""
        for id in self._grave_ends.due(now_ms, limit=budget):
            entry = self.graves.pop(id)
            entry.queue.dead -= 1
            self._end(entry, now_ms)
        self._stones.sweep(now_ms, budget)
        self._unique.sweep(now_ms, budget)
        if len(self.queues) > 2 * len(self.entries) + 64:
            self.queues = {n: q for n, q in self.queues.items() if q.paused or not q.is_empty}


def _objection(message: Message, delay_ms: int) -> str:
    """Say why *message* can never be kept; empty when it can."""
    if len(message.body) > MAX_PAYLOAD:
        return f"the body has {len(message.body)} bytes, more than {MAX_PAYLOAD}"
    if not 0 <= message.priority <= 9:
        return f"priority {message.priority} is not one of 0 to 9"
    if type(message.lease_ms) is not int or message.lease_ms <= 0:
        return f"a lease of {message.lease_ms!r} is not a whole number of milliseconds above 0"
    if delay_ms > MAX_DELAY_MS:
        return f"a delay of {delay_ms} ms is more than {MAX_DELAY_MS}"
    return ""


def _check_batch(messages: Sequence[Message]) -> None:
    if len(messages) > MAX_BATCH:
        raise ValueError(f"{len(messages)} messages in one call, more than {MAX_BATCH}")
    size = sum([len(message.body) for message in messages])
    if size > MAX_BATCH_BYTES:
        raise ValueError(f"{size} bytes of bodies in one call, more than {MAX_BATCH_BYTES}")
