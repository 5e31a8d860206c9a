"""The rules of a broker: where a message stands, and each step that moves it.

Rule of this module: no network, no clock, no await. A step checks everything before it puts
anything into the draft; that the draft is written whole, or not at all, is the stream's part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import stem_core.plugin as stem
from nats_broker.draft import Draft, TooLarge
from nats_broker.records import offer, reopen
from nats_broker.values import ERRORS_KEPT, Entry, digest_of, from_stamp
from stem_core.plugin import ExtendStatus, Place, PublishStatus, SettleStatus, replace

MAX_DELAY_MS: Final = 10 * 365 * 86_400_000
_ERROR_BYTES: Final = 192 * 1024
"""Most bytes that the errors of one message may take: it is written whole at each step."""


class Ledger:
    """The steps of the broker contract, into one draft."""

    def __init__(self, draft: Draft, max_payload: int) -> None:
        self._draft, self._max_payload = draft, max_payload

    # ── publish ──────────────────────────────────────────────────────────────

    def publish(self, message: stem.Message) -> stem.Published:
        """Keep a new message."""
        inner = self._draft.inner()
        status, reason = self._publish(inner, message)
        if status is PublishStatus.CREATED:
            self._draft.adopt(inner)
        elif status is not PublishStatus.REFUSED:
            self._draft.doubt()
        return stem.Published(status, message.id, reason)

    def _publish(self, draft: Draft, message: stem.Message) -> tuple[PublishStatus, str]:
        known = draft.entry(message.id)
        if known is not None:
            is_same = known.has_body(message.body)
            return PublishStatus.DUPLICATE if is_same else PublishStatus.CONFLICT, ""
        if objection := self._objection(message):
            return PublishStatus.REFUSED, objection
        is_delayed = message.delay_ms > 0 or message.not_before_ms > draft.now_ms
        due_ms = from_stamp(message.delay_ms)
        if message.not_before_ms > draft.now_ms:
            due_ms = message.not_before_ms
        place = Place.DELAYED if is_delayed else Place.READY
        try:
            draft.put(Entry(message, due_ms, due_ms, place=place))
        except TooLarge as error:
            return PublishStatus.REFUSED, str(error)
        return PublishStatus.CREATED, ""

    def _objection(self, message: stem.Message) -> str:
        delay_ms = max(message.delay_ms, message.not_before_ms - self._draft.now_ms)
        if len(message.body) > self._max_payload:
            return f"the body has {len(message.body)} bytes, more than {self._max_payload}"
        if not 0 <= message.priority <= 9:
            return f"priority {message.priority} is not one of 0 to 9"
        if message.lease_ms <= 0:
            return f"a lease of {message.lease_ms} ms is not above 0"
        return f"a delay of {delay_ms} ms is too long" if delay_ms > MAX_DELAY_MS else ""

    # ── fetch ────────────────────────────────────────────────────────────────

    def lease(self, ids: Iterable[str], worker: str) -> list[stem.Delivery]:
        """Lease those of *ids* that are free."""
        entries = [self._draft.entry(id) for id in ids]
        now_ms = self._draft.now_ms
        return [self._lease(entry, worker) for entry in entries if entry and is_free(entry, now_ms)]

    def _lease(self, entry: Entry, worker: str) -> stem.Delivery:
        leased = replace(
            entry,
            lapses=entry.lapses + (entry.place is Place.LEASED),
            fence=entry.last_fence + 1,
            worker=worker,
            place=Place.LEASED,
            due_ms=from_stamp(entry.message.lease_ms),
        )
        self._draft.put(leased)
        return delivery_of(leased, self._draft.now_ms)

    def hand_back(self, receipt: stem.Receipt) -> None:
        """Undo a lease that its worker never learnt of; the fence stays."""
        entry = self._held(receipt)
        if entry is not None:
            self._draft.put(replace(entry, place=Place.READY, due_ms=entry.arrived_ms, worker=""))

    # ── extend ───────────────────────────────────────────────────────────────

    def extend(self, extension: stem.Extension) -> stem.Extended:
        """Let a lease end later, or earlier."""
        entry, lease_ms = self._held(extension.receipt), max(0, extension.lease_ms)
        if entry is None:
            self._draft.doubt()
            return stem.Extended(ExtendStatus.LOST)
        self._draft.put(replace(entry, due_ms=from_stamp(lease_ms)))
        if entry.cancel_requested:
            return stem.Extended(ExtendStatus.CANCEL_REQUESTED, lease_ms, entry.cancel_reason)
        return stem.Extended(ExtendStatus.HELD, lease_ms)

    def _held(self, receipt: stem.Receipt) -> Entry | None:
        """Return what *receipt* may still settle: nobody has settled or taken it since."""
        entry = self._draft.entry(receipt.id)
        if entry and entry.place is Place.LEASED and entry.fence == receipt.fence:
            return entry
        return None

    # ── settle ───────────────────────────────────────────────────────────────

    def settle(self, settlement: stem.Settlement) -> stem.Settled:
        """End a lease, as a whole or not at all."""
        entry = self._held(settlement.receipt)
        if entry is None:
            self._draft.doubt()
            return stem.Settled(self._refusal(settlement.receipt))
        inner = self._draft.inner()
        try:
            settled = Ledger(inner, self._max_payload)._settle(entry, settlement)
        except (TooLarge, stem.StemError) as error:
            return stem.Settled(SettleStatus.INVALID, str(error))
        if settled.status is SettleStatus.DONE:
            self._draft.adopt(inner)
        else:
            self._draft.doubt()
        return settled

    def _settle(self, entry: Entry, settlement: stem.Settlement) -> stem.Settled:
        if objection := self._objection_to(settlement):
            return stem.Settled(SettleStatus.INVALID, objection)
        if settlement.record is not None and not offer(self._draft, settlement.record):
            return stem.Settled(SettleStatus.STALE)
        entry = replace(entry, settled=entry.fence, lapses=0)
        self._draft.put(self._concluded(entry, settlement.outcome))
        for message in settlement.follow_ups:
            self.publish(message)
        return stem.Settled(SettleStatus.DONE)

    def _refusal(self, receipt: stem.Receipt) -> SettleStatus:
        entry = self._draft.entry(receipt.id)
        if entry is None:
            return SettleStatus.GONE
        is_mine = entry.settled == receipt.fence > 0
        return SettleStatus.ALREADY if is_mine else SettleStatus.STALE

    def _objection_to(self, settlement: stem.Settlement) -> str:
        """Say what of *settlement* can never be kept; empty when all of it can."""
        record = settlement.record
        if record is not None and record.id != settlement.receipt.id:
            return f"the record is that of {record.id}"
        trial = Ledger(self._draft.inner(), self._max_payload)
        bodies: dict[str, bytes] = {}
        for message in settlement.follow_ups:
            reply = trial.publish(message)
            if bodies.setdefault(message.id, message.body) != message.body:
                return f"follow-up {message.id}: two of them share this id, but not the body"
            if reply.status in (PublishStatus.CONFLICT, PublishStatus.REFUSED):
                return f"follow-up {message.id}: {reply.status.value} {reply.reason}".rstrip()
        return ""

    def _concluded(self, entry: Entry, outcome: stem.SettleOutcome) -> Entry:
        match outcome:
            case stem.Ack():
                return ended(entry)
            case stem.RetryLater(after_ms, error):
                return _retried(entry, max(0, after_ms), error)
            case stem.Release(after_ms, why):
                return _released(entry, max(0, after_ms), why)
            case stem.DeadLetter():
                return _buried(entry, outcome)

    # ── cancel and look ──────────────────────────────────────────────────────

    def cancel(self, cancellation: stem.Cancellation) -> stem.Cancelled:
        """End what waits; ask what runs to stop."""
        entry = self._draft.entry(cancellation.id)
        if entry is None or entry.place in (None, Place.DEAD):
            self._draft.doubt()
            known = entry is not None
            return stem.Cancelled(
                stem.CancelStatus.FINISHED if known else stem.CancelStatus.UNKNOWN
            )
        if entry.place is Place.LEASED:
            reason = cancellation.reason
            self._draft.put(replace(entry, cancel_requested=True, cancel_reason=reason))
            return stem.Cancelled(stem.CancelStatus.REQUESTED)
        return self.end_waiting(entry, cancellation.record)

    def end_waiting(self, entry: Entry, record: stem.Record | None) -> stem.Cancelled:
        """End *entry*, which waits, with *record* under its own fence."""
        fence = entry.last_fence
        self._draft.put(ended(entry))
        if record is not None:
            offer(self._draft, replace(record, id=entry.key, fence=fence))
        return stem.Cancelled(stem.CancelStatus.CANCELLED, entry.message, fence)

    def lookup(self, id: str) -> stem.Located | None:
        """Say where a message is."""
        self._draft.doubt()
        entry = self._draft.entry(id)
        return None if entry is None else located(entry, self._draft.now_ms)

    # ── dead letters ─────────────────────────────────────────────────────────

    def replay(self, id: str) -> stem.Replayed:
        """Put a dead letter back to ready, and its record to queued."""
        entry, refusal = self._dead(id)
        if entry is None:
            return refusal
        self._draft.put(
            replace(
                entry, place=Place.READY, due_ms=-1, arrived_ms=-1, turn=-1, failed=0, lapses=0,
                parked_at_ms=0, cancel_requested=False, cancel_reason="",
            )
        )  # fmt: skip
        reopen(self._draft, id, entry.last_fence)
        return stem.Replayed(stem.ReplayStatus.DONE, entry.last_fence)

    def discard(self, id: str) -> stem.Replayed:
        """Remove a dead letter; its id stays known for a while."""
        entry, refusal = self._dead(id)
        if entry is None:
            return refusal
        self._draft.put(ended(entry))
        return stem.Replayed(stem.ReplayStatus.DONE, entry.last_fence)

    def _dead(self, id: str) -> tuple[Entry | None, stem.Replayed]:
        entry = self._draft.entry(id)
        is_known = entry is not None and entry.place is not None
        status = stem.ReplayStatus.ALREADY if is_known else stem.ReplayStatus.UNKNOWN
        if entry is None or entry.place is not Place.DEAD:
            self._draft.doubt()
            return None, stem.Replayed(status)
        return entry, stem.Replayed(status)


# ── one message ──────────────────────────────────────────────────────────────


def is_free(entry: Entry, now_ms: int) -> bool:
    """Say whether *entry* may be leased. A lease that is over frees its message by itself."""
    return entry.place not in (None, Place.DEAD) and entry.due_ms <= now_ms


def ended(entry: Entry) -> Entry:
    """Return *entry* at its end: the id, the counters, and a digest of the body."""
    message = replace(entry.message, body=b"", signature=b"")
    return replace(
        entry,
        message=message,
        digest=entry.digest or digest_of(entry.message.body),
        place=None,
        due_ms=from_stamp(message.dedupe_for_ms),
        errors=(),
    )


def _retried(entry: Entry, after_ms: int, error: stem.TaskError | None) -> Entry:
    """Return *entry* behind everything that is ready."""
    return replace(
        entry,
        failed=entry.failed + 1,
        parked_at_ms=0,
        errors=noted(entry.errors, error),
        place=Place.DELAYED if after_ms else Place.READY,
        due_ms=from_stamp(after_ms),
        arrived_ms=from_stamp(after_ms),
        turn=-1,
    )


def _released(entry: Entry, after_ms: int, why: stem.ReleaseWhy) -> Entry:
    """Return *entry* at its old turn: whoever had the message did not run it."""
    place, parked_at_ms = Place.DELAYED if after_ms else Place.READY, entry.parked_at_ms
    if why is stem.ReleaseWhy.PARKED:
        place, parked_at_ms = Place.PARKED, parked_at_ms or from_stamp(0)
    elif why is stem.ReleaseWhy.SNOOZE:
        parked_at_ms = 0
    due_ms = from_stamp(after_ms) if after_ms else entry.arrived_ms
    releases = entry.releases + 1
    return replace(entry, place=place, due_ms=due_ms, releases=releases, parked_at_ms=parked_at_ms)


def _buried(entry: Entry, outcome: stem.DeadLetter) -> Entry:
    error = outcome.error
    return replace(
        entry,
        failed=max(entry.failed, error.attempt if error else 0),
        errors=noted(entry.errors, error),
        reason=outcome.reason.value,
        died_at_ms=from_stamp(0),
        place=Place.DEAD,
        due_ms=from_stamp(outcome.keep_ms),
    )


def noted(
    errors: Sequence[stem.TaskError], error: stem.TaskError | None
) -> tuple[stem.TaskError, ...]:
    """Return the last errors; where they are too long, the oldest lose their tracebacks first."""
    kept = [*errors, *([error] if error else [])][-ERRORS_KEPT:]
    for position, each in enumerate(kept):
        if sum(map(_size, kept)) <= _ERROR_BYTES:
            break
        kept[position] = _without_traceback(each)
    while sum(map(_size, kept)) > _ERROR_BYTES:
        del kept[0]
    return tuple(kept)


def _size(error: stem.TaskError) -> int:
    return len((error.type + error.message + error.traceback).encode())


def _without_traceback(error: stem.TaskError) -> stem.TaskError:
    return stem.TaskError(
        type=error.type, message=error.message, attempt=error.attempt, at_ms=error.at_ms
    )


def delivery_of(entry: Entry, now_ms: int) -> stem.Delivery:
    """Return *entry*, which this step leases, as its worker sees it."""
    parked_ms = max(1, now_ms - entry.parked_at_ms) if entry.parked_at_ms else 0
    return stem.Delivery(
        message=entry.message,
        receipt=stem.Receipt(entry.key, entry.message.queue, entry.fence),
        attempt=entry.failed + 1,
        lapses=entry.lapses,
        releases=entry.releases,
        parked_ms=parked_ms,
        lease_ms=entry.message.lease_ms,
        cancel_requested=entry.cancel_requested,
        cancel_reason=entry.cancel_reason,
        errors=entry.errors,
    )


def located(entry: Entry, now_ms: int) -> stem.Located | None:
    """Return where *entry* is; None when it has ended."""
    if entry.place is None:
        return None
    is_leased, is_dead = entry.place is Place.LEASED, entry.place is Place.DEAD
    waits = entry.place in (Place.DELAYED, Place.PARKED)
    return stem.Located(
        place=entry.place,
        message=entry.message,
        fence=entry.fence,
        attempt=entry.failed + is_leased,
        lapses=entry.lapses,
        releases=entry.releases,
        run_at_ms=entry.due_ms if waits else 0,
        lease_ms=max(0, entry.due_ms - now_ms) if is_leased else 0,
        worker=entry.worker if is_leased else "",
        cancel_requested=entry.cancel_requested,
        cancel_reason=entry.cancel_reason,
        reason=entry.reason if is_dead else "",
        died_at_ms=entry.died_at_ms if is_dead else 0,
        errors=entry.errors,
    )
