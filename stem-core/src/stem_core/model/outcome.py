"""How a task ended, or where it is: states, reasons, errors as data, records and statuses.

A `Record` is what a result backend stores; a `TaskStatus` is what a person or
a program reads. Errors travel as text: nothing in here can name code to import.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import Any, ClassVar, Final

import msgspec
from attrs import field, frozen

from stem_core.model.seal import UNSIGNED, Seal
from stem_core.model.value import Value

__all__ = [
    "MAX_ERROR_TEXT",
    "Reason",
    "Record",
    "State",
    "TaskError",
    "TaskStatus",
    "storable",
    "when",
]

MAX_ERROR_TEXT: Final = 16 * 1024
"""Longest text, in characters, that is kept of one error message or one traceback."""


class State(Enum):
    """Where a task stands. The first four are live, the rest terminal."""

    QUEUED = "queued"
    SCHEDULED = "scheduled"
    PARKED = "parked"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DEAD = "dead"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """True when only an operator's replay can change this state."""
        return self not in _LIVE


_LIVE: Final = frozenset({State.QUEUED, State.SCHEDULED, State.PARKED, State.RUNNING})


class Reason(Enum):
    """Why a message lies in the dead letters."""

    MAX_RETRIES_EXHAUSTED = "max-retries-exhausted"
    POISON = "poison"
    SIGNATURE_MISSING = "signature-missing"
    SIGNATURE_INVALID = "signature-invalid"
    DECODE_ERROR = "decode-error"
    ARGUMENTS_MISMATCH = "arguments-mismatch"
    RESULT_ENCODE_ERROR = "result-encode-error"
    UNREGISTERED_TASK = "unregistered-task"
    EXPIRED = "expired"
    TIMED_OUT = "timed-out"
    REJECTED = "rejected"


def storable(text: str) -> str:
    """Return *text* bounded, and as every store can keep it: without lone surrogates and NUL."""
    if len(text) > MAX_ERROR_TEXT:
        text = text[:MAX_ERROR_TEXT] + " [cut]"
    if type(text) is str and text.isascii() and "\0" not in text:
        return text
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


@frozen(kw_only=True)
class TaskError:
    """One failure of a task, as data.

    Attributes:
        type: the exception's type, as ``module.QualName``; a label, never imported.
        message: its text, cut at `MAX_ERROR_TEXT`; what no store can keep is escaped.
        traceback: formatted, treated likewise; may be empty.
        attempt: the attempt that failed, 1-based; 0 when no attempt was made.
        at_ms: when, milliseconds since the Unix epoch.
    """

    type: str = field(converter=storable)
    message: str = field(converter=storable, default="")
    traceback: str = field(converter=storable, default="")
    attempt: int = 0
    at_ms: int = 0


class Record(Value, frozen=True, gc=False, kw_only=True):
    """What a result backend keeps for one task.

    Attributes:
        id: the task's id.
        state: its state; usually terminal.
        fence: the fence of the delivery that wrote this. Decides between two writers.
        attempt: the attempt that led here, 1-based; 0 when none was made.
        task, queue: names, for listing.
        value: the result as strict JSON bytes; None when there is none.
        error: the last error, for every state that has one.
        reason: why, in one word or sentence (a dead-letter reason, a discard reason).
        meta: the envelope's meta, unchanged.
        enqueued_at_ms, started_at_ms, finished_at_ms: instants; 0 when unknown.
        worker: who settled it; for people.
        ttl_ms: how long the backend keeps it, counted from the save.
        seal: who vouches for all of it but *ttl_ms*; empty when nobody does.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"value", "meta"})

    id: str
    state: State
    fence: int = 0
    attempt: int = 0
    task: str = ""
    queue: str = ""
    value: bytes | None = None
    error: TaskError | None = None
    reason: str = ""
    meta: dict[str, Any] = msgspec.field(default_factory=dict)
    enqueued_at_ms: int = 0
    started_at_ms: int = 0
    finished_at_ms: int = 0
    worker: str = ""
    ttl_ms: int = 86_400_000
    seal: Seal = UNSIGNED

    def replaces(self, old: Record | None) -> bool:
        """Decide whether this record may take the place of *old*.

        Yes iff its fence is higher, or equal while *old* is not terminal.
        """
        if old is None or self.fence > old.fence:
            return True
        return self.fence == old.fence and not old.state.is_terminal


class TaskStatus(Value, frozen=True, gc=False, kw_only=True):
    """What is known about a task: its record, or else where the broker holds it.

    Attributes:
        id, task, queue: who it is.
        state: where it stands.
        attempt: 1-based attempt that runs now or ran last; 0 before the first.
        value: the decoded result of a succeeded task, else None.
        error: the last error, if any.
        reason: why it is dead, discarded, cancelled or parked.
        meta: as given at enqueue.
        progress: the last progress that the task reported, or None.
        enqueued_at, started_at, finished_at, run_at: aware datetimes in UTC, or None.
            *run_at* is the earliest next start of a scheduled task.
        worker: who runs it or settled it; may be empty.
        lapses: leases in a row that ended by lapsing.
        errors: earlier failures, oldest first, at most 20.
    """

    id: str
    state: State
    task: str = ""
    queue: str = ""
    attempt: int = 0
    value: Any = None
    error: TaskError | None = None
    reason: str = ""
    meta: dict[str, Any] = msgspec.field(default_factory=dict)
    progress: Any = None
    enqueued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    run_at: datetime | None = None
    worker: str = ""
    lapses: int = 0
    errors: tuple[TaskError, ...] = ()


def when(instant_ms: int) -> datetime | None:
    """Return *instant_ms* as an aware datetime in UTC; None for 0, which means unknown."""
    return datetime.fromtimestamp(instant_ms / 1000, UTC) if instant_ms else None
