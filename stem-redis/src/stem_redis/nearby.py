"""Asking a server that is near: waiting for its reply where one stands.

A turn of the event loop costs more than a server on the same machine takes to answer, so
a lone call to it may write, wait a moment and read on the socket itself. Nothing else of
the loop runs meanwhile: it is done in moments, and not while replies are late. Rule of
this module: it decides and moves bytes; replies and failures are the wire's.
"""

from __future__ import annotations

import asyncio
import os
import select
from typing import Final

__all__ = ["Nearness", "Shortcut", "shortcut_of"]

_NEAR_S: Final = 0.000_4
"""A server that answers a call through the loop within this is near."""

_NEAR_FOR_IDLE_S: Final = 0.000_9
"""Likewise for a worker that has slept: a server that was idle too takes its time, and mostly
nothing else of the loop wants a turn. What does, as a task that waits, loses less than 1 ms."""

_FAR_CALLS: Final = 100
"""So many calls go through the loop after a reply was late: 1 ms lost in 100 calls."""

_PATIENCE_MS: Final = 1
"""How long one waits for a reply in place; `poll` knows nothing shorter."""

_LOOKS: Final = 100
"""So many times one looks for a reply before falling asleep over it, some 100 us: to fall asleep
and to be woken takes about as long as a server on this machine thinks."""

_yield_processor: Final = getattr(os, "sched_yield", None)
"""Lets whoever waits for this processor have it, as a server on the same one."""


class Nearness:
    """Decides which calls wait for their reply in place. Pure; an instance for each connection.

    A new one knows nothing, so its first call goes through the loop.

    Attributes:
        is_near: the next call may wait in place.
        is_near_for_idle: likewise for one that has slept.
    """

    __slots__ = ("_through_loop", "is_near", "is_near_for_idle")

    def __init__(self) -> None:
        self.is_near = self.is_near_for_idle = False
        self._through_loop = 0

    def answered_in(self, seconds: float) -> None:
        """Note how long a call took that went through the loop."""
        self._through_loop += 1
        is_trusted = self._through_loop > 0
        self.is_near = is_trusted and seconds < _NEAR_S
        self.is_near_for_idle = is_trusted and seconds < _NEAR_FOR_IDLE_S

    def was_late(self) -> None:
        """Note that a reply did not come while one waited in place."""
        self.is_near = self.is_near_for_idle = False
        self._through_loop = -_FAR_CALLS


class Shortcut:
    """Writes to and reads from the socket of a transport that has nothing to write itself.

    Attributes:
        patience_ms: how long one waits for a reply in place.
    """

    __slots__ = ("_asleep", "_fd", "_poll", "_transport", "patience_ms")

    def __init__(self, transport: asyncio.WriteTransport, fd: int) -> None:
        self.patience_ms = _PATIENCE_MS
        self._transport: Final = transport
        self._fd: Final = fd
        self._poll: Final = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._asleep = 0

    def exchange(self, data: bytes, buffer: bytearray) -> int:
        """Send *data*; return how many bytes of a reply came into *buffer*, 0 for none yet.

        Whatever goes wrong is left for the transport to find, which has the rest of *data*.
        """
        if not self._written(data) or not (self._is_seen() or self._poll.poll(self.patience_ms)):
            return 0
        try:
            return os.readv(self._fd, [buffer])
        except OSError:
            return 0

    def _is_seen(self) -> bool:
        """Look for a reply without falling asleep; not while that has been in vain."""
        if self._asleep or _yield_processor is None:
            self._asleep = max(0, self._asleep - 1)
            return False
        poll, let_others_run = self._poll.poll, _yield_processor
        for _ in range(_LOOKS):
            if poll(0):
                return True
            let_others_run()
        self._asleep = _FAR_CALLS
        return False

    def _written(self, data: bytes) -> bool:
        """Say whether all of *data* was sent at once; the transport sends what was not."""
        sent = 0
        if not self._transport.get_write_buffer_size():
            try:
                sent = os.write(self._fd, data)
            except OSError:
                sent = 0
        if sent == len(data):
            return True
        self._transport.write(data[sent:])
        return False


def shortcut_of(transport: asyncio.WriteTransport) -> Shortcut | None:
    """Return the shortcut past *transport*; None where there is none, as over TLS."""
    sock = transport.get_extra_info("socket")
    if sock is None or transport.get_extra_info("sslcontext") is not None:
        return None
    if not hasattr(select, "poll") or not hasattr(os, "readv"):
        return None
    return Shortcut(transport, sock.fileno())
