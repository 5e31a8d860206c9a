"""What `stem demo` decides: which tasks take long, whom it kills and when, and what that left.

Rule of this module: pure. What the stores and the journal say arrives as values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import frozen

from stem_core.cli.demo_journal import Start
from stem_core.contracts.messages import Located, Place
from stem_core.model.outcome import Record

__all__ = [
    "LONGER_MS",
    "Casualty",
    "Lease",
    "is_another",
    "leases_in",
    "long_ones",
    "taken_over",
    "victim_of",
    "was_left",
]

LONGER_MS: Final = 1_200
"""How much longer the long tasks take at least; on a busy machine they wait for the kill."""

_LASTING_MS: Final = 250
"""What is held for so long is no short task, whose end may be on its way to the store."""


@frozen
class Lease:
    """One lease of the task *id*, held by *worker*."""

    id: str
    fence: int
    worker: str


@frozen(kw_only=True)
class Casualty:
    """The worker that was killed.

    Attributes:
        name, pid: who it was.
        at_ms: when, by `demo_journal.now_ms`.
        held: the tasks that it had started and not settled.
    """

    name: str
    pid: int
    at_ms: int
    held: frozenset[str]


def long_ones(number: int, slots: int) -> range:
    """Return the places of the tasks that take long: in the middle, as many as there are *slots*.

    Tasks are taken in order. So when the last of these has started about half of all are
    done, and what the workers hold is these.
    """
    half = number // 2
    return range(half, min(number, half + slots))


def leases_in(located: Mapping[str, Located]) -> frozenset[Lease]:
    """Return who holds what just now."""
    return frozenset(
        Lease(id, place.fence, place.worker)
        for id, place in located.items()
        if place.place is Place.LEASED
    )


def victim_of(held: Mapping[Lease, int], now_ms: int) -> str | None:
    """Return the worker that holds most of what is *held* since a while; None if nobody does.

    Args:
        held: since when, by `demo_journal.now_ms`.
    """
    lasting = (lease for lease, since_ms in held.items() if now_ms - since_ms >= _LASTING_MS)
    holders = Counter(sorted(lease.worker for lease in lasting))
    return max(holders, key=lambda name: holders[name], default=None)


def was_left(start: Start, record: Record | None, located: Located | None) -> bool:
    """Decide whether *start*, of a worker that is dead now, was never settled by it.

    What has happened to the task since then changes nothing about the answer.
    """
    if record is not None and record.state.is_terminal:
        return record.attempt == start.attempt and record.fence > start.fence
    if located is None:
        return True  # it is lost: nobody knows it any more, and nobody how it ended
    failed = located.attempt - 1 if located.place is Place.LEASED else located.attempt
    return failed == start.attempt - 1


def taken_over(casualty: Casualty, starts: Iterable[Start]) -> Mapping[str, Start]:
    """Return the first start, elsewhere and after the kill, of each task that was held."""
    found: dict[str, Start] = {}
    for start in starts:
        is_anew = start.task_id in casualty.held and start.pid != casualty.pid
        if is_anew and start.at_ms >= casualty.at_ms:
            found.setdefault(start.task_id, start)
    return found


def is_another(last: Record | None, first: Record | None) -> bool:
    """Decide whether a task was committed twice: the *last* record of its end that was seen is
    not the *first* one, though nobody has asked for that."""
    return first is not None and last is not None and last != first
