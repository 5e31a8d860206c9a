"""Waiting for a server that is near where one stands, instead of in the event loop.

The driver works in steps, each of which ends with what it waits for on the socket. Here those are
waited for in place, for a moment; what takes longer goes on in the loop, from where it stands. Rule
of this module: it drives the steps, and knows nothing of what they do.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Generator
from typing import Any, Final

from attrs import frozen

from stem_core.plugin import Nearness

__all__ = ["Begin", "Done", "Nearby", "Steps", "give_way"]

Steps = Generator[Any, Any, Any]
"""Yields what it waits for, 1 to read, 2 to write, 3 for either, and is sent what there is."""

_NEAR_S: Final = 0.001_2
"""A server that answers a call through the loop within this is near: half of it is the loop's."""

_PATIENCE_MS: Final = 1
"""How long one waits for each step in place; `poll` knows nothing shorter."""

_MOST: Final = 1.5
"""After so many times the patience no more is begun in place: a large message has many steps."""

_AWAKE_S: Final = 0.000_4
"""So long one looks before falling asleep: about what the loop's own turns would take. To fall
asleep for that long and to be woken can take half as long again."""

_BLIND_CALLS: Final = 100
"""So many calls fall asleep at once after one looked in vain."""

_READ, _WRITE = 1, 2
_yield_processor: Final = getattr(os, "sched_yield", None)
"""Lets whoever waits for this processor have it, as a server on the same one."""


@frozen
class Done:
    """Steps that have all been done, and what they returned."""

    value: Any


Begin = Callable[[Steps, int], "Steps | Done"]
"""Does the first of the steps, which wait for what comes on a socket, and returns those left."""


def give_way(steps: Steps, _socket: int) -> Steps | Done:
    """Do the first of *steps*, and let whoever was woken by it have this processor.

    A server that is woken by a process is mostly put where that one runs, and would wait until it
    has got ready to sleep: for a tenth of a millisecond, even with another processor free.
    """
    try:
        wanted = next(steps)
    except StopIteration as done:
        return Done(done.value)
    if _yield_processor is not None:
        _yield_processor()
    return _left(steps, wanted)


class Nearby(Nearness):
    """What is known of one server, and how it is waited for.

    Attributes:
        patience_ms: how long one waits for each step in place.
    """

    __slots__ = ("_blind", "patience_ms")

    def __init__(self) -> None:
        super().__init__(_NEAR_S, _NEAR_S)
        self.patience_ms = _PATIENCE_MS
        self._blind = 0

    def begin(self, steps: Steps, socket: int) -> Steps | Done:
        """Do *steps* as long as what they wait for on *socket* comes soon; return those left.

        Raises:
            Exception: what the steps raise.
        """
        if not self.is_near:  # an earlier statement of the same call was late
            return give_way(steps, socket)
        began = time.perf_counter()
        ends = began + _MOST * self.patience_ms / 1000
        try:
            wanted = next(steps)
            while time.perf_counter() < ends and (ready := self._ready(socket, wanted)):
                wanted = steps.send(ready)
        except StopIteration as done:
            self.answered_in(time.perf_counter() - began)
            return Done(done.value)
        self.was_late()
        return _left(steps, wanted)

    def _ready(self, socket: int, wanted: int) -> int:
        """Return what there is of what is *wanted*; 0 when it does not come."""
        waiting = select.poll()
        waiting.register(
            socket,
            (select.POLLIN if wanted & _READ else 0) | (select.POLLOUT if wanted & _WRITE else 0),
        )
        found = self._awake(waiting) or waiting.poll(self.patience_ms)
        if not found:
            return 0
        ((_, events),) = found
        # A hang-up or an error is as good as bytes: the driver tries, and finds out.
        ready = (_WRITE if events & select.POLLOUT else 0) | (
            _READ if events & ~select.POLLOUT else 0
        )
        return ready & wanted or wanted

    def _awake(self, waiting: select.poll) -> list[tuple[int, int]]:
        """Look without falling asleep; not while that has been in vain."""
        if self._blind or _yield_processor is None:
            self._blind = max(0, self._blind - 1)
            return []
        ends = time.perf_counter() + _AWAKE_S
        while time.perf_counter() < ends:
            if found := waiting.poll(0):
                return found
            _yield_processor()
        self._blind = _BLIND_CALLS
        return []


def _left(steps: Steps, wanted: Any) -> Steps:
    """Go on with *steps*, which wait for *wanted*."""
    try:
        while True:
            wanted = steps.send((yield wanted))
    except StopIteration as done:
        return done.value
