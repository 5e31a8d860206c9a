"""How a delivery can come out, as data. An attempt returns one of these; `decide` settles it."""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from attrs import field, frozen

from stem_core.contracts.messages import ReleaseWhy
from stem_core.model.outcome import Reason, TaskError
from stem_core.model.value import Value

__all__ = [
    "Cause",
    "Discarded",
    "Dropped",
    "Failed",
    "Handed",
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


@frozen(kw_only=True)
class Failed:
    """The attempt failed and another one may follow.

    Attributes:
        error: what happened.
        error_names: `names_of` the exception's type, for the retry policy.
        asked_after_ms: the wait that the task asked for by raising `Retry`.
        timed_out: a time limit ended it.
    """

    error: TaskError
    error_names: tuple[str, ...] = field(repr=False)
    asked_after_ms: int | None = None
    timed_out: bool = False


@frozen
class Discarded:
    """The task said that there is nothing to do any more."""

    reason: str


@frozen(kw_only=True)
class Refused:
    """To the dead letters, whatever attempts are left.

    *claims_id* is False when the message may not be who it says it is: then nothing
    is written under the id that it claims.
    """

    reason: Reason
    error: TaskError | None = None
    claims_id: bool = True


@frozen
class Handed:
    """Handed back without blame: snoozed, parked, too early, or the worker shuts down."""

    why: ReleaseWhy
    after_ms: int = 0
    reason: str = ""


@frozen
class Stopped:
    """Somebody cancelled it, and it has ended."""

    reason: str = ""


@frozen
class Dropped:
    """The lease is lost: there is nothing that this worker may still settle."""


Outcome: TypeAlias = Returned | Failed | Discarded | Refused | Handed | Stopped | Dropped
