"""Lanes: one connection to a broker and a backend for each event loop and process.

Rule of this module: it moves sealed messages. Concurrent publishes share calls, and
how long a store that is away is asked again is the business of `patience`.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import copy
from functools import partial
from itertools import accumulate, islice
from typing import Final, TypeVar

from attrs import define

from stem_core import failpoints
from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.broker import Broker
from stem_core.contracts.capabilities import Capabilities
from stem_core.contracts.messages import Cancellation, Cancelled, Located, Message, Published
from stem_core.model.errors import StoreError
from stem_core.model.outcome import Record
from stem_core.producer.patience import UNDONE, Asked, Patience, failed, going_on

__all__ = ["Lane", "chunks"]

A = TypeVar("A")
T = TypeVar("T")

_ABREAST: Final = 2
"""So many calls of one `publish_many` are under way: the store works on one, and the arguments
of the next are packed meanwhile. A broker that cares for their order lets them wait."""

_IN_A_ROW: Final = 16
"""After so many calls for one message each the loop has a turn, whatever the broker does: a call
that ends without waiting gives it none, and a producer in a loop would keep it for itself."""


def _failing(publish: Callable[[A], Asked[T]]) -> Callable[[A], Asked[T]]:
    """Return *publish* between two failpoints."""

    async def between(messages: A) -> T:
        failpoints.reach("producer.publish.before")
        replies = await publish(messages)
        failpoints.reach("producer.publish.after")
        return replies

    return between


@define(eq=False)
class _Waiting:
    message: Message
    reply: asyncio.Future[Published]
    until: float


class Lane:
    """A broker and a backend, as one event loop uses them.

    Attributes:
        broker: a handle of this loop alone.
        backend: likewise; None when nobody remembers results.
        atomic: broker and backend are one store, so a record can ride in a settlement.
        capabilities: of the broker.
    """

    def __init__(
        self,
        broker: Broker,
        backend: ResultBackend | None,
        *,
        at: str = "the broker",
        patience: Patience | None = None,
    ) -> None:
        self.broker: Final = broker
        self.backend: Final = backend
        self.capabilities: Final[Capabilities] = broker.capabilities
        self.atomic: Final = (
            backend is not None
            and backend.store_id == broker.store_id
            and bool(broker.capabilities.atomic_results)
        )
        self.at: Final = at
        self._publish = _failing(broker.publish) if failpoints.ARMED else broker.publish
        self._patience = patience or Patience()
        self._is_busy = False
        self._in_a_row = 0
        self._waiting: list[_Waiting] = []
        self._flusher: asyncio.Task[None] | None = None

    async def publish(self, message: Message, until: float | None = None) -> Published:
        """Publish one message; those that arrive while a call is out share the next one.

        *until* is the deadline of a caller who opened the lane for it.

        Raises:
            StoreError: it is not known to be published, not later than the publish
                deadline. Safe to send again: same id.
        """
        if self._is_busy:
            return await self._queued(message, until)
        self._is_busy = True
        try:
            self._in_a_row += 1
            if self._in_a_row >= _IN_A_ROW:
                self._in_a_row = 0
                await asyncio.sleep(0)  # those who ask meanwhile share the next call
            # `insist`, spelt out: a call that ends in its first step costs nothing more.
            call = self._publish([message])
            try:
                waits_for = call.send(None)
            except StopIteration as done:
                reply: Published = done.value[0]
                return reply
            except StoreError as error:
                asked: Asked[Sequence[Published]] = failed(error)
            else:
                asked = going_on(call, waits_for)
            return (await self._persist(asked, message, until))[0]
        finally:
            self._is_busy = False
            if self._waiting:
                self._start_flusher()

    async def _persist(
        self, asked: Asked[Sequence[Published]], message: Message, until: float | None
    ) -> Sequence[Published]:
        again = partial(self._publish, [message])
        until = self.until() if until is None else until
        return await self._patience.persist(asked, again, self.at, until)

    async def publish_many(
        self, messages: Collection[Message], until: float | None = None
    ) -> list[Published]:
        """Publish messages in as few calls as the broker allows; replies by position.

        While the store is at one call the next is made ready; they are begun in order, and a
        call that has to be sent again may come behind the next. *until* is the deadline of the
        first; each that follows has its own, from the end of the one before at the latest.

        Raises:
            StoreError: the messages of the calls before are published, those of this
                call and after it are not known to be.
        """
        replies: list[Published] = []
        asked: deque[asyncio.Task[Sequence[Published]]] = deque()
        try:
            for chunk in chunks(messages, self.capabilities):
                if len(chunk) == len(messages):
                    return list(await self._send(chunk, until))
                asked.append(asyncio.create_task(self._send(chunk, until)))
                await asyncio.sleep(0)  # on its way before the next are made
                if len(asked) >= _ABREAST:
                    replies.extend(await asked.popleft())
                # From now, and not from before that wait: the next one waits for another too.
                until = self.until() + self._patience.deadline_ms / 1000
            while asked:
                replies.extend(await asked.popleft())
        finally:
            await _abandon(asked)
        return replies

    # ── asking ──

    async def lookup(
        self, ids: Sequence[str], until: float | None = None
    ) -> Sequence[Located | None]:
        """`Broker.lookup`, with patience."""
        return await self._patience.insist(self.broker.lookup, ids, at=self.at, until=until)

    async def cancel(
        self, wishes: Sequence[Cancellation], until: float | None = None
    ) -> Sequence[Cancelled]:
        """`Broker.cancel`, with patience. Not sent again after a lost reply: the second
        reply would say that the task had ended before."""
        return await self._patience.insist(
            self.broker.cancel, wishes, at=self.at, until=until, passing=UNDONE
        )

    async def load(self, ids: Sequence[str], until: float | None = None) -> Sequence[Record | None]:
        """`ResultBackend.load`, with patience; all None without a backend."""
        if self.backend is None:
            return [None] * len(ids)
        return await self.from_backend(self.backend.load, ids, until)

    async def from_backend(
        self, ask: Callable[[A], Asked[T]], about: A, until: float | None = None
    ) -> T:
        """Return what a verb of the backend returns, with patience. It may be asked twice."""
        return await self._patience.insist(ask, about, at="the result backend", until=until)

    def until(self) -> float:
        """Return the deadline of what begins now."""
        return self._patience.until()

    async def pause(self, failures: int) -> None:
        """Wait as `Patience` does after so many failures in a row."""
        await self._patience.pause(failures)

    async def aclose(self) -> None:
        """Finish what is out, then free the connections. Idempotent."""
        if self._flusher is not None:
            await asyncio.wait([self._flusher])
        await self.broker.aclose()
        if self.backend is not None:
            await self.backend.aclose()

    async def _send(self, messages: Sequence[Message], until: float | None) -> Sequence[Published]:
        return await self._patience.insist(self._publish, messages, at=self.at, until=until)

    # ── sharing calls ──

    async def _queued(self, message: Message, until: float | None) -> Published:
        reply = asyncio.get_running_loop().create_future()
        waiting = _Waiting(message, reply, self.until() if until is None else until)
        self._waiting.append(waiting)
        return await waiting.reply

    def _start_flusher(self) -> None:
        self._is_busy = True
        self._flusher = asyncio.create_task(self._flush(), name="stem-publish")

    async def _flush(self) -> None:
        try:
            while self._waiting:
                # Who gave up while waiting is not sent at all.
                batch = [each for each in self._waiting if not each.reply.done()]
                self._waiting.clear()
                await self._deliver_in_time(batch)
        finally:
            self._is_busy = False
            self._flusher = None
            for each in self._waiting:  # only when the loop ends in the middle of it
                each.reply.cancel()

    async def _deliver_in_time(self, batch: Sequence[_Waiting]) -> None:
        """Deliver *batch*. Each of it has a deadline of its own, and one timer watches all."""
        pending = sorted(batch, key=_until_of, reverse=True)
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None

        def give_up() -> None:
            nonlocal timer
            while pending and pending[-1].until <= loop.time():
                late = pending.pop()
                if not late.reply.done():
                    late.reply.set_exception(self._patience.silence(self.at))
            if pending:
                timer = loop.call_at(pending[-1].until, give_up)

        if pending:
            timer = loop.call_at(pending[-1].until, give_up)
        try:
            await self._deliver(batch)
        finally:
            if timer is not None:
                timer.cancel()

    async def _deliver(self, batch: Sequence[_Waiting]) -> None:
        rest = iter(batch)
        for chunk in chunks([each.message for each in batch], self.capabilities):
            theirs = [next(rest) for _ in chunk]
            try:
                # As long as the last of them is willing to wait.
                replies = await self._send(chunk, max(map(_until_of, theirs)))
            except Exception as error:
                for each in theirs:
                    if not each.reply.done():
                        each.reply.set_exception(_own(error))
            except BaseException:  # the loop ends, and nobody will send the rest
                for each in batch:
                    each.reply.cancel()
                raise
            else:
                for each, reply in zip(theirs, replies, strict=True):
                    if not each.reply.done():
                        each.reply.set_result(reply)


async def _abandon(asked: Collection[asyncio.Task[Sequence[Published]]]) -> None:
    """End calls whose replies nobody needs any more: one before them has failed."""
    for call in asked:
        call.cancel()
    await asyncio.gather(*asked, return_exceptions=True)


def _until_of(waiting: _Waiting) -> float:
    return waiting.until


def _own(error: Exception) -> Exception:
    """Return a copy of *error*: two callers that raise one object spoil each other's traceback."""
    mine = copy(error)
    mine.__cause__ = error.__cause__
    return mine


def chunks(messages: Iterable[Message], limits: Capabilities) -> Iterator[Sequence[Message]]:
    """Yield *messages* in order, in pieces that fit one publish call; no more of them are asked
    for than one call may have."""
    rest, piece = iter(messages), list[Message]()
    while more := list(islice(rest, limits.max_batch - len(piece))):
        piece += more
        while piece and (fitting := _fitting(piece, limits)) < len(piece):
            yield piece[:fitting]
            piece = piece[fitting:]
        if len(piece) == limits.max_batch:
            yield piece
            piece = []
    if piece:
        yield piece


def _fitting(messages: Sequence[Message], limits: Capabilities) -> int:
    """Return how many of *messages* fit one call, at least one."""
    sizes = [len(message.body) for message in messages]
    if sum(sizes) <= limits.max_batch_bytes:
        return len(sizes)
    return max(1, bisect_right(list(accumulate(sizes)), limits.max_batch_bytes))
