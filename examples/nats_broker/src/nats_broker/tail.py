"""Following the stream: every value that anybody stores, in order, into the view."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from nats_broker.link import DriverErrors, Link
from nats_broker.server_clock import ServerClock
from nats_broker.values import decode
from nats_broker.view import View
from stem_core.plugin import StoreError, StoreUnavailable

_HEARTBEAT_S: Final = 2
_PATIENCE_S: Final = 3 * _HEARTBEAT_S
_RETRY_S: Final = 0.1
_LONGEST_RETRY_S: Final = 5.0
_SHORT_FORM: Final = 9

_log = logging.getLogger("stem.nats")


class Tail:
    """An ordered consumer. When it has missed something, it reads the stream from its beginning.

    It reads into a view of its own, which takes the place of the other one at its end: nobody
    takes a stream that is half read for one that holds no more.
    """

    def __init__(
        self, link: Link, view: View, clock: ServerClock, on_news: Callable[[], None]
    ) -> None:
        self._link, self._view, self._clock, self._on_news = link, view, clock, on_news
        self._unfinished: View | None = None
        self._subscription: Subscription | None = None
        self._consumer = self._inbox = ""
        self._delivered = 0
        self._goal = 0
        self._heard = asyncio.Event()
        self._is_broken = asyncio.Event()
        self._waiting: set[tuple[int, asyncio.Future[None]]] = set()
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to follow, and return when the view holds all that was stored before."""
        goal = await self._begin()
        self._watch = asyncio.create_task(self._stay_alive())
        await self.reach(goal)

    async def reach(self, sequence: int) -> None:
        """Return when the view holds everything up to *sequence*.

        Raises:
            StoreUnavailable: it does not within the timeout.
        """
        try:
            async with asyncio.timeout(self._link.target.timeout_s):
                while self._view.last < sequence:  # it may be another one when we wake
                    await self._until(sequence)
        except TimeoutError:
            self.restart()
            url = self._link.target.url
            raise StoreUnavailable(f"{url}: the stream is not delivered") from None

    async def _until(self, sequence: int) -> None:
        waiting = (sequence, asyncio.get_running_loop().create_future())
        self._waiting.add(waiting)
        try:
            await waiting[1]
        finally:
            self._waiting.discard(waiting)

    def restart(self) -> None:
        """Begin anew: something may have been missed."""
        self._is_broken.set()

    async def aclose(self) -> None:
        """Follow no more."""
        while self._watch is not None and not self._watch.done():
            # Again, if need be: before Python 3.12 a `wait_for`, such as those of the driver, can
            # lose a cancellation that meets the answer.
            self._watch.cancel()
            await asyncio.wait([self._watch], timeout=_RETRY_S)
        await self._leave()

    # ── one consumer ─────────────────────────────────────────────────────────

    async def _begin(self) -> int:
        """Make a consumer that delivers everything; return the last number that is stored."""
        link, inbox = self._link, self._link.client.new_inbox()
        stream = link.target.stream
        info = await link.ask(f"STREAM.INFO.{stream}", {})
        if info is None:
            raise StoreError(f"{link.target.url}: the stream {stream} is gone")
        self._delivered, self._goal = 0, int(info["state"]["last_seq"])
        self._inbox, self._unfinished = inbox, View()

        async def take(message: Msg) -> None:
            if self._inbox == inbox:  # else it is of an earlier consumer
                self._take(message)

        self._subscription = await link.client.subscribe(
            inbox, cb=take, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        made = await link.ask(f"CONSUMER.CREATE.{stream}", _consumer(stream, inbox))
        if made is None:
            raise StoreError(f"{link.target.url}: the stream {stream} is gone")
        self._consumer = str(made["name"])
        if not made["num_pending"] and not made["delivered"]["consumer_seq"]:
            self._advance(self._goal)
        return self._goal

    async def _leave(self) -> None:
        subscription, self._subscription = self._subscription, None
        try:
            if subscription is not None:
                await subscription.unsubscribe()
            if self._consumer and self._link.client.is_connected:
                await self._link.ask(
                    f"CONSUMER.DELETE.{self._link.target.stream}.{self._consumer}", {}
                )
        except (*DriverErrors, StoreError):
            pass  # the server forgets a consumer that nobody listens to
        self._consumer = ""

    async def _stay_alive(self) -> None:
        """Read the stream anew whenever the consumer is broken or silent.

        From its beginning: what the server dropped meanwhile, at the end of its time, would
        never be delivered, and the view would hold it for ever.
        """
        pause_s = _RETRY_S
        while True:
            await self._until_broken()
            try:
                await self._leave()
                await self._begin()
                pause_s = _RETRY_S
                continue
            except (*DriverErrors, StoreError):
                pause_s = _RETRY_S  # the server is away, and wanted as soon as it is back
            except Exception:
                pause_s = min(2 * pause_s, _LONGEST_RETRY_S)
                url = self._link.target.url
                _log.exception("%s: following the stream failed; again in %.1f s", url, pause_s)
            self._is_broken.set()
            await asyncio.sleep(pause_s)

    async def _until_broken(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await self._is_broken.wait()
                break
            except TimeoutError:
                if not self._heard.is_set():
                    break
                self._heard.clear()
        self._is_broken.clear()

    # ── what comes ───────────────────────────────────────────────────────────

    def _take(self, message: Msg) -> None:
        self._heard.set()
        if not message.reply:
            self._check_heartbeat(message)
            return
        sequence, delivered, stamp_ns, pending = _numbers(message.reply)
        if delivered != self._delivered + 1:
            self.restart()
            return
        self._delivered = delivered
        self._apply(message.data, sequence, stamp_ns // 1_000_000)
        self._advance(sequence if pending else max(sequence, self._goal))

    def _check_heartbeat(self, message: Msg) -> None:
        delivered = (message.headers or {}).get("Nats-Last-Consumer")
        if delivered is not None and int(delivered) != self._delivered:
            self.restart()

    def _apply(self, data: bytes, sequence: int, stamp_ms: int) -> None:
        try:
            value = decode(data)
        except msgspec.DecodeError:
            return  # nobody of ours wrote it, and nobody of ours will read it
        self._clock.heard(stamp_ms)
        view = self._view if self._unfinished is None else self._unfinished
        view.apply(value, sequence, stamp_ms)

    def _advance(self, sequence: int) -> None:
        if self._unfinished is not None:
            self._unfinished.last = sequence
            if sequence < self._goal:
                return
            self._view.become(self._unfinished)
            self._unfinished = None
        self._view.last = max(self._view.last, sequence)
        for waiting in list(self._waiting):
            if waiting[0] <= self._view.last and not waiting[1].done():
                waiting[1].set_result(None)
        self._on_news()


def _consumer(stream: str, inbox: str) -> dict[str, Any]:
    second = 1_000_000_000
    config = {
        "deliver_subject": inbox,
        "ack_policy": "none",
        "deliver_policy": "all",
        "max_deliver": 1,
        "idle_heartbeat": _HEARTBEAT_S * second,
        "inactive_threshold": 5 * second,
        "num_replicas": 1,
        "mem_storage": True,
    }
    return {"stream_name": stream, "config": config}


def _numbers(reply: str) -> tuple[int, int, int, int]:
    """Return number in the stream, number of the delivery, stamp in ns, and how many follow.

    They are in the subject for acknowledgements, after the names of stream and consumer; its
    newer form names a domain and an account before these.
    """
    parts = reply.split(".")
    at = 5 if len(parts) == _SHORT_FORM else 7
    sequence, delivered, stamp_ns, pending = map(int, parts[at : at + 4])
    return sequence, delivered, stamp_ns, pending
