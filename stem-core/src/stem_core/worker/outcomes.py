"""How a delivery can come out, as data. An attempt returns one of these; `decide` settles it."""

from __future__ import annotations

from enum import Enum
from typing import ClassVar, TypeAlias

from stem_core.contracts.messages import ReleaseWhy
from stem_core.model.outcome import Reason, TaskError
from stem_core.model.value import Value

__all__ = [
    "Cause",
    "Discarded",
    "Dropped",
    "Failed",
    "Handed",
    "Lapsed",
    "Outcome",
    "Refused",
    "Returned",
    "Stopped",
]


class Cause(Enum):
    """Why Stem itself ends a run, and not the task."""

    CANCEL = "cancel requested"
    LEASE_LOST = "lease lost"
    HARD_LIMIT = "hard time limit"
    SHUTDOWN = "shutdown"


class Returned(Value, frozen=True, gc=False):
    """It returned; *value* is strict JSON bytes, None when nobody keeps it."""

    value: bytes | None


class Failed(Value, frozen=True, gc=False, kw_only=True):
    """The attempt failed and another one may follow.

    Attributes:
        error: what happened.
        error_names: `names_of` the exception's type, for the retry policy.
        asked_after_ms: the wait that the task asked for by raising `Retry`.
        timed_out: a time limit ended it.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"error_names"})

    error: TaskError
    error_names: tuple[str, ...]
    asked_after_ms: int | None = None
    timed_out: bool = False


class Discarded(Value, frozen=True, gc=False):
    """The task said that there is nothing to do any more."""

    reason: str


class Refused(Value, frozen=True, gc=False, kw_only=True):
    """To the dead letters, whatever attempts are left.

    *claims_id* is False when the message may not be who it says it is: then nothing
    is written under the id that it claims.
    """

    reason: Reason
    error: TaskError | None = None
    claims_id: bool = True


class Handed(Value, frozen=True, gc=False):
    """Handed back without blame: snoozed, parked, too early, or the worker shuts down."""

    why: ReleaseWhy
    after_ms: int = 0
    reason: str = ""


class Stopped(Value, frozen=True, gc=False):
    """Somebody cancelled it, and it has ended."""

    reason: str = ""


class Dropped(Value, frozen=True, gc=False):
    """The lease is lost: there is nothing that this worker may still settle."""


class Lapsed(Value, frozen=True, gc=False):
    """Its process died under it, as *why* tells: it is left to lapse, for who lapses too often
    is what ends its workers. No attempt of the task: nobody knows what it did."""

    why: str


Outcome: TypeAlias = Returned | Failed | Discarded | Refused | Handed | Stopped | Dropped | Lapsed
