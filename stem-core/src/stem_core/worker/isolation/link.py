"""The child's end of the socket: frames out from any thread, frames in through one.

Rule of this module: a frame goes out whole. A soft limit that strikes while one is on its
way waits until it is out.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from stem_core.worker.isolation.wire import Frame, Frames, pack

__all__ = ["Link"]


class Link:
    """Belongs to the process that makes it; what a fork of it says goes nowhere."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        end.setblocking(True)
        end.set_inheritable(False)  # what a task starts is no child of the worker
        self._lock = threading.Lock()
        self._main = threading.get_ident()
        self._owner = os.getpid()
        self._is_sending = False
        self._late: BaseException | None = None

    @property
    def is_ours(self) -> bool:
        """False in a fork that a task has made."""
        return os.getpid() == self._owner

    def send(self, frame: Frame) -> None:
        """Say *frame*, if there is still somebody to hear it."""
        if not self.is_ours:
            return
        data = pack(frame)
        with self._whole(), self._lock, suppress(OSError):
            self._end.sendall(data)

    def strike(self, error: BaseException) -> None:
        """Raise *error* here, in the main thread; after what it is saying just now."""
        if self._is_sending:
            self._late = error
        else:
            raise error

    @contextmanager
    def _whole(self) -> Iterator[None]:
        if threading.get_ident() != self._main or self._is_sending:
            yield
            return
        self._is_sending = True
        try:
            yield
        finally:
            self._is_sending = False
        late, self._late = self._late, None
        if late is not None:
            raise late

    def listen(self, hear: Callable[[Frame], bool], gone: Callable[[], None]) -> None:
        """Call *hear* with each frame, in a thread of its own, until it returns False; call
        *gone* when the worker is no more."""
        threading.Thread(
            target=self._listen, args=(hear, gone), name="stem-link", daemon=True
        ).start()

    def _listen(self, hear: Callable[[Frame], bool], gone: Callable[[], None]) -> None:
        frames = Frames()
        while data := self._heard():
            for frame in frames.feed(data):
                if not hear(frame):
                    return
        gone()

    def _heard(self) -> bytes:
        try:
            return self._end.recv(65_536)
        except OSError:  # it went without having read what it was told
            return b""
