"""Asking a server that is near: waiting for its reply where one stands.

A turn of the event loop costs more than a server on the same machine takes to answer, so
a lone call to it may write, wait a moment and read on the socket itself. Nothing else of
the loop runs meanwhile: it is done in moments, and not while replies are late. Rule of
this module: it moves bytes; replies and failures are the wire's.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from typing import Final

__all__ = ["NEAR_FOR_IDLE_S", "NEAR_S", "Shortcut", "shortcut_of"]

NEAR_S: Final = 0.000_4
"""A server that answers a call through the loop within this is near."""

NEAR_FOR_IDLE_S: Final = 0.000_9
"""Likewise for a worker that has slept; see `Nearness`. What wants a turn all the same, as a task
that waits, loses less than 1 ms."""

_BLIND_CALLS: Final = 100
"""So many calls fall asleep at once after one looked for its reply in vain."""

_PATIENCE_MS: Final = 1
"""How long one waits for a reply in place; `poll` knows nothing shorter."""

_AWAKE_S: Final = 0.000_15
"""So long one looks for a reply before falling asleep over it: to fall asleep and to be woken takes
about as long as a server on this machine thinks."""

_yield_processor: Final = getattr(os, "sched_yield", None)
"""Lets whoever waits for this processor have it, as a server on the same one."""


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
        ends = time.perf_counter() + _AWAKE_S
        while time.perf_counter() < ends:
            if poll(0):
                return True
            let_others_run()
        self._asleep = _BLIND_CALLS
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
