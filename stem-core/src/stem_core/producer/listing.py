"""Pages of statuses: what a result backend remembers, by what one knows of it.

Rule of this module: it asks and translates, like `reading`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from attrs import frozen

from stem_core.contracts.backend import RecordFilter
from stem_core.model.errors import CapabilityMissing, InvalidOption
from stem_core.model.outcome import State, TaskStatus
from stem_core.producer.lane import Lane
from stem_core.producer.reading import no_backend, recorded

__all__ = ["StatusPage", "condition", "page_of"]


@frozen
class StatusPage:
    """One page of statuses; *cursor* asks for the next one, None after the last."""

    items: tuple[TaskStatus, ...] = ()
    cursor: str | None = None


def condition(
    *,
    states: Iterable[State | str],
    tasks: Iterable[str],
    queues: Iterable[str],
    meta: Mapping[str, Any] | None,
) -> RecordFilter:
    """Return which records are meant.

    Raises:
        InvalidOption: no such state, or a text where several belong.
    """
    return RecordFilter(
        states=frozenset(map(_state, _several(states, "states"))),
        tasks=frozenset(_several(tasks, "tasks")),
        queues=frozenset(_several(queues, "queues")),
        meta=dict(meta or {}),
    )


def _several(given: Iterable[Any], name: str) -> Iterable[Any]:
    if isinstance(given, str):
        raise InvalidOption(
            f"{name}={given!r:.60} is one text", way_out=f"Write {name}=[{given!r:.60}]."
        )
    return given


def _state(given: State | str) -> State:
    try:
        return State(given)
    except ValueError:
        raise InvalidOption(
            f"states: {given!r:.60} is none",
            way_out=f"There are {', '.join(state.value for state in State)}.",
        ) from None


async def page_of(
    lane: Lane, where: RecordFilter, *, limit: int, cursor: str | None, until: float
) -> StatusPage:
    """Return one page of the records that are meant, not later than *until*.

    Raises:
        NoResultBackend, CapabilityMissing: nobody remembers, or nobody can list.
        InvalidOption: no limit.
    """
    if lane.backend is None:
        raise no_backend()
    if not lane.backend.capabilities.listing:
        raise CapabilityMissing(
            f"list asks for the capability 'listing', which {type(lane.backend).__name__} "
            "does not have",
            way_out="Ask for tasks by id: stem.status(id).",
        )
    if type(limit) is not int or limit < 1:
        raise InvalidOption(f"limit={limit!r:.60} is not a whole number from 1 up")
    ask = partial(lane.backend.list, limit=limit, cursor=cursor)
    page = await lane.from_backend(ask, where, until)
    return StatusPage(tuple(map(recorded, page.records)), page.cursor)
