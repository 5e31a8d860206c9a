"""What a random run wishes for, in words and units, and what that means at a store.

Rule of this module: few names and few spans, so that things meet; values only, no chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from attrs import frozen

from stem_core.contracts.capabilities import Capabilities
from stem_core.contracts.messages import (
    ACK,
    DeadLetter,
    Message,
    Receipt,
    Release,
    ReleaseWhy,
    RetryLater,
    SettleOutcome,
    UniqueKey,
)
from stem_core.model.outcome import Reason, Record, State, TaskError

__all__ = [
    "BODIES",
    "IDS",
    "KEPT_MS",
    "OUTCOMES",
    "QUEUES",
    "Draft",
    "End",
    "cancelled_record",
    "error_of",
    "message_of",
    "newer_record",
    "outcome_of",
    "record_of",
]

IDS: Final = ("a", "b", "c", "d", "e", "f", "g", "h")
QUEUES: Final = ("p", "q")
BODIES: Final = (b"{}", "\0 \N{SEEDLING}".encode() + b"\xff")
KEPT_MS: Final = 30 * 86_400_000
"""How long dead letters and records are kept: longer than any run."""

_KEY: Final = "k"


@frozen
class Draft:
    """A message to be. Its *wait*, *lease* and *forget* are in units of the stage.

    Attributes:
        body: which of `BODIES`; another one for the same id is a conflict.
        is_instant: the wait is given as an instant.
        key: what frees its unique key; None for no key. All drafts share one, and a window
            is one unit long.
        forget: how long its id stays known after its end.
    """

    id: str
    queue: str = "p"
    body: int = 0
    priority: int = 0
    wait: int = 0
    is_instant: bool = False
    key: Literal["finished", "started", "window"] | None = None
    lease: int = 1
    forget: int = 2


@frozen
class End:
    """How a delivery shall end: one of `OUTCOMES`, and what goes with it."""

    outcome: str = "ack"
    with_error: bool = False
    with_record: bool = False
    follow_ups: Sequence[Draft] = ()


def message_of(draft: Draft, can: Capabilities, *, unit_ms: int, wall_ms: int) -> Message:
    """Return *draft* as a message for a broker that *can* do so much: the rest is left out."""
    wait_ms = draft.wait * unit_ms if can.delay else 0
    unique = None
    if draft.key is not None and can.uniqueness:
        window_ms = unit_ms if draft.key == "window" else 0
        unique = UniqueKey(key=_KEY, until=draft.key, window_ms=window_ms)
    return Message(
        id=draft.id,
        queue=draft.queue,
        task="t",
        body=BODIES[draft.body],
        priority=draft.priority if can.priority else 0,
        delay_ms=0 if draft.is_instant else wait_ms,
        not_before_ms=wall_ms + wait_ms if draft.is_instant and wait_ms else 0,
        lease_ms=draft.lease * unit_ms,
        dedupe_for_ms=draft.forget * unit_ms,
        unique=unique,
        signature=b"\0s",
    )


# ── how a delivery ends ──────────────────────────────────────────────────────

_ENDS: Final[Mapping[str, Callable[[int, TaskError | None], SettleOutcome]]] = {
    "ack": lambda unit_ms, error: ACK,
    "retry now": lambda unit_ms, error: RetryLater(0, error),
    "retry later": lambda unit_ms, error: RetryLater(unit_ms, error),
    "dead letter": lambda unit_ms, error: DeadLetter(Reason.REJECTED, error, KEPT_MS),
    "hand back": lambda unit_ms, error: Release(0, ReleaseWhy.SHUTDOWN),
    "snooze": lambda unit_ms, error: Release(unit_ms, ReleaseWhy.SNOOZE),
    "park": lambda unit_ms, error: Release(unit_ms, ReleaseWhy.PARKED),
    "park at once": lambda unit_ms, error: Release(0, ReleaseWhy.PARKED),
    "wait for a limit": lambda unit_ms, error: Release(2 * unit_ms, ReleaseWhy.LIMITED),
    "come too early": lambda unit_ms, error: Release(unit_ms, ReleaseWhy.EARLY),
}
OUTCOMES: Final = tuple(_ENDS)
_STATES: Final = {
    "ack": State.SUCCEEDED,
    "dead letter": State.DEAD,
    "park": State.PARKED,
    "park at once": State.PARKED,
}


def outcome_of(end: End, error: TaskError, *, unit_ms: int) -> SettleOutcome:
    """Return the outcome that *end* names; it tells of *error* if it shall and can."""
    return _ENDS[end.outcome](unit_ms, error if end.with_error else None)


def error_of(receipt: Receipt, attempt: int) -> TaskError:
    """Return how that attempt failed."""
    return TaskError(type="t.Error", message=f"fence {receipt.fence}", attempt=attempt)


def record_of(receipt: Receipt, end: End) -> Record:
    """Return the record that a worker saves with *end*."""
    return Record(
        id=receipt.id,
        state=_STATES.get(end.outcome, State.SCHEDULED),
        fence=receipt.fence,
        value=b"%d" % receipt.fence if end.outcome == "ack" else None,
        task="t",
        queue=receipt.queue,
        meta={"who": "a worker"},
        ttl_ms=KEPT_MS,
    )


def newer_record(receipt: Receipt) -> Record:
    """Return what a later holder would save."""
    return Record(id=receipt.id, state=State.FAILED, fence=receipt.fence + 1, ttl_ms=KEPT_MS)


def cancelled_record(id: str) -> Record:
    """Return what is to be saved if *id* is cancelled at once."""
    return Record(id=id, state=State.CANCELLED, reason="enough", ttl_ms=KEPT_MS)
