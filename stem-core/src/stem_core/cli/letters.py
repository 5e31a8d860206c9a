"""Dead letters: which ones are meant, what a list keeps of each, and how they are shown.

Rule of this module: pure. A list keeps no bodies, so that a long one fits into memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from attrs import evolve, frozen

from stem_core.cli.moments import iso, moment, span
from stem_core.cli.strangers import (
    body_facts,
    body_lines,
    cut,
    error_facts,
    error_line,
    history_lines,
)
from stem_core.cli.terminal import Paint, table, visible, width_of
from stem_core.contracts.messages import Located
from stem_core.model.outcome import TaskError

__all__ = ["Letter", "Selection", "letter_facts", "letter_lines", "listed"]

_COLUMNS: Final = ("id", "task", "queue", "reason", "attempts", "died", "key id")
_ERROR: Final = "last error"
_LEAST_ROOM: Final = 32  # an error in fewer columns says nothing


@frozen(kw_only=True)
class Selection:
    """Which dead letters are meant: all conditions hold at once, None always does.

    Attributes:
        queue, reason, task: exactly these.
        older_than_ms: dead for longer than that.
    """

    queue: str | None = None
    reason: str | None = None
    task: str | None = None
    older_than_ms: int | None = None

    def holds(self, letter: Letter, now_ms: int) -> bool:
        """Decide whether *letter* is one of them."""
        return (
            self.queue in (None, letter.queue)
            and self.reason in (None, letter.reason)
            and self.task in (None, letter.task)
            and (
                self.older_than_ms is None
                # One that does not say when it died is not known to be old.
                or 0 < letter.died_at_ms < now_ms - self.older_than_ms
            )
        )


@frozen(kw_only=True)
class Letter:
    """What a list keeps of one dead letter."""

    id: str
    task: str
    queue: str
    reason: str
    attempts: int
    lapses: int
    died_at_ms: int
    error: TaskError | None
    key_id: str

    @classmethod
    def of(cls, located: Located) -> Letter:
        """Take what a list shows of *located*."""
        message, errors = located.message, located.errors
        return cls(
            id=message.id,
            task=message.task,
            queue=message.queue,
            reason=located.reason,
            attempts=located.attempt,
            lapses=located.lapses,
            died_at_ms=located.died_at_ms,
            error=evolve(errors[-1], traceback="") if errors else None,
            key_id=message.key_id,
        )

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "id": self.id,
            "task": self.task,
            "queue": self.queue,
            "reason": self.reason,
            "attempts": self.attempts,
            "lapses": self.lapses,
            "died_at": iso(self.died_at_ms),
            "error": self._error(),
            "key_id": self.key_id,
        }

    def _error(self) -> dict[str, Any] | None:
        facts = error_facts(self.error)
        if facts is not None:
            del facts["traceback"]  # no list keeps it; an empty one would look like the truth
        return facts


# ── many ─────────────────────────────────────────────────────────────────────


def listed(
    letters: Sequence[Letter], now_ms: int, paint: Paint, columns: int | None
) -> Iterator[str]:
    """Show one row for each of *letters*; *columns* is the width of the terminal, if it is one.

    The last error stands at the end of the row, or below where there is no room for it.
    """
    head, *lines = table(_COLUMNS, [_row(each, now_ms) for each in letters], right=frozenset({4}))
    widest = max(map(width_of, (head, *lines)))
    room = None if columns is None else columns - widest - 2
    is_below = room is not None and room < _LEAST_ROOM
    yield paint(head if is_below else f"{head:<{widest}}  {_ERROR}", "bold")
    for line, letter in zip(lines, letters, strict=True):
        error = error_line(letter.error) if letter.error else ""
        if is_below:
            yield line
            if error:
                yield "    " + paint(cut(error, (columns or 0) - 4), "bad")
        else:
            padded = line + " " * (widest - width_of(line))
            yield f"{padded}  {error if room is None else cut(error, room)}".rstrip()


def _row(letter: Letter, now_ms: int) -> tuple[str, ...]:
    return (
        letter.id,
        letter.task,
        letter.queue,
        letter.reason,
        str(letter.attempts),
        moment(letter.died_at_ms, now_ms) or "-",
        letter.key_id or "-",
    )


# ── one ──────────────────────────────────────────────────────────────────────


def letter_lines(located: Located, now_ms: int, paint: Paint) -> Iterator[str]:
    """Show one dead letter with all that is known about it."""
    facts = {name: visible(text) for name, text in _facts(located, now_ms).items() if text}
    width = max(map(len, facts))
    facts["reason"] = paint(facts["reason"], "bad")
    yield from (f"{name:<{width}}  {text}" for name, text in facts.items())
    if located.errors:
        yield ""
        yield paint("errors, the oldest first", "bold")
        yield from (f"  {line}" for line in history_lines(located.errors, now_ms))
    yield ""
    head, *body = body_lines(located.message.body)
    yield paint(head, "bold")
    yield from body


def _facts(located: Located, now_ms: int) -> dict[str, str]:
    message = located.message
    return {
        "id": message.id,
        "task": message.task,
        "queue": message.queue,
        "reason": located.reason or "unknown",
        "died": moment(located.died_at_ms, now_ms),
        "attempts": str(located.attempt),
        "lapses": f"{located.lapses} in a row, of at most {message.max_lapses}",
        "releases": str(located.releases),
        "fence": str(located.fence),
        "priority": str(message.priority),
        "lease": span(message.lease_ms),
        "expires": moment(message.expires_at_ms, now_ms),
        "unique key": message.unique.key if message.unique else "",
        "limits": ", ".join(message.limit_keys),
        "cancelled": _cancelling(located),
        "signature": _signature(located),
        "content type": message.content_type,
    }


def _cancelling(located: Located) -> str:
    if not located.cancel_requested:
        return ""
    return f"requested: {located.cancel_reason}" if located.cancel_reason else "requested"


def _signature(located: Located) -> str:
    message = located.message
    if not message.signature:
        return "none"
    size = f"{len(message.signature)} bytes"
    return f"{message.algorithm}, key id {message.key_id}, {size}; not verified here"


def letter_facts(located: Located) -> dict[str, Any]:
    """Return one dead letter for programs."""
    message = located.message
    return {
        **Letter.of(located).to_json(),
        "max_lapses": message.max_lapses,
        "releases": located.releases,
        "fence": located.fence,
        "priority": message.priority,
        "lease_ms": message.lease_ms,
        "expires_at": iso(message.expires_at_ms),
        "unique_key": message.unique.key if message.unique else None,
        "limit_keys": list(message.limit_keys),
        "cancel_requested": located.cancel_requested,
        "cancel_reason": located.cancel_reason,
        "algorithm": message.algorithm,
        "signature_bytes": len(message.signature),
        "content_type": message.content_type,
        "errors": [error_facts(each) for each in located.errors],
        **body_facts(message.body),
    }
