"""What leaves the store: an entry as a `Delivery` for its worker, or as a `Located` for people."""

from __future__ import annotations

from stem_core.contracts.messages import Delivery, Located, Place, Receipt
from stem_core.embedded.memory.queues import Entry

__all__ = ["delivery_of", "locate"]


def delivery_of(entry: Entry, now_ms: int) -> Delivery:
    """Return *entry*, which was leased in this step, as a delivery."""
    message, parked_at_ms = entry.message, entry.parked_at_ms
    return Delivery(
        message=message,
        receipt=Receipt(message.id, message.queue, entry.fence),
        attempt=entry.failed + 1,
        lapses=entry.lapses,
        releases=entry.releases,
        parked_ms=0 if parked_at_ms < 0 else max(1, now_ms - parked_at_ms),
        lease_ms=message.lease_ms,
        cancel_requested=entry.cancel_requested,
        cancel_reason=entry.cancel_reason,
        errors=entry.errors,
    )


def locate(entry: Entry, now_ms: int, wall_ms: int) -> Located:
    """Describe *entry*; *now_ms* and *wall_ms* are the same instant on the two clocks."""
    leased, dead = entry.place is Place.LEASED, entry.place is Place.DEAD
    waits = entry.place is Place.DELAYED or entry.place is Place.PARKED
    return Located(
        place=entry.place,
        message=entry.message,
        fence=entry.fence if entry.fence > entry.base else 0,
        attempt=entry.failed + 1 if leased else entry.failed,
        lapses=entry.lapses,
        releases=entry.releases,
        run_at_ms=wall_ms + entry.due_ms - now_ms if waits else 0,
        lease_ms=max(0, entry.due_ms - now_ms) if leased else 0,
        worker=entry.worker if leased else "",
        cancel_requested=entry.cancel_requested,
        cancel_reason=entry.cancel_reason,
        reason=entry.reason if dead else "",
        died_at_ms=entry.died_at_ms if dead else 0,
        errors=entry.errors,
    )
