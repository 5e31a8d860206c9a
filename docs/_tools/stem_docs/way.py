"""The picture of a task's way: producer, broker, worker, backend, and the states on it.

The states are those of the model, and the steps of a delivery are the ones that the worker
room names in its first line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import stem_core.worker
from stem_core.model.outcome import State
from stem_docs.drawing import arrow, box, document, text

__all__ = ["steps", "way"]

_LEFT, _WIDTH = 8, 300
_RIGHT: Final = _LEFT + _WIDTH
_MIDDLE: Final = _LEFT + _WIDTH / 2


def way() -> str:
    """Return the picture."""
    parts = [*_producer(8), *_broker(116), *_worker(272), *_backend(446), *_back()]
    about = (
        "The producer enqueues a call. The broker keeps it until a worker leases it. The worker "
        f"goes through {', '.join(steps())}. The backend keeps how it ended, and the producer can "
        "await that. A task that is to be tried again goes back to the broker."
    )
    return document("way", (400, 552), "The way of a task", parts, about=about)


def steps() -> list[str]:
    """Return the steps of one delivery, as the worker room names them."""
    first = (stem_core.worker.__doc__ or "").partition("\n")[0]
    return re.findall(r"\w+(?= →)|(?<=→ )\w+", first)


def _producer(y: int) -> Iterator[str]:
    yield box(_LEFT, y, _WIDTH, 62)
    yield text(_MIDDLE, y + 18, "producer", "name")
    yield text(_MIDDLE, y + 42, "await greet.enqueue(“world”)", "code")
    yield arrow("way", f"M{_MIDDLE:g} {y + 62} V{y + 108}")
    yield text(_MIDDLE + 10, y + 85, "sealed bytes, with an id", "soft", "start")


def _broker(y: int) -> Iterator[str]:
    yield box(_LEFT, y, _WIDTH, 94)
    yield text(_MIDDLE, y + 18, "broker", "name")
    waiting = [state for state in State if not state.is_terminal and state is not State.RUNNING]
    yield from _chips(waiting, y + 34)
    yield text(_MIDDLE, y + 78, "durable when the call returns", "soft")
    yield arrow("way", f"M{_MIDDLE:g} {y + 94} V{y + 156}")
    yield text(_MIDDLE + 10, y + 125, "one lease, one fence", "soft", "start")


def _worker(y: int) -> Iterator[str]:
    yield box(_LEFT, y, _WIDTH, 112)
    yield text(_MIDDLE, y + 18, "worker", "name")
    yield from _chips([State.RUNNING], y + 34)
    found = steps()
    half = (len(found) + 1) // 2
    yield text(_MIDDLE, y + 78, " → ".join(found[:half]) + " →", "soft")
    yield text(_MIDDLE, y + 96, " → ".join(found[half:]), "soft")
    yield arrow("way", f"M{_MIDDLE:g} {y + 112} V{y + 174}")
    yield text(_MIDDLE + 10, y + 143, "settle: one atomic step", "soft", "start")


def _backend(y: int) -> Iterator[str]:
    yield box(_LEFT, y, _WIDTH, 98)
    yield text(_MIDDLE, y + 18, "backend", "name")
    ended = [state for state in State if state.is_terminal]
    half = (len(ended) + 1) // 2
    yield from _chips(ended[:half], y + 32)
    yield from _chips(ended[half:], y + 64)


def _chips(states: Sequence[State], y: int) -> Iterator[str]:
    gap, width = 6, 90
    x = _MIDDLE - (width * len(states) + gap * (len(states) - 1)) / 2
    for place, state in enumerate(states):
        kind = "inner end" if state.is_terminal else "inner"
        yield box(x + (width + gap) * place, y, width, 26, kind)
        yield text(x + (width + gap) * place + width / 2, y + 13, state.value, "code")


def _back() -> Iterator[str]:
    """Yield what goes the other way: a task that is tried again, and the result."""
    yield arrow("way", f"M{_RIGHT} 328 h20 V163 h-20")
    for place, words in enumerate(("retry,", "snooze,", "lapse")):
        yield text(_RIGHT + 26, 229 + 17 * place, words, "soft", "start")
    yield arrow("way", f"M{_RIGHT} 495 h76 V39 h-76", "dashed")
    yield text(_RIGHT + 70, 57, "result", "soft", "end")
