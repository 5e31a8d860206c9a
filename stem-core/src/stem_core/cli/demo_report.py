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
from stem_core.cli.demo_plot import Casualty
from stem_core.cli.exits import ExitCode
from stem_core.cli.terminal import Paint, count_of, fit, table, visible
from stem_core.model.outcome import State, TaskStatus

__all__ = [
    "ROWS",
    "Outcome",
    "Story",
    "count_line",
    "for_people",
    "for_programs",
    "prologue",
    "verdict",
]

ROWS: Final = 10
"""How many files the table shows unless it is asked for all."""

_COUNTS: Final = ("lines", "words", "size")
_HEADER: Final = ("file", "lines", "words", "bytes", "sha256", "state")
_FLUSH_RIGHT: Final = frozenset({1, 2, 3})
_OTHER_COLUMNS: Final = 56
_HASH_LETTERS: Final = 8
# What a task that did its work, or had nothing to do, ends as.
_WELL: Final = frozenset({State.SUCCEEDED, State.DISCARDED})


@frozen
class Outcome:
    """What is known of the task of one *file*.

    Attributes:
        status: None if nobody knows the task.
        starts: how often it was started.
        is_run_twice: one of its attempts was started more than once.
        is_committed_twice: its record was there, and then another one in its place.
    """

    file: str
    status: TaskStatus | None
    starts: int = 1
    is_run_twice: bool = False
    is_committed_twice: bool = False

    @property
    def is_done(self) -> bool:
        """True when the result backend has a record of its end."""
        return self.status is not None and self.status.state.is_terminal

    @property
    def is_well(self) -> bool:
        """True when it ended as it should, once."""
        ended_well = self.status is not None and self.status.state in _WELL
        return ended_well and not self.is_committed_twice

    @property
    def retries(self) -> int:
        """Runs after the first that failed."""
        return max(0, self.status.attempt - 1) if self.status else 0

    @property
    def is_plain(self) -> bool:
        """True when there is nothing to tell of it."""
        return self.is_well and not (self.retries or self.is_run_twice)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the task found out; empty if it found nothing."""
        return (self.status.value if self.status else None) or {}


@frozen(kw_only=True)
class Story:
    """What happened in one demo.

    Attributes:
        outcomes: of all tasks.
        casualty: the worker that was killed; None if all was done before.
        recovery_ms: from the kill until others had started all that it held.
    """

    outcomes: Sequence[Outcome]
    casualty: Casualty | None = None
    recovery_ms: int | None = None

    @property
    def example(self) -> Outcome:
        """The one with most to tell."""
        return max(self.outcomes, key=lambda outcome: (outcome.is_run_twice, outcome.retries))

    @property
    def example_id(self) -> str | None:
        """The id of its task, if anybody knows it."""
        status = self.example.status
        return status.id if status is not None else None


def prologue(folder: str, found: Found, place: str, paint: Paint) -> Iterator[str]:
    """Say what is about to happen; *place* says where tasks and results are."""
    yield paint("A worker is killed in the middle of its work, and no task is lost.", "bold")
    yield f"There is one task for each file of {visible(folder)}."
    if found.left_out:
        kinds = sorted(found.left_out.items())
        yield f"Left out: {', '.join(count_of(number, kind) for kind, number in kinds)}."
    yield place


def for_people(story: Story, *, rows: int, paint: Paint) -> Iterator[str]:
    """Describe the results in lines, the last one being the count."""
    outcomes = story.outcomes
    yield ""
    yield from _table(outcomes, rows, paint)
    yield ""
    yield _totals(outcomes)
    for trouble, number in sorted(Counter(filter(None, map(_trouble, outcomes))).items()):
        yield paint(f"{count_of(number, 'file')}: {trouble}", "warn")
    yield _moral(story)
    yield count_line(outcomes)


def for_programs(story: Story, *, kept: str | None = None) -> dict[str, Any]:
    """Describe the results as one JSON object; *kept* is what `--keep` kept."""
    outcomes, casualty = story.outcomes, story.casualty
    return {
        **_counts(outcomes),
        "retried": sum(outcome.retries for outcome in outcomes),
        "committed_twice": sum(outcome.is_committed_twice for outcome in outcomes),
        "killed": casualty and _of_casualty(casualty),
        "recovery_ms": story.recovery_ms,
        "kept": kept,
        "files": [_for_programs(outcome) for outcome in outcomes],
    }


def count_line(outcomes: Sequence[Outcome]) -> str:
    """Return the last line of the demo."""
    counts = _counts(outcomes).items()
    return ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in counts)


def verdict(story: Story) -> ExitCode:
    """Fail if any task was lost, ended badly or was committed twice."""
    is_well = all(outcome.is_well for outcome in story.outcomes)
    return ExitCode.OK if is_well else ExitCode.FAILED


def _counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    done = sum(outcome.is_done for outcome in outcomes)
    return {
        "enqueued": len(outcomes),
        "done": done,
        "lost": len(outcomes) - done,
        "run_twice": sum(outcome.is_run_twice for outcome in outcomes),
    }


def _of_casualty(casualty: Casualty) -> dict[str, Any]:
    return {"worker": casualty.name, "pid": casualty.pid, "held": len(casualty.held)}


def _for_programs(outcome: Outcome) -> dict[str, Any]:
    status = outcome.status
    return {
        "file": outcome.file,
        "task_id": status.id if status else None,
        "state": _state(outcome),
        "attempt": status.attempt if status else 0,
        "starts": outcome.starts,
        "run_twice": outcome.is_run_twice,
        "worker": status.worker if status else "",
        "reason": status.reason if status else "",
        **outcome.facts,
    }


# ── lines ────────────────────────────────────────────────────────────────────


def _table(outcomes: Sequence[Outcome], rows: int, paint: Paint) -> Iterator[str]:
    """Show up to *rows* of *outcomes*, first of all those that have something to tell."""
    shown = sorted(outcomes, key=lambda outcome: outcome.is_plain)[:rows]
    if len(shown) == len(outcomes):
        shown = list(outcomes)
    columns = max(shutil.get_terminal_size().columns - _OTHER_COLUMNS, 20)
    header, *lines = table(_HEADER, (_row(each, columns) for each in shown), right=_FLUSH_RIGHT)
    yield paint(header, "bold")
    yield from lines
    more = len(outcomes) - len(shown)
    if more:
        yield paint(f"... and {count_of(more, 'more file')}; --all shows them", "dim")


def _row(outcome: Outcome, columns: int) -> tuple[str, ...]:
    facts = outcome.facts
    counts = (f"{facts[name]:,}" if facts else "-" for name in _COUNTS)
    return (
        fit(visible(outcome.file), columns),
        *counts,
        facts["sha256"][:_HASH_LETTERS] if facts else "-",
        ", ".join([_state(outcome), *_remarks(outcome)]),
    )


def _remarks(outcome: Outcome) -> Iterator[str]:
    if outcome.status and outcome.retries:
        yield f"attempt {outcome.status.attempt}"
    if outcome.is_run_twice:
        yield "run twice"
    if outcome.is_committed_twice:
        yield "committed twice"


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
    if outcome.is_committed_twice:
        return "committed twice"
    if status is None:
        return "lost: neither the broker nor the backend knows the task"
    if status.state is State.SUCCEEDED:
        return ""
    why = status.reason or (status.error.message if status.error else "")
    return f"{status.state.value}, {visible(why)}" if why else status.state.value


def _moral(story: Story) -> str:
    """Say in one sentence what the death of a worker came to."""
    casualty = story.casualty
    if casualty is None:
        return "All was done before a worker could be killed in the middle of a task."
    if not casualty.held:
        return "The killed worker held no task at that moment."
    held = count_of(len(casualty.held), "task")
    if any(not outcome.is_done or outcome.is_committed_twice for outcome in story.outcomes):
        return f"The killed worker held {held}, and its death did harm."
    return f"The killed worker held {held}: run again elsewhere, each result saved once."
