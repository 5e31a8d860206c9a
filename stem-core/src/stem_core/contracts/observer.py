"""What an observer is told. Observers watch; they cannot change anything.

Events are frozen and cheap; an observer that raises is logged once and goes on
being called, and never disturbs the task.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from stem_core.model.value import Value

__all__ = ["Event", "Observer"]


class Event(Value, frozen=True, gc=False, kw_only=True):
    """Something that happened.

    Attributes:
        name: ``task-enqueued``, ``task-started``, ``task-succeeded``, ``task-retried``,
            ``task-failed``, ``task-released``, ``task-cancelled``, ``message-refused``
            (nobody vouches for it, and its id is only what it claims), ``lease-lost``,
            ``worker-started``, ``worker-draining``, ``worker-stopped``,
            ``broker-lost``, ``broker-back``, ``store-failed`` (one call, to ``fetch``,
            ``settle`` or ``renew``), ``leases-renewed``, ``messages-vanished`` (somebody
            deleted them), ``store-emptied`` (or it came back without its data). There may be
            more one day: pass over a name that you do not know.
        at_ms: when, milliseconds since the Unix epoch.
        task_id, task, queue, attempt, worker: whom it concerns, where known.
        detail: more, as plain values; never arguments, results or secrets.
    """

    name: str
    at_ms: int
    task_id: str = ""
    task: str = ""
    queue: str = ""
    attempt: int = 0
    worker: str = ""
    detail: dict[str, Any] = msgspec.field(default_factory=dict)


class Observer(Protocol):
    """Is told of events, in the loop where they happen; must return at once."""

    def on_event(self, event: Event, /) -> None:
        """Take note of *event*."""
        ...
