"""What `stem demo` tells of its results: a table, an object for programs, a count, a verdict.

Rule of this module: pure. The outcomes arrive as values, the text leaves as lines.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from stem_core.cli.demo_files import Found
from stem_core.cli.exits import ExitCode
from stem_core.cli.terminal import Paint, count_of, fit, table, visible
from stem_core.model.outcome import State, TaskStatus

__all__ = [
    "ROWS",
    "Outcome",
    "count_line",
    "for_people",
    "for_programs",
    "prologue",
    "verdict",
]

ROWS: Final = 20
"""How many files the table shows unless it is asked for all."""

_COUNTS: Final = ("lines", "words", "size")
_HEADER: Final = ("file", "lines", "words", "bytes", "sha256", "state", "attempts")
_FLUSH_RIGHT: Final = frozenset({1, 2, 3})
_HASH_LETTERS: Final = 12
# What a task that did its work, or had nothing to do, ends as.
_WELL: Final = frozenset({State.SUCCEEDED, State.DISCARDED})


@frozen
class Outcome:
    """What is known of the task of one *file*; *status* is None if nobody knows the task."""

    file: str
    status: TaskStatus | None

    @property
    def is_done(self) -> bool:
        """True when the result backend has a record of its end."""
        return self.status is not None and self.status.state.is_terminal

    @property
    def is_well(self) -> bool:
        """True when it ended as it should."""
        return self.status is not None and self.status.state in _WELL

    @property
    def retries(self) -> int:
        """Runs after the first."""
        return max(0, self.status.attempt - 1) if self.status else 0

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the task found out; empty if it found nothing."""
        return (self.status.value if self.status else None) or {}


def prologue(folder: str, found: Found, concurrency: int) -> Iterator[str]:
    """Say what is about to happen."""
    yield f"One task for each file of {visible(folder)}: its hash, lines and words."
    if found.left_out:
        kinds = sorted(found.left_out.items())
        yield f"Left out: {', '.join(count_of(number, kind) for kind, number in kinds)}."
    yield f"Broker and result backend: memory://demo. One worker, {concurrency} at once."


def for_people(outcomes: Sequence[Outcome], *, rows: int, paint: Paint) -> Iterator[str]:
    """Describe the results in lines, the last one being the count."""
    columns = max(shutil.get_terminal_size().columns - 64, 24)
    body = (_row(outcome, columns) for outcome in outcomes[:rows])
    header, *lines = table(_HEADER, body, right=_FLUSH_RIGHT)
    yield ""
    yield paint(header, "bold")
    yield from lines
    if len(outcomes) > rows:
        yield paint(
            f"... and {count_of(len(outcomes) - rows, 'more file')}; --all shows them", "dim"
        )
    yield ""
    yield _totals(outcomes)
    for trouble, number in sorted(Counter(filter(None, map(_trouble, outcomes))).items()):
        yield paint(f"{count_of(number, 'file')}: {trouble}", "warn")
    yield count_line(outcomes)


def for_programs(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Describe the results as one JSON object."""
    return {
        **_counts(outcomes),
        "files": [
            {
                "file": outcome.file,
                "task_id": outcome.status.id if outcome.status else None,
                "state": _state(outcome),
                "attempt": outcome.status.attempt if outcome.status else 0,
                "reason": outcome.status.reason if outcome.status else "",
                **outcome.facts,
            }
            for outcome in outcomes
        ],
    }


def count_line(outcomes: Sequence[Outcome]) -> str:
    """Return the last line of the demo."""
    return ", ".join(f"{name} {number}" for name, number in _counts(outcomes).items())


def verdict(outcomes: Sequence[Outcome]) -> ExitCode:
    """Fail if any task was lost or ended badly."""
    return ExitCode.OK if all(outcome.is_well for outcome in outcomes) else ExitCode.FAILED


def _counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    done = sum(outcome.is_done for outcome in outcomes)
    return {
        "enqueued": len(outcomes),
        "done": done,
        "lost": len(outcomes) - done,
        "retried": sum(outcome.retries for outcome in outcomes),
    }


def _row(outcome: Outcome, columns: int) -> tuple[str, ...]:
    facts = outcome.facts
    counts = (f"{facts[name]:,}" if facts else "-" for name in _COUNTS)
    return (
        fit(visible(outcome.file), columns),
        *counts,
        facts["sha256"][:_HASH_LETTERS] if facts else "-",
        _state(outcome),
        str(outcome.status.attempt) if outcome.status else "-",
    )


def _state(outcome: Outcome) -> str:
    return outcome.status.state.value if outcome.status else "lost"


def _totals(outcomes: Sequence[Outcome]) -> str:
    lines, words, size = (
        sum(outcome.facts.get(name, 0) for outcome in outcomes) for name in _COUNTS
    )
    return f"{count_of(lines, 'line')}, {count_of(words, 'word')}, {count_of(size, 'byte')}"


def _trouble(outcome: Outcome) -> str:
    """Say what went wrong; empty if nothing did."""
    status = outcome.status
    if status is None:
        return "lost: neither the broker nor the backend knows the task"
    if status.state is State.SUCCEEDED:
        return ""
    why = status.reason or (status.error.message if status.error else "")
    return f"{status.state.value}, {visible(why)}" if why else status.state.value
