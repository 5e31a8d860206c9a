"""The values that cross the broker contract: messages, deliveries, settlements and replies.

All frozen. Bodies and signatures are opaque bytes: a broker never looks inside.
Durations and instants are integer milliseconds; instants count from the Unix
epoch in UTC. Replies are given by position: the n-th reply answers the n-th
request.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import ClassVar, Final, Literal, TypeAlias

from stem_core.model.outcome import Reason, Record, TaskError
from stem_core.model.value import Value

__all__ = [
    "ACK",
    "Ack",
    "CancelStatus",
    "Cancellation",
    "Cancelled",
    "DeadLetter",
    "Delivery",
    "ExtendStatus",
    "Extended",
    "Extension",
    "Located",
    "Message",
    "Place",
    "PublishStatus",
    "Published",
    "Receipt",
    "Release",
    "ReleaseWhy",
    "RetryLater",
    "SettleOutcome",
    "SettleStatus",
    "Settled",
    "Settlement",
    "UniqueKey",
]

NO_INPUTS: Final[Mapping[str, bytes]] = MappingProxyType({})


class UniqueKey(Value, frozen=True, gc=False, kw_only=True):
    """A claim that no second live message may share.

    Attributes:
        key: compared byte for byte within the namespace.
        until: what frees it. ``finished``: the end of the message, in whatever
            way; ``started``: its first lease; ``window``: nothing but time.
        window_ms: with ``window``, how long it is held from the publish; else 0.
    """

    key: str
    until: Literal["finished", "started", "window"] = "finished"
    window_ms: int = 0


class Message(Value, frozen=True, gc=False, kw_only=True, array_like=True):
    """All that a broker sees of one task.

    msgspec writes it as an array of its fields in this order, and reads one that is shorter
    with the defaults. A store may keep it so: new fields come last.

    Attributes:
        id: unique within the namespace.
        queue: where it waits.
        task: the task's name; for people and statistics.
        body: the envelope's bytes, kept and returned unchanged.
        priority: 0 (last) to 9 (first).
        delay_ms: ready this long after the broker accepts it. Relative, so that a
            producer's wrong clock does no harm.
        not_before_ms: ready at this instant; 0 for at once. Never together with
            *delay_ms*. One that has passed means at once.
        expires_at_ms: after this instant a worker ends it unrun; 0 for never. The
            broker delivers it all the same: it ends nothing by itself.
        lease_ms: length of a lease.
        max_lapses: leases in a row that may lapse before a worker calls it poison.
        dedupe_for_ms: how long its id is remembered after it has ended.
        unique: see `UniqueKey`.
        partition: reserved for fairness and ordering keys; empty for none.
        limit_keys: shared limits that a worker asks for before it runs it.
        content_type: of the body.
        key_id, algorithm, signature: the detached signature; empty when unsigned.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"body", "signature"})

    id: str
    queue: str
    task: str
    body: bytes
    priority: int = 0
    delay_ms: int = 0
    not_before_ms: int = 0
    expires_at_ms: int = 0
    lease_ms: int = 30_000
    max_lapses: int = 5
    dedupe_for_ms: int = 20_000
    unique: UniqueKey | None = None
    partition: str = ""
    limit_keys: tuple[str, ...] = ()
    content_type: str = "application/json"
    key_id: str = ""
    algorithm: str = ""
    signature: bytes = b""


class Receipt(Value, frozen=True, gc=False):
    """The right to settle one delivery, for as long as its lease holds.

    Attributes:
        id: the message.
        queue: where it was taken.
        fence: grows at every lease of this id for the life of the id; a lower one
            than the message's own is stale and can do nothing.
    """

    id: str
    queue: str
    fence: int


class Delivery(Value, frozen=True, gc=False, kw_only=True):
    """A message handed to one worker under a lease.

    Attributes:
        message: as published, byte for byte. *delay_ms* and *not_before_ms* are
            those of the publish.
        receipt: settles it.
        attempt: the attempt that this delivery is, 1-based. Grows only when the
            task itself failed.
        lapses: leases in a row that ended by lapsing before this one.
        releases: times it was handed back, parked or snoozed.
        parked_ms: how long ago it was first parked without a run since; 0 if never.
        lease_ms: what was left of the lease when the broker answered.
        cancel_requested: somebody asked to cancel it.
        cancel_reason: why, in their words; may be empty.
        inputs: earlier results for the parameters that the signed body declares
            as inputs, as strict JSON bytes. Never signed.
        errors: earlier failures, oldest first, at most 20.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"inputs"})

    message: Message
    receipt: Receipt
    attempt: int = 1
    lapses: int = 0
    releases: int = 0
    parked_ms: int = 0
    lease_ms: int = 30_000
    cancel_requested: bool = False
    cancel_reason: str = ""
    inputs: Mapping[str, bytes] = NO_INPUTS
    errors: tuple[TaskError, ...] = ()


# ── publish ──────────────────────────────────────────────────────────────────


class PublishStatus(Enum):
    """What became of one message of a publish call."""

    CREATED = "created"
    DUPLICATE = "duplicate"  # this id is known, with this body
    UNIQUE = "unique"  # another live message holds the unique key
    CONFLICT = "conflict"  # this id is known, with another body
    REFUSED = "refused"  # this message cannot be kept here


class Published(Value, frozen=True, gc=False):
    """The reply for one message. *id* is the message that exists now: the
    published one, or for `UNIQUE` the holder of the key. *reason* says why, with
    `REFUSED`; else it is empty."""

    status: PublishStatus
    id: str
    reason: str = ""


# ── extend ───────────────────────────────────────────────────────────────────


class Extension(Value, frozen=True, gc=False):
    """A wish that a lease run anew for *lease_ms* from the broker's now."""

    receipt: Receipt
    lease_ms: int


class ExtendStatus(Enum):
    """What became of a lease."""

    HELD = "held"
    LOST = "lost"
    CANCEL_REQUESTED = "cancel_requested"  # held, and somebody wants the task to stop


class Extended(Value, frozen=True, gc=False):
    """The reply for one extension; *remaining_ms* is what is left of the lease, 0 if lost.

    *cancel_reason* is given with `CANCEL_REQUESTED`; it may be empty all the same.
    """

    status: ExtendStatus
    remaining_ms: int = 0
    cancel_reason: str = ""


# ── settle ───────────────────────────────────────────────────────────────────


class ReleaseWhy(Enum):
    """Why a delivery is handed back without having failed. None of them counts
    toward a limit."""

    SHUTDOWN = "shutdown"
    SNOOZE = "snooze"
    PARKED = "parked"
    LIMITED = "limited"
    EARLY = "early"


class Ack(Value, frozen=True, gc=False):
    """The message has ended; forget it but for its id."""


class RetryLater(Value, frozen=True, gc=False):
    """The task failed and may try again: attempt + 1, ready after *after_ms*."""

    after_ms: int
    error: TaskError | None = None


class DeadLetter(Value, frozen=True, gc=False):
    """The message ends in the dead letters, whole, with its signature and history."""

    reason: Reason
    error: TaskError | None = None
    keep_ms: int = 30 * 86_400_000


class Release(Value, frozen=True, gc=False):
    """Hand the message back, ready after *after_ms*; its attempt stays the same."""

    after_ms: int
    why: ReleaseWhy


SettleOutcome: TypeAlias = Ack | RetryLater | DeadLetter | Release

ACK: Final = Ack()


class Settlement(Value, frozen=True, gc=False, kw_only=True):
    """The one step that ends a delivery.

    Attributes:
        receipt: of the delivery.
        outcome: what becomes of the message.
        record: saved in the same step; None for nothing to save, or when the
            backend is another store (then the worker has saved it before). A broker
            without `atomic_results` pays it no heed.
        follow_ups: published in the same step.
    """

    receipt: Receipt
    outcome: SettleOutcome = ACK
    record: Record | None = None
    follow_ups: tuple[Message, ...] = ()


class SettleStatus(Enum):
    """What became of a settlement."""

    DONE = "done"
    ALREADY = "already"  # this very fence has settled it before: a lost reply, sent again
    STALE = "stale"  # a later fence exists, or the lease lapsed: the lease is lost
    GONE = "gone"  # the id is unknown here
    FULL = "full"  # no room for what it adds; nothing was changed
    INVALID = "invalid"  # something in it cannot be kept; nothing was changed
    BUSY = "busy"  # somebody has locked what it changes; nothing was changed: settle it again


class Settled(Value, frozen=True, gc=False):
    """The reply for one settlement; *detail* says more about `FULL` and `INVALID`."""

    status: SettleStatus
    detail: str = ""


# ── cancel and lookup ────────────────────────────────────────────────────────


class Cancellation(Value, frozen=True, gc=False, kw_only=True):
    """A wish that a task does not run, or stops.

    Attributes:
        id: the task.
        reason: for the record.
        record: saved in the same step if the task is cancelled at once and the
            backend is the same store. Its fence is replaced by the message's.
    """

    id: str
    reason: str = ""
    record: Record | None = None


class CancelStatus(Enum):
    """What became of a cancellation."""

    CANCELLED = "cancelled"  # it was waiting, and has ended now
    REQUESTED = "requested"  # it runs; its worker will be told
    FINISHED = "finished"  # it had ended before
    UNKNOWN = "unknown"


class Cancelled(Value, frozen=True, gc=False):
    """The reply for one cancellation; *message* and *fence* are given with `CANCELLED`."""

    status: CancelStatus
    message: Message | None = None
    fence: int = 0


class Place(Enum):
    """Where a live or dead message is."""

    READY = "ready"
    DELAYED = "delayed"
    PARKED = "parked"
    LEASED = "leased"
    DEAD = "dead"


class Located(Value, frozen=True, gc=False, kw_only=True):
    """Where a message is, with all its counters.

    Attributes:
        place: where.
        message: as published.
        fence, lapses, releases: as in `Delivery`; *fence* is 0 before the first lease.
        attempt: with `LEASED` the attempt that runs, 1-based; else how many have failed,
            with `DEAD` counting the attempt that its last error names.
        run_at_ms: with `DELAYED` and `PARKED`, when it becomes ready; else 0.
        lease_ms: with `LEASED`, what is left of the lease; else 0.
        worker: with `LEASED`, who holds it.
        cancel_requested, cancel_reason: as in `Delivery`.
        reason: with `DEAD`, why.
        died_at_ms: with `DEAD`, when; else 0.
        errors: earlier failures, oldest first, at most 20.
    """

    place: Place
    message: Message
    fence: int = 0
    attempt: int = 0
    lapses: int = 0
    releases: int = 0
    run_at_ms: int = 0
    lease_ms: int = 0
    worker: str = ""
    cancel_requested: bool = False
    cancel_reason: str = ""
    reason: str = ""
    died_at_ms: int = 0
    errors: tuple[TaskError, ...] = ()
