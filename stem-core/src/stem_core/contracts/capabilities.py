"""What a broker or a backend declares that it can do, and how sure one can be of it.

An option that asks for an absent capability is refused at start or at enqueue,
never ignored. Stem does that before it publishes, so a broker need not look at the
fields of a message that are about what it does not declare.
"""

from __future__ import annotations

from enum import Enum

from stem_core.model.value import Value

__all__ = ["BackendCapabilities", "Capabilities", "Durability", "Support"]


class Support(Enum):
    """How a capability is there: by the store itself, by our own means, or not at all."""

    NATIVE = "native"
    EMULATED = "emulated"
    ABSENT = "absent"

    def __bool__(self) -> bool:
        return self is not Support.ABSENT


class Durability(Enum):
    """What an accepted message survives. "Never loses" is said for `SYNCED` only."""

    MEMORY = "memory"
    """Nothing but the life of this process."""

    CACHED = "cached"
    """The death of any process; a power cut may take the last moments."""

    SYNCED = "synced"
    """A power cut: it is on the disk before the call returns."""


class Capabilities(Value, frozen=True, gc=False, kw_only=True):
    """What a broker can do.

    Attributes:
        durability: see `Durability`.
        delay: messages that become ready later.
        priority: levels 0 to 9, taken strictly from 9 down.
        uniqueness: refuses a second live message with the same unique key.
        dedupe: publishing an id again makes no second message.
        cancel: waiting and running messages.
        pause: a queue can be held without losing what is in it.
        dead_letters: kept, listed, replayed.
        transactional: publish and settle on the caller's own connection.
        atomic_results: record, ack and follow-ups in one step, with a backend
            that has the same `store_id`.
        broadcast: the `ControlChannel`.
        limits: the `LimitStore`.
        joins, ticks: group counters and schedule ticks; for later rooms.
        multiprocess: other processes see the same messages.
        embedded: the store works in the process of its caller, so that little is won by asking
            it while tasks run. A worker asks it for all it has room for, and any other store for
            up to half, so that it looks for the next tasks while the first run.
        max_batch: most items in one call of any verb that sends some. A worker with 32 slots or
            more fetches at most half as many at once, and at least 16, from a store that is not
            embedded.
        max_batch_bytes: most bytes of bodies in one publish call.
        max_payload: largest body in bytes; at most *max_batch_bytes*.
        max_delay_ms: longest delay.
    """

    durability: Durability
    delay: Support = Support.ABSENT
    priority: Support = Support.ABSENT
    uniqueness: Support = Support.ABSENT
    dedupe: Support = Support.NATIVE
    cancel: Support = Support.ABSENT
    pause: Support = Support.ABSENT
    dead_letters: Support = Support.ABSENT
    transactional: Support = Support.ABSENT
    atomic_results: Support = Support.ABSENT
    broadcast: Support = Support.ABSENT
    limits: Support = Support.ABSENT
    joins: Support = Support.ABSENT
    ticks: Support = Support.ABSENT
    multiprocess: bool = True
    embedded: bool = False
    max_batch: int = 500
    max_batch_bytes: int = 4 * 1024 * 1024
    max_payload: int = 4 * 1024 * 1024
    max_delay_ms: int = 10 * 365 * 86_400_000


class BackendCapabilities(Value, frozen=True, gc=False, kw_only=True):
    """What a result backend can do.

    Attributes:
        durability: see `Durability`.
        push: `wait` is woken by the store; without it, it polls.
        listing: `list`.
        progress: `progress`.
        multiprocess: other processes see the same records.
        max_payload: largest value in bytes.
    """

    durability: Durability
    push: Support = Support.ABSENT
    listing: Support = Support.ABSENT
    progress: Support = Support.ABSENT
    multiprocess: bool = True
    max_payload: int = 64 * 1024 * 1024
