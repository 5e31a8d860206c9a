"""The supervisor: a process that runs no task and keeps those that do alive.

It starts each process afresh and shares nothing with it but one end of a pair of sockets
(see `tie`). Rule of this module: it starts, hears, signals and says so in the log; what is
to be done `supervision` decides.
"""

from __future__ import annotations

import logging
import math
import os
import selectors
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, Protocol

from stem_core.worker.exits import DRAINED, HANDED_BACK
from stem_core.worker.hangup import hears_hang_ups
from stem_core.worker.service import Feeding, Service
from stem_core.worker.supervision import (
    Await,
    Crew,
    GiveUp,
    Order,
    Restart,
    Start,
    Tell,
    Word,
    ending,
)
from stem_core.worker.tie import ASK, ASK_ALL, HAND_BACK, REPLACE, Hello, read_report

__all__ = ["Command", "Reader", "Supervisor"]

_log = logging.getLogger("stem.worker")

Command = Callable[[int, int], Sequence[str]]
"""Returns the command line of the process with this number, for this end of its tie."""

_WISHES: Final = (signal.SIGTERM, signal.SIGINT)

_NO_SIGNAL: Final = b"\0"
"""Rings the bell for something else."""


class _Process:
    """One that runs: in a session of its own, so that no terminal signals it."""

    def __init__(self, slot: int, command: Command) -> None:
        self.slot: Final = slot
        self.tie, theirs = socket.socketpair()
        try:
            self._popen = subprocess.Popen(
                command(slot, theirs.fileno()),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except BaseException:
            self.tie.close()
            raise
        finally:
            theirs.close()
        self.tie.setblocking(False)
        self.is_tied = True
        self.is_greeted = False
        self._said = b""

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def code(self) -> int | None:
        """How it ended: an exit code, or a signal as a negative number."""
        return self._popen.poll()

    def hear(self) -> Sequence[bytes]:
        """Return the lines that it has said since the last time."""
        self._read()
        *lines, self._said = self._said.split(b"\n")
        return lines

    def _read(self) -> None:
        try:
            while said := self.tie.recv(65_536):
                self._said += said
        except BlockingIOError:
            return
        except OSError:  # it went without having read what it was told
            pass
        self.is_tied = False

    def reload(self) -> None:
        """Pass SIGHUP on, once it takes work: before, it would die of it, and reads its keys
        when it starts."""
        if self.is_greeted:
            self._popen.send_signal(signal.SIGHUP)

    def ask(self, word: bytes) -> None:
        with suppress(OSError):  # it ends, or was asked often and has not listened
            self.tie.send(word)

    def tell(self, word: Word) -> None:
        match word:
            case Word.DRAIN:
                self._popen.send_signal(signal.SIGTERM)
            case Word.HAND_BACK:
                with suppress(OSError):  # it ends, or its tasks keep it from listening
                    self.tie.send(HAND_BACK)
            case Word.DIE:
                self._kill()

    def _kill(self) -> None:
        if self.code is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)  # and what its tasks have started


class Reader(Protocol):
    """Who reads the reports of processes. Called in the main thread."""

    def reported(self, pid: int, line: bytes, /) -> None:
        """Take what the process said when it was asked."""
        ...

    def ended(self, pid: int, /) -> None:
        """Note that the process will say nothing more."""
        ...


class Supervisor:
    """Runs the processes of *crew* until they have ended for good.

    Args:
        command: how a process is started.
        now_ms: the time, on a clock that never goes back.
        greeted: is called with the hello of each process that takes work; may say that
            none of them shall go on.
        reader: reads what processes say that somebody has asked.
        service: the service manager that started this process, if one did.
    """

    def __init__(
        self,
        crew: Crew,
        command: Command,
        *,
        now_ms: Callable[[], int],
        greeted: Callable[[Hello], GiveUp | None],
        reader: Reader | None = None,
        service: Service | None = None,
    ) -> None:
        self._crew = crew
        self._command = command
        self._now_ms = now_ms
        self._greeted = greeted
        self._reader = reader
        self._processes: dict[int, _Process] = {}
        self._selector = selectors.DefaultSelector()
        self._service = service
        self._feeding = Feeding(service, self._ask_all) if service else None
        self._changes: deque[str] = deque()
        self._rings: socket.socket | None = None

    def run(self) -> int:
        """Return the exit code of the worker. To be called in the main thread."""
        with _bell() as (self._rings, bell), self._selector:
            self._selector.register(bell, selectors.EVENT_READ)
            self._obey(self._crew.begin())
            while (code := self._crew.code) is None:
                self._wait()
                self._take_wishes(bell)
                self._take_changes()
                self._hear_all()
                self._bury_the_dead()
                self._obey(self._crew.passed(self._now_ms()))
                if self._feeding is not None:
                    self._feeding.passed(self._now_ms())
            return code

    def ask(self, *, with_queues: bool) -> Sequence[int]:
        """Ask each process that takes work for a report, and the first one for what is in
        its queues if it is wanted; return their pids. From any thread."""
        asked = [each for each in list(self._processes.values()) if each.is_greeted]
        for place, process in enumerate(asked):
            process.ask(ASK_ALL if with_queues and place == 0 else ASK)
        return [process.pid for process in asked]

    def changed(self, what: str) -> None:
        """Start all processes anew, for *what* they run has changed. From any thread."""
        self._changes.append(what)
        if self._rings is not None:
            with suppress(OSError):  # it is awake, or it has ended
                self._rings.send(_NO_SIGNAL)

    def _ask_all(self) -> None:
        self.ask(with_queues=False)

    def _wait(self) -> None:
        wakes_at_ms = self._crew.wakes_at_ms
        if self._feeding is not None:
            wakes_at_ms = min(wakes_at_ms, self._feeding.wakes_at_ms)
        left_ms = wakes_at_ms - self._now_ms()
        self._selector.select(None if left_ms == math.inf else max(0.0, left_ms / 1000))

    # ── what happens ─────────────────────────────────────────────────────────

    def _take_wishes(self, bell: socket.socket) -> None:
        with suppress(BlockingIOError):
            for number in bell.recv(4096):
                if number in _WISHES:
                    self._take_wish(signal.Signals(number).name)
                elif number == signal.SIGHUP:
                    self._pass_on_reload()

    def _take_changes(self) -> None:
        if not self._changes:
            return
        first, more = self._changes.popleft(), len(self._changes)
        self._changes.clear()
        text = f"{first} has changed" if not more else f"{first} and {more} more have changed"
        _say(logging.INFO, f"{text}: the processes begin anew", "worker-reloads")
        self._obey(self._crew.changed(self._now_ms()))

    def _take_wish(self, name: str) -> None:
        if self._service is not None:
            self._service.stopping()
        orders = self._crew.signalled(self._now_ms())
        told = next((order.word.value for order in orders if isinstance(order, Tell)), "end")
        _say(logging.INFO, f"{name}: {len(orders)} processes are told to {told}", "worker-told")
        self._obey(orders)

    def _pass_on_reload(self) -> None:
        _say(logging.INFO, "SIGHUP: the processes are told to read their keys", "worker-told")
        for process in self._processes.values():
            process.reload()

    def _hear_all(self) -> None:
        for process in list(self._processes.values()):
            self._hear(process)

    def _hear(self, process: _Process) -> None:
        if not process.is_tied:
            return
        lines = process.hear()
        if not process.is_tied:
            self._selector.unregister(process.tie)
        for line in lines:
            if not process.is_greeted:
                process.is_greeted = True
                self._meet(process, Hello.decode(line))
            elif line == REPLACE:
                self._obey(self._crew.replaces(process.slot, self._now_ms()))
            else:
                self._take_report(process, line)

    def _take_report(self, process: _Process, line: bytes) -> None:
        if self._reader is not None:
            self._reader.reported(process.pid, line)
        if self._feeding is not None:
            self._feeding.answered(read_report(line).complaint)

    def _meet(self, process: _Process, hello: Hello) -> None:
        if (despair := self._greeted(hello)) is not None:
            self._obey(self._crew.give_up(despair, self._now_ms()))
        if self._service is not None:
            self._service.ready(f"process {process.slot} takes work")
        _say(logging.INFO, f"process {process.slot} takes work", "process-ready", process)
        self._obey(self._crew.ready(process.slot, hello.grace_ms, self._now_ms()))

    def _bury_the_dead(self) -> None:
        for process in list(self._processes.values()):
            if (code := process.code) is not None:
                self._hear(process)  # its last words may not have been read
                self._bury(process, code)

    def _bury(self, process: _Process, code: int) -> None:
        del self._processes[process.slot]
        if process.is_tied:
            self._selector.unregister(process.tie)
        process.tie.close()
        if self._reader is not None:
            self._reader.ended(process.pid)
        is_fine = self._crew.expects(process.slot) and code in (DRAINED, HANDED_BACK)
        text = f"process {process.slot} ended with {ending(code)}"
        level = logging.INFO if is_fine else logging.ERROR
        _say(level, text, "process-ended", process, exit_code=code)
        self._obey(self._crew.ended(process.slot, code, self._now_ms()))

    # ── what is to be done ───────────────────────────────────────────────────

    def _obey(self, orders: Iterable[Order]) -> None:
        for order in orders:
            match order:
                case Start(slot):
                    self._start(slot)
                case Restart(slot, pause_ms):
                    facts = {"slot": slot, "pause_ms": pause_ms}
                    _say(logging.WARNING, f"process {slot} starts again", "process-waits", **facts)
                case Await(slot):
                    text = f"process {slot} cannot start; it is tried again when a file changes"
                    _say(logging.ERROR, text, "process-waits", slot=slot)
                case Tell(slot, word):
                    self._tell(slot, word)
                case GiveUp(code, why):
                    text = f"this worker gives up: {why}"
                    _say(logging.CRITICAL, text, "worker-gave-up", exit_code=code)

    def _start(self, slot: int) -> None:
        try:
            process = _Process(slot, self._command)
        except OSError as error:
            _say(logging.ERROR, f"process {slot} cannot be started: {error}", "process-ended")
            self._obey(self._crew.ended(slot, os.EX_OSERR, self._now_ms()))
            return
        self._processes[slot] = process
        self._selector.register(process.tie, selectors.EVENT_READ)
        _say(logging.INFO, f"process {slot} started", "process-started", process)

    def _tell(self, slot: int, word: Word) -> None:
        process = self._processes.get(slot)
        if process is None:
            return
        if word is Word.DIE:
            text = f"process {slot} has not ended and is killed"
            _say(logging.ERROR, text, "process-killed", process)
        process.tell(word)


def _say(
    level: int, text: str, event: str, process: _Process | None = None, /, **facts: object
) -> None:
    about = {} if process is None else {"slot": process.slot, "pid": process.pid}
    _log.log(level, "%s", text, extra={"stem_facts": {"event": event, **about, **facts}})


@contextmanager
def _bell() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give a socket to ring with, and one that becomes readable then and at signals, and tells
    their numbers."""
    rings, bell = socket.socketpair()
    with rings, bell:
        rings.setblocking(False)
        bell.setblocking(False)
        reload = (signal.SIGHUP,) if hears_hang_ups() else ()
        numbers = (*_WISHES, *reload, signal.SIGCHLD)
        before = signal.set_wakeup_fd(rings.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, _be_heard) for number in numbers}
        try:
            yield rings, bell
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)


def _be_heard(number: int, frame: FrameType | None) -> None:
    """Do nothing, instead of what the system does: the bell has its number already."""
