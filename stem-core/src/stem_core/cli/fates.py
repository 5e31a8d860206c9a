"""What became of each of many: told line by line, also when the rest of them failed.

Rule of this module: what has been done is told, whatever happens after it. Somebody
who does it again must not have to guess.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sized
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from stem_core.cli.exits import ExitCode
from stem_core.cli.terminal import Paint, Shade, count_of, visible
from stem_core.contracts.admin import ReplayStatus

__all__ = ["Fates", "fate_facts", "fate_lines", "telling", "verdict"]

Fates: TypeAlias = dict[str, ReplayStatus]
"""What became of each dead letter, by id."""

_TOLD: Final[Mapping[ReplayStatus, tuple[str, Shade]]] = {
    ReplayStatus.ALREADY: ("is live already", "warn"),
    ReplayStatus.UNKNOWN: ("unknown: there is no dead letter of this id", "bad"),
    ReplayStatus.UNIQUE: ("stays dead: its unique key is held by another task", "bad"),
    ReplayStatus.FULL: ("stays dead: the store is full", "bad"),
}


@contextmanager
def telling(done: Sized, tell: Callable[[], None]) -> Iterator[None]:
    """Tell at the end; after a failure too, if anything was *done* before it."""
    try:
        yield
    except BaseException:
        if done:
            tell()
        raise
    tell()


def fate_lines(fates: Fates, done: str, paint: Paint, *, by_id: bool) -> Iterator[str]:
    """Tell each one that was asked for by id; of many only those that are not *done*, and a sum."""
    shown = {id: s for id, s in fates.items() if by_id or s is not ReplayStatus.DONE}
    width = max(map(len, shown), default=0)
    for id, status in shown.items():
        told, shade = _TOLD.get(status, (done, "good"))
        yield f"{visible(id):<{width}}  {paint(told, shade)}"
    if not by_id:
        total = sum(status is ReplayStatus.DONE for status in fates.values())
        rest = f", {len(fates) - total:,} not" if len(fates) > total else ""
        yield f"{count_of(total, 'dead letter')} {done}{rest}"


def fate_facts(fates: Fates) -> dict[str, Any]:
    """Return *fates* for programs."""
    counts = Counter(fates.values())
    return {
        "dead_letters": [{"id": id, "status": status.value} for id, status in fates.items()],
        "counts": {status.value: counts[status] for status in ReplayStatus},
    }


def verdict(fates: Fates, good: AbstractSet[ReplayStatus]) -> ExitCode:
    """Return the exit code of a command that led to *fates* where *good* ones were wanted."""
    bad = set(fates.values()) - good
    if not bad:
        return ExitCode.OK
    return ExitCode.NOT_FOUND if ReplayStatus.UNKNOWN in bad else ExitCode.FAILED
