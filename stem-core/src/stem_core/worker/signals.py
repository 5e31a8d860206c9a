"""The signals of a process that is a worker: ask it to end, press it, and leave.

Rule of this module: a handler of Python's own and not of the event loop, which a task may
hold up: then the third signal must end the process all the same.
"""

from __future__ import annotations

import os
import signal
from asyncio import AbstractEventLoop
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from stem_core.worker.exits import STUCK
from stem_core.worker.hangup import hears_hang_ups

__all__ = ["Signals"]

_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Calls *drain* at the first SIGTERM or SIGINT, *hand_back* at the second, and leaves at
    the third; *reload*, in the loop, at SIGHUP if that is meant for a worker.

    *drain* and *hand_back* are called between two steps of whatever runs.
    """

    def __init__(
        self,
        drain: Callable[[], None],
        hand_back: Callable[[], None],
        reload: Callable[[], None],
    ) -> None:
        self._wishes: Final = (drain, hand_back)
        self._reload = reload
        self._count = 0
        self._owner = os.getpid()
        self._before: dict[signal.Signals, Any] = {}
        self._loop: AbstractEventLoop | None = None

    def install(self, loop: AbstractEventLoop) -> None:
        """Hear from now on. To be called in the main thread."""
        for number in _ENDING:
            self._before[number] = signal.signal(number, self._signalled)
        if hears_hang_ups():
            self._loop = loop
            loop.add_signal_handler(signal.SIGHUP, self._reload)

    def remove(self) -> None:
        """Hear no more."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        if self._loop is not None:
            self._loop.remove_signal_handler(signal.SIGHUP)
            self._loop = None

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a fork that a task has made: it is for that alone
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            return
        if self._count == len(self._wishes):
            os._exit(STUCK)
        self._count += 1
        self._wishes[self._count - 1]()
