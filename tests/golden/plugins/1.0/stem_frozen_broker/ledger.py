"""Where every message stands, and each step that can move one: no file, no clock, no await.

Rule of this module: a step checks everything before it changes anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec
import stem_core.plugin as stem
from stem_core.plugin import ExtendStatus, Place, PublishStatus, SettleStatus

_ERRORS_KEPT = 20


class Entry(msgspec.Struct):
    """One message, and all that is known of it.

    Attributes:
        due_ms: when its place is over: a wait, a lease, or the time that it is kept.
        turn: who came later has a higher one.
        place: None when it has ended, and only its id is still known.
        fence: one more with each lease. A receipt holds it, so that a late worker is refused.
        settled: the last fence that settled it.
        failed: attempts in which the task itself failed.
        lapses: leases in a row that nobody settled.
    """

    message: stem.Message
    arrived_ms: int
    due_ms: int
    turn: int
    place: Place | None = Place.READY
    fence: int = 0
    settled: int = 0
    failed: int = 0
    lapses: int = 0
    releases: int = 0
    parked_at_ms: int = 0
    worker: str = ""
    cancel_requested: bool = False
    cancel_reason: str = ""
    reason: str = ""
    died_at_ms: int = 0
    errors: tuple[stem.TaskError, ...] = ()

    def end(self, now: int) -> None:
        """Leave the id known for a while, so that the message is not made twice."""
        self.place, self.due_ms = None, now + self.message.dedupe_for_ms

    def wait(self, place: Place, due_ms: int) -> None:
        """Stand in *place* until *due_ms*."""
        self.place, self.due_ms = place, due_ms

    def note(self, error: stem.TaskError | None) -> None:
        """Remember the last errors."""
        if error is not None:
            self.errors = (*self.errors, error)[-_ERRORS_KEPT:]


class Counters(msgspec.Struct):
    """What only grows.

    Attributes:
        store_id: who this store is; it never changes.
        turn: the last turn that was given to a message.
        forgotten: no id that is forgotten ever had a higher fence.
    """

    store_id: str
    turn: int = 0
    forgotten: int = 0


class Shelf(Protocol):
    """Where entries are kept during one step. Nobody else changes them meanwhile."""

    counters: Counters

    def get(self, id: str) -> Entry | None:
        """Return the entry of *id*."""
        ...

    def every(self) -> Iterable[Entry]:
        """Return all entries, in any order."""
        ...

    def put(self, entry: Entry) -> None:
        """Keep *entry*, in the place of an earlier one."""
        ...

    def drop(self, id: str) -> None:
        """Forget the entry of *id*."""
        ...


class Ledger:
    """One step at one instant, *now* in milliseconds of the wall clock."""

    def __init__(self, shelf: Shelf, now: int, max_payload: int) -> None:
        self._shelf, self._now, self._max_payload = shelf, now, max_payload

    # ── publish ──────────────────────────────────────────────────────────────

    def publish(self, message: stem.Message) -> stem.Published:
        """Keep a new message."""
        status = self._judge(message)
        if status is PublishStatus.CREATED:
            self._create(message)
        over = f"over {self._max_payload} bytes" if status is PublishStatus.REFUSED else ""
        return stem.Published(status, message.id, over)

    def _judge(self, message: stem.Message) -> PublishStatus:
        known = self._find(message.id)
        if known is not None:
            is_same = known.message.body == message.body
            return PublishStatus.DUPLICATE if is_same else PublishStatus.CONFLICT
        is_small = len(message.body) <= self._max_payload
        return PublishStatus.CREATED if is_small else PublishStatus.REFUSED

    def _create(self, message: stem.Message) -> None:
        due_ms = max(self._now + message.delay_ms, message.not_before_ms, self._now)
        place = Place.DELAYED if due_ms > self._now else Place.READY
        self._shelf.put(Entry(message, due_ms, due_ms, self._next_turn(), place))

    # ── fetch ────────────────────────────────────────────────────────────────

    def fetch(self, queues: Sequence[str], limit: int, worker: str) -> list[stem.Delivery]:
        """Lease up to *limit* messages: by queue, by priority, then by age."""
        rank = {queue: number for number, queue in enumerate(queues)}
        free = [entry for entry in self._living() if entry.message.queue in rank]
        free = [entry for entry in free if self._is_free(entry)]
        free.sort(
            key=lambda each: (
                rank[each.message.queue],
                -each.message.priority,
                each.due_ms,
                each.turn,
            )
        )
        return [self._lease(entry, worker) for entry in free[:limit]]

    def _is_free(self, entry: Entry) -> bool:
        # A lease that is over frees its message; nobody else has to notice it.
        return entry.place not in (None, Place.DEAD) and entry.due_ms <= self._now

    def _lease(self, entry: Entry, worker: str) -> stem.Delivery:
        message = entry.message
        entry.lapses += entry.place is Place.LEASED
        entry.fence = (entry.fence or self._shelf.counters.forgotten) + 1
        entry.worker = worker
        entry.wait(Place.LEASED, self._now + message.lease_ms)
        self._shelf.put(entry)
        return stem.Delivery(
            message=message,
            receipt=stem.Receipt(message.id, message.queue, entry.fence),
            attempt=entry.failed + 1,
            lapses=entry.lapses,
            releases=entry.releases,
            parked_ms=self._now - entry.parked_at_ms if entry.parked_at_ms else 0,
            lease_ms=message.lease_ms,
            cancel_requested=entry.cancel_requested,
            cancel_reason=entry.cancel_reason,
            errors=entry.errors,
        )

    # ── extend ───────────────────────────────────────────────────────────────

    def extend(self, extension: stem.Extension) -> stem.Extended:
        """Let a lease end later."""
        entry, lease_ms = self._held(extension.receipt), extension.lease_ms
        if entry is None:
            return stem.Extended(ExtendStatus.LOST)
        entry.due_ms = self._now + lease_ms
        self._shelf.put(entry)
        if entry.cancel_requested:
            return stem.Extended(ExtendStatus.CANCEL_REQUESTED, lease_ms, entry.cancel_reason)
        return stem.Extended(ExtendStatus.HELD, lease_ms)

    def _held(self, receipt: stem.Receipt) -> Entry | None:
        """Return what *receipt* may still settle: nobody has settled or taken it since."""
        entry = self._find(receipt.id)
        if entry and entry.place is Place.LEASED and entry.fence == receipt.fence:
            return entry
        return None

    # ── settle ───────────────────────────────────────────────────────────────

    def settle(self, settlement: stem.Settlement) -> stem.Settled:
        """End a lease, as a whole or not at all."""
        entry = self._held(settlement.receipt)
        if entry is None:
            return stem.Settled(self._refusal(settlement.receipt))
        if objection := self._objection(settlement.follow_ups):
            return stem.Settled(SettleStatus.INVALID, objection)
        entry.settled, entry.lapses = entry.fence, 0
        self._conclude(entry, settlement.outcome)
        self._shelf.put(entry)
        for message in settlement.follow_ups:
            self.publish(message)
        return stem.Settled(SettleStatus.DONE)

    def _refusal(self, receipt: stem.Receipt) -> SettleStatus:
        entry = self._find(receipt.id)
        if entry is None:
            return SettleStatus.GONE
        return SettleStatus.ALREADY if entry.settled == receipt.fence else SettleStatus.STALE

    def _objection(self, follow_ups: Sequence[stem.Message]) -> str:
        bodies = {message.id: message.body for message in follow_ups}
        for message in follow_ups:
            status = self._judge(message)
            if bodies[message.id] != message.body:  # two of them share an id, not a body
                status = PublishStatus.CONFLICT
            if status in (PublishStatus.CONFLICT, PublishStatus.REFUSED):
                return f"follow-up {message.id}: {status.value}"
        return ""

    def _conclude(self, entry: Entry, outcome: stem.SettleOutcome) -> None:
        match outcome:
            case stem.Ack():
                entry.end(self._now)
            case stem.RetryLater(after_ms, error):
                self._retry(entry, after_ms, error)
            case stem.Release(after_ms, why):
                self._release(entry, after_ms, why)
            case stem.DeadLetter(reason, error, keep_ms):
                entry.failed = max(entry.failed, error.attempt if error else 0)
                entry.note(error)
                entry.reason, entry.died_at_ms = reason.value, self._now
                entry.wait(Place.DEAD, self._now + keep_ms)

    def _retry(self, entry: Entry, after_ms: int, error: stem.TaskError | None) -> None:
        """Go behind everything that is ready."""
        entry.failed, entry.parked_at_ms = entry.failed + 1, 0
        entry.note(error)
        entry.arrived_ms, entry.turn = self._now + after_ms, self._next_turn()
        entry.wait(Place.DELAYED if after_ms else Place.READY, entry.arrived_ms)

    def _release(self, entry: Entry, after_ms: int, why: stem.ReleaseWhy) -> None:
        """Go back to the old turn: whoever had the message did not run it."""
        entry.releases += 1
        place = Place.DELAYED if after_ms else Place.READY
        if why is stem.ReleaseWhy.PARKED:
            place, entry.parked_at_ms = Place.PARKED, entry.parked_at_ms or self._now
        elif why is stem.ReleaseWhy.SNOOZE:
            entry.parked_at_ms = 0
        entry.wait(place, self._now + after_ms if after_ms else entry.arrived_ms)

    # ── cancel and look ──────────────────────────────────────────────────────

    def cancel(self, cancellation: stem.Cancellation) -> stem.Cancelled:
        """End what waits; ask what runs to stop."""
        entry = self._find(cancellation.id)
        if entry is None:
            return stem.Cancelled(stem.CancelStatus.UNKNOWN)
        if entry.place in (None, Place.DEAD):
            return stem.Cancelled(stem.CancelStatus.FINISHED)
        if entry.place is Place.LEASED:
            entry.cancel_requested, entry.cancel_reason = True, cancellation.reason
            self._shelf.put(entry)
            return stem.Cancelled(stem.CancelStatus.REQUESTED)
        entry.end(self._now)
        self._shelf.put(entry)
        return stem.Cancelled(stem.CancelStatus.CANCELLED, entry.message, entry.fence)

    def lookup(self, id: str) -> stem.Located | None:
        """Say where a message is."""
        entry = self._find(id)
        if entry is None or entry.place is None:
            return None
        is_leased = entry.place is Place.LEASED
        waits = entry.place in (Place.DELAYED, Place.PARKED)
        return stem.Located(
            place=entry.place,
            message=entry.message,
            fence=entry.fence,
            attempt=entry.failed + is_leased,
            lapses=entry.lapses,
            releases=entry.releases,
            run_at_ms=entry.due_ms if waits else 0,
            lease_ms=max(0, entry.due_ms - self._now) if is_leased else 0,
            worker=entry.worker if is_leased else "",
            cancel_requested=entry.cancel_requested,
            cancel_reason=entry.cancel_reason,
            reason=entry.reason,
            died_at_ms=entry.died_at_ms,
            errors=entry.errors,
        )

    # ── the passing of time ──────────────────────────────────────────────────

    def _find(self, id: str) -> Entry | None:
        entry = self._shelf.get(id)
        return None if entry is None else self._aged(entry)

    def _living(self) -> list[Entry]:
        found = [self._aged(entry) for entry in self._shelf.every()]
        return [entry for entry in found if entry is not None]

    def _aged(self, entry: Entry) -> Entry | None:
        """Return *entry* as it is by now; None once its id is forgotten."""
        if entry.place is Place.DEAD and entry.due_ms <= self._now:
            entry.end(entry.due_ms)
            self._shelf.put(entry)
        if entry.place is None and entry.due_ms <= self._now:
            # If the id comes again, no receipt of this life may fit that one.
            counters = self._shelf.counters
            counters.forgotten = max(counters.forgotten, entry.fence)
            self._shelf.drop(entry.message.id)
            return None
        return entry

    def _next_turn(self) -> int:
        self._shelf.counters.turn += 1
        return self._shelf.counters.turn
