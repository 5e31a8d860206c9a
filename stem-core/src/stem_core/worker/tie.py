"""The tie between a supervisor and one of its processes: a pair of sockets, and what is said.

The process says its `Hello` when it takes work, a `Report` of itself for each time it is
asked, and `REPLACE` when it has done enough. The supervisor says `HAND_BACK`, or asks, or
nothing at all: when it is gone, however it went, the system closes its end, and the process
drains. Whom a signal tells to end drains too, and no number of signals means more: service
managers signal a whole group, and the supervisor does it again.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from msgspec import json

from stem_core.model.value import Value
from stem_core.observe.health import Report
from stem_core.worker.exits import STUCK

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop  # the supervisor has none, and needs this module too

__all__ = ["ASK", "ASK_ALL", "HAND_BACK", "REPLACE", "Hello", "Reporting", "Tie", "read_report"]

_log = logging.getLogger("stem.worker")

HAND_BACK: Final = b"!"

ASK: Final = b"?"
ASK_ALL: Final = b"#"
"""Asks for a report: of the process, or of its queues too."""

REPLACE: Final = b"~"
"""What a process says that wants to be replaced: it drains from then on."""

_PATIENCE_S: Final = 3.0
"""How long a loop may take to report, until the process stays silent instead."""

Reporting: TypeAlias = "Callable[[bool], Coroutine[Any, Any, Report]]"
"""Returns the report of a process; True asks for its queues too."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Hello(Value, frozen=True, kw_only=True):
    """What a process says once it takes work.

    Attributes:
        grace_ms: how long its tasks may go on when it is told to end.
        log_level, log_format: how it logs, for the supervisor to do the same.
        facts: about it, for people, by name.
        http: where the supervisor is to answer for all, if it is.
    """

    grace_ms: int
    log_level: str
    log_format: str
    facts: Mapping[str, str]
    http: str = ""

    def encode(self) -> bytes:
        """Return it as one line."""
        return json.encode(self) + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Hello:
        """Read what `encode` wrote."""
        return json.decode(line, type=cls)


def read_report(line: bytes) -> Report:
    """Read what a process has said when it was asked."""
    return json.decode(line, type=Report)


class Tie:
    """The end that a process holds.

    Args:
        fd: the socket that it was started with.
        slot: its number among the processes of its supervisor.
    """

    def __init__(self, fd: int, slot: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)  # what its tasks start is not tied
        self.slot: Final = slot
        self._is_sending = threading.Lock()

    def say(self, hello: Hello) -> None:
        """Tell the supervisor, if there is still one."""
        with suppress(OSError):
            self._socket.sendall(hello.encode())

    def ask_for_another(self) -> None:
        """Tell the supervisor that this process drains and should be replaced when it has."""
        with suppress(OSError), self._is_sending:
            self._socket.sendall(REPLACE + b"\n")

    def say_at_last(self, report: Report) -> None:
        """Tell the supervisor what nobody can ask any more. Does not wait for it to listen."""
        if self._is_sending.acquire(blocking=False):
            with suppress(OSError):
                self._socket.send(json.encode(report) + b"\n", socket.MSG_DONTWAIT)
            self._is_sending.release()

    def attend(
        self,
        loop: AbstractEventLoop,
        *,
        drain: Callable[[], None],
        hand_back: Callable[[], None],
        reload: Callable[[], None],
        patience_ms: int,
        report: Reporting | None = None,
    ) -> None:
        """Call *drain*, *hand_back* and *reload* when they are asked for, from now on.

        *reload* is called in *loop*; the others where they are heard of, a thread or a signal
        handler, for the loop may be held up. To be called in the main thread. Signals are heard
        until the process ends: one that comes when all is done must not make a death of it. A
        process without a supervisor that has not ended after *patience_ms* is ended, wherever
        its tasks stand. *report* is called when the supervisor asks; it answers from a thread,
        so that no supervisor that does not listen holds up the loop.
        """
        handler = _calling(drain)
        for number in _SIGNALS:
            signal.signal(number, handler)
        signal.signal(signal.SIGHUP, _calling(partial(_soon, loop, reload)))
        listening = (loop, drain, hand_back, patience_ms, report)
        threading.Thread(target=self._listen, args=listening, name="stem-tie", daemon=True).start()

    def _listen(
        self,
        loop: AbstractEventLoop,
        drain: Callable[[], None],
        hand_back: Callable[[], None],
        patience_ms: int,
        report: Reporting | None,
    ) -> None:
        while said := _heard(self._socket):
            if HAND_BACK in said:
                hand_back()
            if report is not None and (ASK in said or ASK_ALL in said):
                self._report(loop, report(ASK_ALL in said))
        _log.warning("the supervisor of this process is gone: it drains")
        drain()
        time.sleep(patience_ms / 1000)
        os._exit(STUCK)

    def _report(self, loop: AbstractEventLoop, report: Coroutine[Any, Any, Report]) -> None:
        from asyncio import run_coroutine_threadsafe

        try:
            asked = run_coroutine_threadsafe(report, loop)
        except RuntimeError:  # the loop is closed: all has ended already
            report.close()
            return
        try:
            answer = json.encode(asked.result(_PATIENCE_S))
        except (TimeoutError, CancelledError):  # a task holds up the loop, or it ends
            asked.cancel()
            return
        except Exception:
            _log.exception("this process could not report")
            return
        with suppress(OSError), self._is_sending:
            self._socket.sendall(answer + b"\n")


def _calling(call: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
    """Return a handler of signals that makes *call*, in this process alone."""
    own = os.getpid()

    def signalled(number: int, frame: FrameType | None) -> None:
        if os.getpid() == own:
            call()
        else:  # a fork that a task has made: the signal is for it, and means what it does
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    return signalled


def _soon(loop: AbstractEventLoop, call: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop is closed: all has ended already
        loop.call_soon_threadsafe(call)


def _heard(end: socket.socket) -> bytes:
    """Return what the supervisor says; nothing when it is gone."""
    try:
        return end.recv(64)
    except OSError:  # it went without having read what it was told
        return b""
