"""The state diagram: every transition of the model, and the same as a table.

Only where a state stands and which way an arrow takes is said here; a state or a transition
that has no place is an error, and so is a place that nothing is left for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import frozen

from stem_core.model.lifecycle import TRANSITIONS
from stem_core.model.outcome import State
from stem_docs.drawing import Anchor, arrow, box, document, text

__all__ = ["edges", "states", "states_table"]

_BOX_WIDTH, _BOX_HEIGHT = 110, 34
_PLACES: Final = {
    State.SCHEDULED: (140, 76),
    State.QUEUED: (140, 206),
    State.PARKED: (140, 336),
    State.RUNNING: (370, 206),
    State.SUCCEEDED: (640, 34),
    State.DISCARDED: (640, 96),
    State.EXPIRED: (640, 158),
    State.FAILED: (640, 220),
    State.DEAD: (640, 296),
    State.CANCELLED: (640, 416),
}
"""The middle of the box of each state."""


@frozen
class Route:
    """How an arrow goes, and where the words on it stand."""

    path: str
    x: float
    y: float
    anchor: Anchor = "middle"
    kind: str = ""


def _ending(to: int) -> Route:
    """Return the way from running to the box of a terminal state, which it enters at *to*."""
    path = f"M425 206 C500 206 480 {to} 585 {to}"
    if to <= 220:
        return Route(path, 578, to - 9, "end")
    return Route(path, 516 if to < 300 else 528, to - 33, "start")  # clear of its own arrow


_CANCEL = (330, 406)
_ROUTES: Final = {
    (State.SCHEDULED, State.QUEUED): Route("M140 93 V189", 148, 141, "start"),
    (State.PARKED, State.QUEUED): Route("M140 319 V223", 148, 271, "start"),
    (State.QUEUED, State.RUNNING): Route("M195 199 H315", 255, 189),
    (State.RUNNING, State.QUEUED): Route("M315 214 H195", 255, 225),
    (State.RUNNING, State.SCHEDULED): Route("M345 189 C345 110 290 76 195 76", 302, 84, "start"),
    (State.RUNNING, State.PARKED): Route("M345 223 C345 302 290 336 195 336", 306, 330, "start"),
    (State.RUNNING, State.RUNNING): Route("M378 189 C378 140 418 140 408 189", 394, 140),
    (State.RUNNING, State.SUCCEEDED): _ending(34),
    (State.RUNNING, State.DISCARDED): _ending(96),
    (State.RUNNING, State.EXPIRED): _ending(158),
    (State.RUNNING, State.FAILED): _ending(220),
    (State.RUNNING, State.DEAD): _ending(288),
    (State.RUNNING, State.CANCELLED): _ending(408),
    (State.SCHEDULED, State.CANCELLED): Route("M85 86 H56 V424 H585", *_CANCEL, kind="dashed"),
    (State.QUEUED, State.CANCELLED): Route("M85 216 H56 V424 H585", *_CANCEL, kind="dashed"),
    (State.PARKED, State.CANCELLED): Route("M85 346 H56 V424 H585", *_CANCEL, kind="dashed"),
    (State.DEAD, State.QUEUED): Route("M585 304 C440 304 260 290 178 223", 470, 312),
}


def edges() -> dict[tuple[State, State], list[str]]:
    """Return the events between each two states, in the order of the model."""
    found: dict[tuple[State, State], list[str]] = {}
    for (before, event), after in TRANSITIONS.items():
        found.setdefault((before, after), []).append(event.value)
    return found


def states() -> str:
    """Return the picture."""
    drawn = edges()
    if set(drawn) != set(_ROUTES) or set(_PLACES) != set(State):
        raise LookupError(f"without a place: {set(drawn) ^ set(_ROUTES)}")
    parts = [*_begins(), *_arrows(drawn), *_boxes()]
    about = "The table below says the same in words."
    return document("states", (704, 446), "The states of a task", parts, about=about)


def states_table() -> str:
    """Return the transitions as a table, for who cannot see the picture or wants to search it."""
    rows = [
        f"| {before.value} | {', '.join(events)} | {after.value} |"
        for (before, after), events in edges().items()
    ]
    return "\n".join(["| in | what happens | then |", "| --- | --- | --- |", *rows]) + "\n"


def _begins() -> Iterator[str]:
    for state, words in ((State.QUEUED, "enqueue"), (State.SCHEDULED, "enqueue later")):
        _, y = _PLACES[state]
        yield arrow("states", f"M6 {y - 8} H85", "mark")
        yield text(2, y - 22, words, "soft", "start")


def _arrows(drawn: dict[tuple[State, State], list[str]]) -> Iterator[str]:
    labels: dict[str, None] = {}  # three arrows share one
    for pair, events in drawn.items():
        route = _ROUTES[pair]
        yield arrow("states", route.path, route.kind)
        labels[text(route.x, route.y, ", ".join(events), "soft", route.anchor)] = None
    yield from labels


def _boxes() -> Iterator[str]:
    for state, (x, y) in _PLACES.items():
        left, top = x - _BOX_WIDTH / 2, y - _BOX_HEIGHT / 2
        kind = "end" if state.is_terminal else ""
        yield box(left, top, _BOX_WIDTH, _BOX_HEIGHT, kind)
        yield text(x, y, state.value, "name")
