"""One message of the model, and how it is shown: to its worker, and to people.

Rule of this module: facts only. What a step means for a message is in `reference`.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field, frozen

from stem_core.contracts.messages import Delivery, Located, Message, Place, Receipt
from stem_core.model.outcome import TaskError
from stem_core.testing.model.line import Turn

__all__ = ["Life", "Stone", "delivery_of", "located_of"]


@define
class Life:
    """One message from its publish until it is forgotten but for its id.

    Attributes:
        due_ms: when it is ready (delayed, parked) or its lease ends; None when no time
            moves it.
        base: what its leases are counted from; None until the store has shown it.
        leases: how many there were in this life.
        is_held: nobody has settled or replaced its last lease, lapsed or not.
        turn_taken: the turn at which it was leased last; a lapse gives it another one.
        settled: the fences that settled it, the last one last.
        first_parked_ms: since when it is parked without a run; None when it is not.
        cancel_reason: why somebody asked to cancel it; None when nobody did.
        death: its number among the dead letters.
    """

    message: Message
    turn: Turn
    place: Place = Place.READY
    due_ms: int | None = None
    base: int | None = None
    leases: int = 0
    is_held: bool = False
    turn_taken: Turn | None = None
    settled: list[int] = field(factory=list)
    failed: int = 0
    lapses: int = 0
    releases: int = 0
    worker: str = ""
    first_parked_ms: int | None = None
    cancel_reason: str | None = None
    errors: tuple[TaskError, ...] = ()
    reason: str = ""
    died_at_ms: int = 0
    death: int = 0

    @property
    def fence(self) -> int:
        """That of its last lease; before the first one what that is counted from."""
        return (self.base or 0) + self.leases


@frozen
class Stone:
    """What is known of an id that has ended, until *until_ms*."""

    until_ms: int
    body: bytes
    settled: Sequence[int]


def delivery_of(life: Life, *, now_ms: int) -> Delivery:
    """Return *life*, which was leased now, as its worker gets it."""
    message, parked_ms = life.message, 0
    if life.first_parked_ms is not None:
        parked_ms = max(1, now_ms - life.first_parked_ms)  # 0 would say: never
    return Delivery(
        message=message,
        receipt=Receipt(message.id, message.queue, life.fence),
        attempt=life.failed + 1,
        lapses=life.lapses,
        releases=life.releases,
        parked_ms=parked_ms,
        lease_ms=message.lease_ms,
        cancel_requested=life.cancel_reason is not None,
        cancel_reason=life.cancel_reason or "",
        errors=life.errors,
    )


def located_of(life: Life, *, now_ms: int, wall_ms: int) -> Located:
    """Return *life* as people see it; *wall_ms* is the same instant on the wall clock."""
    is_leased, is_dead = life.place is Place.LEASED, life.place is Place.DEAD
    left_ms = 0 if life.due_ms is None else life.due_ms - now_ms
    return Located(
        place=life.place,
        message=life.message,
        fence=life.fence if life.leases else 0,
        attempt=life.failed + is_leased,
        lapses=life.lapses,
        releases=life.releases,
        run_at_ms=0 if is_leased or life.due_ms is None else wall_ms + left_ms,
        lease_ms=max(0, left_ms) if is_leased else 0,
        worker=life.worker if is_leased else "",
        cancel_requested=life.cancel_reason is not None,
        cancel_reason=life.cancel_reason or "",
        reason=life.reason if is_dead else "",
        died_at_ms=life.died_at_ms if is_dead else 0,
        errors=life.errors,
    )
