"""Bytes out and replies in, over a connection that the driver has made and handed over.

The driver connects, logs in and speaks TLS. After that its streams, locks and parsers cost
more than the call: here a call is one write and one future. Rule of this module: it knows
sockets and replies; what a failure means for the caller is said elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import hiredis
from redis.exceptions import InvalidResponse, ResponseError

from stem_core.plugin import Nearness
from stem_redis.nearby import NEAR_FOR_IDLE_S, NEAR_S, shortcut_of

__all__ = ["NOT_SENT", "OWED", "Wire"]

NOT_SENT: Final = object()
"""Instead of a reply: nothing was sent."""

OWED: Final = object()
"""Instead of a reply: it was sent, and the reply is to be read."""

_BUFFER: Final = 65_536


class Wire(asyncio.BufferedProtocol):
    """The protocol of one connection, for one waiter at a time.

    Attributes:
        is_alive: False once either side has closed it.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.is_alive = not writer.is_closing()
        self._loop = asyncio.get_running_loop()
        self._writer = writer  # it would close the transport if nobody held it
        self._transport = writer.transport
        self._transport.set_protocol(self)
        self._buffer = bytearray(_BUFFER)
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=ResponseError)
        self._unread: deque[Any] = deque()
        self._waiter: asyncio.Future[Any] | None = None
        self._heard: Callable[[Any], None] | None = None
        self._until: float | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._shortcut = shortcut_of(self._transport)
        self._nearness = Nearness(NEAR_S, NEAR_FOR_IDLE_S)

    # ── what a user does ─────────────────────────────────────────────────────

    async def ask(
        self, data: bytes, within_s: float, heard: Callable[[Any], None] | None = None
    ) -> Any:
        """Send one command and return its reply. Whoever leaves it in the middle must abort.

        *heard* is called with a reply that is no error the moment it is there, a turn of the
        loop before the caller goes on.

        Raises:
            ResponseError: the server's answer is an error.
            TimeoutError: there is none in time.
            OSError, EOFError: the connection is gone.
        """
        if self._unread:
            raise InvalidResponse("a reply to nothing that was asked")
        waiter, self._heard = self._next(), heard
        until = self._watch(within_s)
        self._transport.write(data)
        reply = await waiter
        self._nearness.answered_in(self._loop.time() - until + within_s)
        return _checked(reply)

    def ask_here(self, data: bytes, *, is_idle: bool = False) -> Any:
        """Send one command to a server that is near; return its reply, without the loop.

        With *is_idle* mostly nothing else wants a turn of the loop, and it may be less near.

        `NOT_SENT` if it is not near, `OWED` if the reply takes its time: `rest` returns it.

        Raises:
            ResponseError: the server's answer is an error.
        """
        shortcut, nearness = self._shortcut, self._nearness
        is_near = nearness.is_near or (is_idle and nearness.is_near_for_idle)
        if shortcut is None or not is_near or not self.is_alive or self._unread:
            return NOT_SENT
        began = time.perf_counter()
        size = shortcut.exchange(data, self._buffer)
        if size:
            self.buffer_updated(size)
        if self._unread:
            nearness.answered_in(time.perf_counter() - began)
            return _checked(self._unread.popleft())
        nearness.was_late()
        return OWED

    async def rest(self, within_s: float) -> Any:
        """Return the reply that `ask_here` left `OWED`; raises as `ask` does."""
        return await self.read(within_s)

    def send(self, data: bytes) -> None:
        """Send a command whose reply `read` returns some time.

        Raises:
            EOFError: the connection is gone.
        """
        self._refuse_if_gone()
        self._transport.write(data)

    async def read(self, within_s: float | None = None) -> Any:
        """Return the next reply. A cancelled read loses none.

        Raises:
            ResponseError, TimeoutError, OSError, EOFError: as `ask` does.
        """
        if self._unread:  # it came before anybody waited for it
            return _checked(self._unread.popleft())
        waiter, self._until = self._next(), None
        if within_s is not None:
            self._watch(within_s)
        try:
            return _checked(await waiter)
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._unread.appendleft(waiter.result())  # it came while we were cancelled
            raise

    def abort(self) -> None:
        """Close, at once and without a word; in any state, in any loop."""
        self.is_alive = False
        # Not close(): over TLS that waits for the other side, longer than a loop may last.
        self._transport.abort()
        self._end(EOFError("closed here"))

    def _next(self) -> asyncio.Future[Any]:
        self._refuse_if_gone()
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def _refuse_if_gone(self) -> None:
        if not self.is_alive:
            raise EOFError("the connection is closed")

    # ── time ─────────────────────────────────────────────────────────────────

    def _watch(self, within_s: float) -> float:
        """Let the waiter fail then, and return when that is. One alarm serves many calls: most
        of them set none."""
        self._until = until = self._loop.time() + within_s
        if self._alarm is None or self._alarm.when() > until:
            self._set_alarm(until)
        return until

    def _set_alarm(self, when: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        alarm, self._alarm = self._alarm, None
        waiter, until = self._waiter, self._until
        if waiter is None or waiter.done() or until is None or alarm is None:
            return
        if until > alarm.when():  # it was set for an earlier call
            self._set_alarm(until)
        else:
            waiter.set_exception(TimeoutError())

    # ── what the transport does ──────────────────────────────────────────────

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        reader = self._reader
        try:
            reader.feed(self._buffer, 0, nbytes)  # type: ignore[arg-type]  # any buffer will do
            while (reply := reader.gets()) is not False:
                self._deliver(reply)
        except InvalidResponse as error:
            self._end(error)
            self._transport.abort()

    def _deliver(self, reply: Any) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            self._unread.append(reply)
            return
        heard, self._heard = self._heard, None
        try:
            if heard is not None and not isinstance(reply, ResponseError):
                heard(reply)
        finally:
            waiter.set_result(reply)

    def eof_received(self) -> None:
        self._end(EOFError("closed by the server"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or EOFError("the connection is closed"))

    def _end(self, error: Exception) -> None:
        self.is_alive = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)


def _checked(reply: Any) -> Any:
    if isinstance(reply, ResponseError):
        raise reply
    return reply
