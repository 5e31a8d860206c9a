"""Lanes: one connection to a broker and a backend for each event loop and process.

Rule of this module: it moves sealed messages. Concurrent publishes share calls, a
broker that is away is asked again until the deadline, and whatever belongs to a
closed loop or to a parent process is dropped without a word on the wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from copy import copy
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

from attrs import define, frozen

from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.broker import Broker
from stem_core.contracts.capabilities import Capabilities
from stem_core.contracts.clock import SYSTEM_CLOCK, SYSTEM_DICE, Clock, Dice
from stem_core.contracts.messages import Message, Published
from stem_core.model.duration import format_ms
from stem_core.model.errors import Fault, StoreError, StoreUnavailable
from stem_core.producer.waiting import resumed

__all__ = ["Lane", "Patience", "chunks"]

T = TypeVar("T")
Asked: TypeAlias = Coroutine[Any, Any, T]

_PASSING: Final = frozenset(
    {Fault.RECONNECT, Fault.BACKOFF, Fault.RETRY_TXN, Fault.RECREATE, Fault.RELOAD}
)
_FIRST_PAUSE_MS: Final = 50
_LONGEST_PAUSE_MS: Final = 1_000


@frozen(kw_only=True)
class Patience:
    """How long a store that is away is asked again.

    Attributes:
        deadline_ms: from the first try to the error.
        clock, dice: for the pauses between two tries.
    """

    deadline_ms: int = 10_000
    clock: Clock = SYSTEM_CLOCK
    dice: Dice = SYSTEM_DICE

    async def insist(self, ask: Callable[..., Asked[T]], *args: object, at: str) -> T:
        """Return what *ask* returns; ask again while the fault may pass.

        Raises:
            StoreUnavailable: nothing but passing faults, or no reply, until the deadline.
            StoreError: a fault that does not pass by itself.
        """
        call = ask(*args)
        try:
            waits_for = call.send(None)
        except StopIteration as done:
            value: T = done.value
            return value
        except StoreError as error:
            asked: Asked[T] = _failed(error)
        else:
            asked = _going_on(call, waits_for)
        seen: list[StoreError] = []
        try:
            async with asyncio.timeout(self.deadline_ms / 1000):
                return await self._keep_asking(asked, lambda: ask(*args), seen)
        except TimeoutError:
            last = f": {seen[-1].message}" if seen else ""
            raise StoreUnavailable(
                f"{at} did not answer within {format_ms(self.deadline_ms)}{last}",
                way_out="Is it running, and is its URL right? "
                "STEM_PUBLISH_DEADLINE says how long to try.",
            ) from (seen[-1] if seen else None)

    async def _keep_asking(
        self, asked: Awaitable[T], ask: Callable[[], Asked[T]], seen: list[StoreError]
    ) -> T:
        while True:
            try:
                return await asked
            except StoreError as error:
                if error.fault not in _PASSING:
                    raise
                seen.append(error)
            # Full jitter: producers that lost one broker together do not return together.
            longest_ms = min(_LONGEST_PAUSE_MS, _FIRST_PAUSE_MS << min(len(seen), 10))
            await self.clock.sleep(1 + int(self.dice.roll() * longest_ms))
            asked = ask()


async def _going_on(call: Asked[T], waits_for: Any) -> T:
    value: T = await resumed(call, waits_for)
    return value


async def _failed(error: StoreError) -> NoReturn:
    raise error


@define(eq=False)
class _Waiting:
    message: Message
    reply: asyncio.Future[Published]


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
        self._patience = patience or Patience()
        self._is_busy = False
        self._waiting: list[_Waiting] = []
        self._flusher: asyncio.Task[None] | None = None

    async def publish(self, message: Message) -> Published:
        """Publish one message; those that arrive while a call is out share the next one.

        Raises:
            StoreError: it is not known to be published. Safe to send again: same id.
        """
        if self._is_busy:
            return await self._queued(message)
        self._is_busy = True
        try:
            return (await self._patience.insist(self.broker.publish, [message], at=self.at))[0]
        finally:
            self._is_busy = False
            if self._waiting:
                self._start_flusher()

    async def publish_many(self, messages: Sequence[Message]) -> list[Published]:
        """Publish messages in as few calls as the broker allows; replies by position.

        Raises:
            StoreError: the messages of the calls before are published, those of this
                call and after it are not known to be.
        """
        replies: list[Published] = []
        for chunk in chunks(messages, self.capabilities):
            replies.extend(await self._send(chunk))
        return replies

    async def aclose(self) -> None:
        """Finish what is out, then free the connections. Idempotent."""
        if self._flusher is not None:
            await asyncio.wait([self._flusher])
        await self.broker.aclose()
        if self.backend is not None:
            await self.backend.aclose()

    async def _send(self, messages: Sequence[Message]) -> Sequence[Published]:
        return await self._patience.insist(self.broker.publish, messages, at=self.at)

    # ── sharing calls ──

    async def _queued(self, message: Message) -> Published:
        waiting = _Waiting(message, asyncio.get_running_loop().create_future())
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
                await self._deliver(batch)
        finally:
            self._is_busy = False
            self._flusher = None
            for each in self._waiting:  # only when the loop ends in the middle of it
                each.reply.cancel()

    async def _deliver(self, batch: Sequence[_Waiting]) -> None:
        rest = iter(batch)
        for chunk in chunks([each.message for each in batch], self.capabilities):
            theirs = [next(rest) for _ in chunk]
            try:
                replies = await self._send(chunk)
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


def _own(error: Exception) -> Exception:
    """Return a copy of *error*: two callers that raise one object spoil each other's traceback."""
    mine = copy(error)
    mine.__cause__ = error.__cause__
    return mine


def chunks(messages: Sequence[Message], limits: Capabilities) -> Iterator[Sequence[Message]]:
    """Yield *messages* in order, in pieces that fit one publish call."""
    if not messages:
        return
    start, size = 0, 0
    for place, message in enumerate(messages):
        size += len(message.body)
        is_full = place - start >= limits.max_batch or size > limits.max_batch_bytes
        if is_full and place > start:
            yield messages[start:place]
            start, size = place, len(message.body)
    yield messages[start:]
