"""Handing events to observers, so that none of them can disturb a task."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from stem_core.contracts.observer import Event, Observer

__all__ = ["Observers"]

_log = logging.getLogger("stem.observe")


class Observers:
    """Those who are told. False when there are none: then build no event at all."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers = tuple(observers)
        self._raised: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._observers)

    def emit(self, event: Event) -> None:
        """Tell every observer of *event*. One that raises is logged once and told on."""
        for position, observer in enumerate(self._observers):
            try:
                observer.on_event(event)
            except Exception:  # an observer is other people's code, and only watches
                if position not in self._raised:
                    self._raised.add(position)
                    _log.exception(
                        "observer %s raised on %s; it is told of the next events all the same, "
                        "and this is not logged again",
                        type(observer).__qualname__,
                        event.name,
                    )
